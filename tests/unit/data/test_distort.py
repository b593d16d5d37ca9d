"""Distorted images: each by its own map, which moves ink where it says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from metarl.config import InputError
from metarl.data.distort import Distorted, Distortion, composed, draw_bends, draw_maps, warp
from metarl.data.pool import Glyphs, Pool
from metarl.data.sources import Clusters
from metarl.types import Array, Bytes, Floats

MANN = Distortion(rotation=11.25, shift=2, law="uniform")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(n: int = 100, height: int = 12, width: int = 12) -> Bytes:
    return rng().integers(256, size=(n, height, width), dtype=np.uint8)


def maps(n: int, turn: Any = ((1, 0), (0, 1)), shift: Any = (0, 0)) -> Floats:
    return np.broadcast_to(np.column_stack([turn, shift]), (n, 2, 3))


def distort(rng: np.random.Generator, images: Array, options: Distortion) -> Bytes:
    return warp(images, draw_maps(rng, len(images), options))


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, -2), (-1, 4), (20, 0)])
def test_a_shift_of_whole_pixels_rolls_and_brings_in_paper(right: int, down: int) -> None:
    x = images(width=10)
    padded = np.pad(x, ((0, 0), (20, 20), (20, 20)))
    rolled = np.roll(padded, (down, right), (1, 2))[:, 20:-20, 20:-20]
    assert np.array_equal(warp(x, maps(len(x), shift=(right, down))), rolled)


def test_a_quarter_turn_is_one() -> None:
    x = images()
    assert np.array_equal(warp(x, maps(len(x), turn=[[0, 1], [-1, 0]])), np.rot90(x, 1, (1, 2)))
    angle = np.deg2rad(-90)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert np.array_equal(warp(x, maps(len(x), turn=turn)), np.rot90(x, 1, (1, 2)))


def by_hand(image: Array, to: Floats) -> Floats:
    """Bilinear interpolation, pixel by pixel."""
    height, width = image.shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    out = np.zeros((height, width))
    for row, column in np.ndindex(height, width):
        x, y = np.linalg.solve(to[:, :2], [column, row] - middle - to[:, 2]) + middle
        for r in (int(np.floor(y)), int(np.floor(y)) + 1):
            for c in (int(np.floor(x)), int(np.floor(x)) + 1):
                if 0 <= r < height and 0 <= c < width:
                    out[row, column] += (1 - abs(x - c)) * (1 - abs(y - r)) * image[r, c]
    return out


def test_pixels_are_interpolated_between_four() -> None:
    x = images(70, 8, 11)  # more than are warped at once
    to = draw_maps(rng(1), 70, Distortion(rotation=40, scale=0.3, shear=0.3, shift=2))
    warped = warp(x, to)
    for number in range(0, 70, 3):
        # places are rounded to 1/256 pixel in both directions: at most 255 / 512 for each, and the rounding of the ink
        assert np.abs(warped[number] - by_hand(x[number], to[number])).max() <= 1.5


def test_no_distortion_leaves_images_as_they_are_and_far_away_is_paper() -> None:
    x = images(4, height=9)
    assert np.array_equal(distort(rng(), x, Distortion()), x)
    assert not warp(x, maps(4, shift=(1e9, -1e9))).any()
    assert warp(x, maps(4, turn=[[1e-9, 0], [0, 1e-9]])).shape == x.shape


def test_distorting_is_pure_in_the_generator_and_gives_each_image_its_own_map() -> None:
    x = np.repeat(images(1, 28, 28), 60, 0)
    before = x.copy()
    first, again, other = (distort(rng(seed), x, MANN) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(x, before)
    assert len({image.tobytes() for image in first}) == 60


def test_maps_spread_as_the_options_say_and_those_of_mann_are_bounded() -> None:
    to = draw_maps(rng(), 20_000, Distortion(rotation=10, shift=1.5))
    assert np.rad2deg(np.arctan2(to[:, 1, 0], to[:, 0, 0])).std() == pytest.approx(10, rel=0.03)
    assert to[:, :, 2].std(0) == pytest.approx(1.5, rel=0.03)
    to = draw_maps(rng(), 20_000, Distortion(scale=0.2, shear=0.1))
    assert np.log(to[:, [0, 1], [0, 1]]).std(0) == pytest.approx(0.2, rel=0.03)
    assert (to[:, 0, 1] / to[:, 1, 1]).std() == pytest.approx(0.1, rel=0.03)
    assert np.corrcoef(to[:, 0, 0], to[:, 1, 1])[0, 1] == pytest.approx(0, abs=0.03)
    to = draw_maps(rng(), 20_000, MANN)
    angle = np.rad2deg(np.arctan2(to[:, 1, 0], to[:, 0, 0]))
    assert (angle.min(), angle.max()) == (pytest.approx(-11.25, abs=0.02), pytest.approx(11.25, abs=0.02))
    assert np.abs(to[:, :, 2]).max(0) == pytest.approx(2, abs=0.01)
    assert np.linalg.det(to[:, :, :2]) == pytest.approx(1)


def test_a_distorted_source_draws_what_its_source_draws_and_distorts_it() -> None:
    source = Glyphs("train", 6, 4)
    same, other = Distorted(source, Distortion()), Distorted(source, MANN)
    assert (other.shape, other.classes, other.per_class) == ((28, 28), 6, 4)
    plain = source.draw(rng(), 2, 5, 3)
    assert np.array_equal(same.draw(rng(), 2, 5, 3), plain)
    assert (other.draw(rng(), 2, 5, 3) != plain).any((3, 4)).all()
    streams = other.sample_streams(rng(), 2, 5, 3)
    assert streams.x.dtype == np.uint8
    assert streams.x.shape == (2, 15, 28, 28)


def test_the_colours_of_an_image_are_distorted_alike() -> None:
    grey = Glyphs("train", 6, 4)
    coloured = Pool(np.stack([grey.examples, 255 - grey.examples, grey.examples], -1))
    drawn, alone = (Distorted(source, MANN).draw(rng(), 2, 5, 3) for source in (coloured, grey))
    assert drawn.shape == (2, 5, 3, 28, 28, 3)
    assert np.array_equal(drawn[..., 0], alone)
    assert np.array_equal(drawn[..., 2], alone)
    first = Distorted(Pool(np.moveaxis(coloured.examples, -1, 2)), MANN)
    assert np.array_equal(np.moveaxis(first.draw(rng(), 2, 5, 3), 3, -1), drawn)


def test_a_distorted_source_refuses_what_its_source_refuses() -> None:
    source = Distorted(Pool(np.zeros((6, 4, 8, 8), np.uint8), exclusive_group=np.arange(6) // 2), MANN)
    with pytest.raises(InputError):
        source.sample(rng(), 1, 4, 1, 1)
    with pytest.raises(InputError):
        source.sample_streams(rng(), 1, 2, 5)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Distorted(Clusters(), MANN), "source.shape"),
        (lambda: distort(rng(), np.zeros((2, 8, 8), np.float32), MANN), "images"),
        (lambda: warp(images(2), maps(1)), "maps.shape"),
        (lambda: warp(images(2), maps(2), np.zeros((2, 2, 4, 4))), "bends.shape"),
        (lambda: Distortion(shift=-1), "shift"),
        (lambda: Distortion(elastic=-1), "elastic"),
        (lambda: Distortion(rotation=float("nan")), "rotation"),
        (lambda: Distortion(scale=float("inf")), "scale"),
        (lambda: Distortion(mirror=2), "mirror"),
        (lambda: Distortion(law="cauchy"), "law"),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
def test_what_cannot_be_distorted_is_refused(make: Callable[[], object], key: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.key == key


def test_composed_maps_do_one_after_the_other() -> None:
    x, quarter, shift = images(), maps(100, turn=((0, -1), (1, 0))), maps(100, shift=(3, 0))
    assert np.array_equal(warp(x, composed(shift, quarter)), warp(warp(x, quarter), shift))
    assert not np.array_equal(warp(x, composed(quarter, shift)), warp(x, composed(shift, quarter)))


def test_mirrors_are_drawn_as_often_as_asked() -> None:
    x = images(n=2000)
    mirrored = (distort(rng(), x, Distortion(mirror=0.3)) == x[:, :, ::-1]).all((1, 2))
    assert mirrored.mean() == pytest.approx(0.3, abs=0.04)


def test_classes_are_distorted_as_one_in_an_episode_and_otherwise_in_the_next() -> None:
    same = Pool(np.repeat(images(n=6)[:, None], 4, 1))  # all examples of a class are alike
    source = Distorted(same, Distortion(), Distortion(rotation=40, mirror=0.5))
    x = source.draw(rng(), 50, 6, 4)
    assert (x == x[:, :, :1]).all()
    assert len(np.unique(x[:, :, 0].reshape(300, -1), axis=0)) > 250


def test_a_bend_moves_pixels_smoothly_and_as_far_as_asked_everywhere() -> None:
    ramp = np.broadcast_to(np.arange(35, dtype=np.uint8) * 7, (600, 35, 35))  # how far to the right, times 7
    drawn = draw_bends(rng(), 600, Distortion(elastic=0.8))
    assert drawn is not None
    to_the_right = (warp(ramp, maps(600), drawn).astype(float) - ramp)[:, 5:30, 5:30] / 7
    assert to_the_right.std(0) == pytest.approx(0.8, abs=0.13)
    assert np.abs(np.diff(to_the_right, axis=1)).mean() < 0.15, "rows beside each other move apart"
    down = drawn * np.array([0, 1])[:, None, None]
    inside = (slice(None), slice(5, 30), slice(5, 30))
    assert np.array_equal(warp(ramp, maps(600), down)[inside], ramp[inside]), "what is the same along y stays"
    turned = ramp.transpose(0, 2, 1)
    assert (warp(turned, maps(600), down) != turned)[inside].mean() > 0.5


def test_bends_of_classes_are_shared_and_without_them_nothing_more_is_drawn() -> None:
    same = Pool(np.repeat(images(n=6, height=20, width=20)[:, None], 4, 1))
    bent = Distorted(same, Distortion(), Distortion(elastic=1)).draw(rng(), 5, 6, 4)
    assert (bent == bent[:, :, :1]).all()
    assert not np.array_equal(bent, same.draw(rng(), 5, 6, 4))
    alone = Distorted(same, Distortion(elastic=1), Distortion(elastic=1)).draw(rng(), 5, 6, 4)
    assert (alone[:, :, 1:] != alone[:, :, :1]).any((3, 4)).all()
    one, other = rng(), rng()
    assert draw_bends(one, 9, Distortion(rotation=5)) is None
    assert one.random() == other.random()

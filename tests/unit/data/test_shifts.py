"""Shifts of domain, digits in the form of drawings, and files in the idx format."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from metarl.config import ConfigError, InputError
from metarl.data.digits import digits, drawn_side, load
from metarl.data.idx import CLOTHES, fashion, read_idx
from metarl.data.pool import Glyphs, Pool
from metarl.data.shifts import Shift, grown, shifted
from metarl.types import Bytes


def corner() -> Bytes:
    """A dot above the middle of an image."""
    image = np.zeros((1, 9, 9), np.uint8)
    image[0, 1, 4] = 255
    return image


def test_without_options_an_image_stays_as_it_is() -> None:
    images = Glyphs("test", 3, 4).flat
    np.testing.assert_array_equal(Shift()(images), images)


def test_a_quarter_turn_is_clockwise_and_loses_nothing() -> None:
    images = Glyphs("test", 3, 4).flat
    np.testing.assert_array_equal(Shift(rotation=90)(images), np.rot90(images, -1, (1, 2)))
    assert Shift(rotation=90)(corner())[0, 4, 7] == 255


def test_strokes_grow_and_shrink_by_pixels_on_each_side() -> None:
    dot = corner()
    dot[0, 1, 4], dot[0, 5, 5] = 0, 200
    grew = grown(dot, 2)
    assert (grew[0, 3:8, 3:8] == 200).all()
    assert (grew > 0).sum() == 25
    np.testing.assert_array_equal(grown(grew, -2), dot)
    assert not grown(dot, -1).any()


def test_noise_is_that_of_the_generator_and_has_its_spread() -> None:
    grey = np.full((50, 28, 28), 128, np.uint8)
    one, again, other = (Shift(noise=0.1)(grey, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert one.std() / 255 == pytest.approx(0.1, rel=0.05)
    with pytest.raises(InputError, match="rng"):
        Shift(noise=0.1)(grey)


@pytest.mark.parametrize("shift", [Shift(rotation=90, inverted=True), Shift(rotation=-180), Shift(inverted=True)])
def test_what_loses_nothing_is_undone_exactly(shift: Shift) -> None:
    images = Glyphs("test", 3, 4).flat
    np.testing.assert_array_equal(shift.undo(shift(images)), images)


def test_a_tilt_is_undone_nearly() -> None:
    images = Glyphs("test", 5, 4).flat
    back = Shift(rotation=45).undo(Shift(rotation=45)(images))
    near, far = (np.abs(x.astype(float) - images).mean() for x in (back, Shift(rotation=45)(images)))
    assert near < far / 3


def test_a_shifted_pool_draws_the_same_examples() -> None:
    pool = Glyphs("test", 12, 6)
    plain, inverted = (
        one.sample(np.random.default_rng(4), 3, 5, 1, 2) for one in (pool, shifted(pool, Shift(inverted=True)))
    )
    np.testing.assert_array_equal(inverted.query_x, 255 - plain.query_x)
    np.testing.assert_array_equal(inverted.support_y, plain.support_y)


@pytest.mark.parametrize("wrong", [{"noise": -1.0}, {"rotation": float("nan")}, {"growth": 9}, {"rotation": 400.0}])
def test_a_shift_out_of_bounds_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Shift(**wrong)  # type: ignore[arg-type]  # a dict of one kind of numbers


def test_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="float64"):
        Shift(rotation=3)(np.zeros((1, 4, 4)))


def test_digits_are_drawn_as_large_as_asked_and_are_the_ten_classes() -> None:
    pool = digits(28, 18)
    assert (pool.classes, pool.shape, len(pool.flat)) == (10, (28, 28), 1797)
    assert pool.names[7] == "7"
    assert abs(drawn_side(pool.flat) - 18) <= 1
    assert not pool.flat[:, :5].any()
    assert not pool.flat[:, -5:].any()
    small, labels = load()
    sevens = pool.flat[pool.counts[:7].sum() :][: pool.counts[7]].mean((1, 2)) * (28 / 18) ** 2
    assert np.corrcoef(sevens, small[labels == 7].mean((1, 2)))[0, 1] > 0.8  # in the order of the file


def test_crisp_digits_have_edges_where_blurred_ones_have_none() -> None:
    crisp, blurred = (digits(28, 20, crisp=one).flat for one in (True, False))

    def grey(images: Bytes) -> float:
        return float(((images > 60) & (images < 195)).sum() / (images > 60).sum())

    assert grey(crisp) < grey(blurred) / 2


@pytest.mark.parametrize("side", [7, 29])
def test_a_side_that_does_not_fit_is_refused(side: int) -> None:
    with pytest.raises(InputError, match="side"):
        digits(28, side)


def test_nothing_drawn_has_no_side() -> None:
    with pytest.raises(InputError, match="something drawn"):
        drawn_side(np.zeros((2, 5, 5), np.uint8))


def written(path: Path, shape: tuple[int, ...], data: bytes, kind: int = 8) -> Path:
    path.write_bytes(gzip.compress(struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape) + data))
    return path


def clothes(folder: Path, labels: bytes, images: int) -> None:
    written(folder / "t10k-images-idx3-ubyte.gz", (images, 2, 2), bytes(range(4 * images)))
    written(folder / "t10k-labels-idx1-ubyte.gz", (len(labels),), labels)


def test_clothes_are_read_class_after_class(tmp_path: Path) -> None:
    clothes(tmp_path, bytes([*range(9, -1, -1), 0]), 11)
    pool = fashion(tmp_path)
    assert isinstance(pool, Pool)
    assert pool.counts.tolist() == [2, *[1] * 9]
    assert pool.flat[:3, 0, 0].tolist() == [36, 40, 32]  # of the two of class 0, then of class 1
    assert tuple(pool.names) == CLOTHES


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("missing", lambda path: path.unlink(), "No such file"),
        ("no gzip", lambda path: path.write_bytes(b"not packed"), "can't be read"),
        ("cut", lambda path: path.write_bytes(path.read_bytes()[:-9]), "can't be read"),
        ("another type", lambda path: written(path, (2, 2, 2), bytes(8), kind=13), "an idx file of bytes with 3 axes"),
        ("short", lambda path: written(path, (2, 2, 2), bytes(7)), "8 bytes, as its header says"),
        ("long", lambda path: written(path, (2, 2, 2), bytes(9)), "more than 8 bytes"),
        ("huge", lambda path: written(path, (2**31, 2**31, 2), b""), "1 to 268,435,456 bytes"),
    ],
)
def test_a_damaged_file_is_one_error(tmp_path: Path, name: str, spoil: object, said: str) -> None:
    path = written(tmp_path / "images.gz", (2, 2, 2), bytes(8))
    assert read_idx(path, 3).shape == (2, 2, 2)
    spoil(path)  # type: ignore[operator]  # a function of the path
    with pytest.raises(InputError, match=said):
        read_idx(path, 3)


@pytest.mark.parametrize("labels", [bytes([*range(9), 10]), bytes(range(9))])
def test_labels_that_do_not_fit_the_images_are_refused(tmp_path: Path, labels: bytes) -> None:
    clothes(tmp_path, labels, 10)
    with pytest.raises(InputError, match="a label from 0 to 9"):
        fashion(tmp_path)

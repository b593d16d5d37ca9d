"""One image from whatever shows it: ranges of numbers, orders of axes, transparency, ink and paper."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metarl.data.pictures import ImagesError, Reading, blank, pictures

BYTES = np.array([[0, 50, 100], [150, 200, 255], [1, 2, 3]], np.uint8)
COLOURS = np.stack([BYTES, BYTES[::-1], BYTES.T], -1)
READ = Reading(3)


@pytest.mark.parametrize(
    "given",
    [
        BYTES,
        BYTES.astype(np.int64),
        BYTES.astype(np.uint16),
        BYTES / 255,
        (BYTES / 255).astype(np.float32),
        BYTES[..., None],
        BYTES.tolist(),
        Image.fromarray(BYTES),
    ],
    ids=["uint8", "int64", "uint16", "float64", "float32", "one channel", "a list", "Pillow"],
)
def test_an_image_is_the_same_bytes_in_every_type(given: Any) -> None:
    assert READ.read(given).tolist() == BYTES.tolist()


def test_colours_are_found_first_or_last() -> None:
    colours = Reading(3, grey=False)
    assert colours.read(COLOURS).tolist() == COLOURS.tolist()
    big = np.kron(COLOURS, np.ones((2, 2, 1), np.uint8))
    assert colours.read(big.transpose(2, 0, 1)).tolist() == COLOURS.tolist()
    assert READ.read(COLOURS).tolist() == np.asarray(Image.fromarray(COLOURS).convert("L")).tolist()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (BYTES.astype(float), "floats from 0 to 1"),
        (BYTES / 255 - 0.5, "floats from 0 to 1"),
        (np.where(BYTES > 9, np.nan, 0.5), "floats from 0 to 1"),
        (BYTES.astype(np.int16) - 1, "0 to 255"),
        (BYTES.astype(np.int32) * 2, "0 to 255"),
        ((BYTES > 100).astype(np.uint8), "0 to 255"),
        (BYTES.astype(complex), "numbers"),
        (np.zeros((2, 2, 2, 2), np.uint8), "numbers"),
        (np.zeros((0, 3), np.uint8), "numbers"),
        (np.zeros((5, 5, 2), np.uint8), "numbers"),
        (object(), "a path"),
    ],
)
def test_numbers_that_may_mean_anything_else_are_refused(given: Any, expected: str) -> None:
    with pytest.raises(ImagesError) as refused:
        READ.read(given, "mine")
    assert refused.value.key == "mine"
    assert expected in str(refused.value.expected)


def test_bools_are_black_and_white() -> None:
    assert READ.read(BYTES > 100).tolist() == np.where(BYTES > 100, 255, 0).tolist()


def strokes(brightness: int) -> Image.Image:
    """A cross on a transparent ground."""
    alpha = np.zeros((6, 6), np.uint8)
    alpha[2:4], alpha[:, 2:4] = 255, 255
    alpha[[0, -1]] = 0
    return Image.fromarray(np.dstack([np.full((6, 6, 3), brightness, np.uint8), alpha]))


def test_strokes_on_transparency_are_ink_whatever_their_colour() -> None:
    black, white = (Reading(6, drawing=True).read(strokes(brightness)) for brightness in (0, 255))
    assert not blank(black)
    assert np.array_equal(black, white)
    assert blank(Reading(6).read(strokes(255)))
    assert not blank(Reading(6, background="black").read(strokes(255)))
    assert blank(Reading(6, background="black").read(strokes(0)))


def test_light_paper_is_inverted_and_dark_paper_not() -> None:
    drawing = Reading(3, drawing=True)
    ink = np.zeros((9, 9), np.uint8)
    ink[3:6, 3:6] = 255
    expected = [[0, 0, 0], [0, 255, 0], [0, 0, 0]]
    assert drawing.read(ink).tolist() == drawing.read(255 - ink).tolist() == expected
    assert Reading(3).read(255 - ink).tolist() == (255 - np.array(expected)).tolist()


def test_one_image_and_several_are_told_apart(tmp_path: Path) -> None:
    image = Image.fromarray(BYTES)
    assert len(pictures("a.png")) == len(pictures(tmp_path / "a.png")) == len(pictures(image)) == 1
    assert len(pictures(["a.png", image, BYTES])) == 3
    assert len(pictures(BYTES)) == len(pictures(COLOURS)) == 1
    assert len(pictures(np.zeros((5, 8, 8)))) == len(pictures(np.zeros((5, 8, 8, 3)))) == 5
    for unclear in (np.zeros((3, 8, 8)), np.zeros(4), 7):
        with pytest.raises(ImagesError):
            pictures(unclear)


@pytest.mark.parametrize("shape", [(40, 40, 2), (40, 40, 5), (40, 40, 9), (200, 200, 31), (28, 30, 2), (4, 4, 2)])
def test_channels_that_no_image_has_are_not_taken_for_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImagesError) as refused:
        pictures(np.zeros(shape, np.uint8))
    assert str(list(shape)) in str(refused.value)


@pytest.mark.parametrize(
    "shape", [(40, 40, 40), (200, 28, 28), (7, 28, 20), (2, 8, 8), (9, 5, 5), (5, 30, 12), (6, 8, 90)]
)
def test_images_one_after_another_are_several(shape: tuple[int, ...]) -> None:
    assert [len(one) for one in pictures(np.zeros(shape, np.uint8))] == [shape[1]] * shape[0]
    assert len(pictures(list(np.zeros((40, 8, 2), np.uint8)))) == 40, "narrow ones, in a list"

"""One image from whatever shows it: ranges of numbers, orders of axes, transparency, ink and paper."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from metarl.data.pictures import (
    EMPTY,
    FAINT,
    FEW_BITS,
    Background,
    ImagesError,
    Reading,
    checked,
    contrast,
    pictures,
)

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
        (b"\x89PNG", "an image"),
    ],
)
def test_what_may_mean_anything_else_is_refused(given: Any, expected: str) -> None:
    with pytest.raises(ImagesError) as refused:
        READ.read(given, "mine")
    assert refused.value.key == "mine"
    assert expected in str(refused.value.expected)


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImagesError) as refused:
        READ.read(tmp_path)
    assert (refused.value.key, refused.value.expected) == (str(tmp_path), "the file of an image")


def test_what_is_in_a_file_is_one_image_not_many_numbers() -> None:
    assert pictures(b"\x89PNG") == [b"\x89PNG"]


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
    assert contrast(black)
    assert np.array_equal(black, white)
    assert not contrast(Reading(6).read(strokes(255)))
    assert contrast(Reading(6, background="black").read(strokes(255)))
    assert not contrast(Reading(6, background="black").read(strokes(0)))


def test_strokes_of_every_grey_contrast_with_the_paper_behind_them() -> None:
    for background in get_args(Background):
        drawing = Reading(6, drawing=True, background=background)
        for brightness in range(256):
            image = drawing.read(strokes(brightness))
            assert (image[0].max(), image.max() >= 85) == (0, True), (background, brightness)
    for brightness in range(128):
        assert Reading(6, drawing=True).read(strokes(brightness)).max() == 255 - brightness, "ink on white, as before"


def test_paper_with_clear_corners_is_the_paper_however_faint_the_ink() -> None:
    numbers = np.full((9, 9, 4), 250, np.uint8)
    numbers[3:6, 3:6, :3] = 190
    numbers[..., 3] = 255
    numbers[::8, ::8] = 0
    read = Reading(9, drawing=True).read(Image.fromarray(numbers))
    assert (read[4, 4], read[0, 0], read[0, 4]) == (65, 0, 5)


@pytest.mark.parametrize(("most", "type_"), [(4095, "<u2"), (1023, "<u2"), (900, ">u2"), (255, "<u2"), (1, "<u2")])
def test_sixteen_bits_of_which_few_are_used_are_refused(most: int, type_: str) -> None:
    image = Image.fromarray(np.array([[0, most], [most // 2, 0]], type_))
    with pytest.raises(ImagesError) as refused:
        Reading(2).read(image, "scan")
    assert (refused.value.key, refused.value.kind) == ("scan", FEW_BITS)
    assert str(most) in str(refused.value)


@pytest.mark.parametrize("most", [4095, 16383, 65535])
def test_pgm_files_of_more_than_eight_bits_are_scaled_by_the_number_that_is_white(most: int, tmp_path: Path) -> None:
    numbers = np.array([[0, most], [most // 2, most]], ">u2")
    (tmp_path / "image.pgm").write_bytes(b"P5\n2 2\n%d\n" % most + numbers.tobytes())
    np.testing.assert_array_equal(Reading(2).read(tmp_path / "image.pgm"), [[0, 255], [127, 255]])


def test_sixteen_bits_that_are_used_or_empty_are_read() -> None:
    for most in (0, 4096, 16383, 65535):
        image = Image.fromarray(np.array([[0, most], [0, 0]], np.uint16))
        assert Reading(2).read(image).tolist() == [[0, most >> 8], [0, 0]]


@pytest.mark.parametrize(("least", "most", "kind"), [(7, 7, EMPTY), (252, 255, FAINT), (0, 15, FAINT), (0, 16, None)])
def test_images_of_hardly_any_contrast_are_refused(least: int, most: int, kind: str | None) -> None:
    grey = np.full((4, 4), least, np.uint8)
    grey[1] = most
    for image in (grey, np.dstack([grey, grey, np.full_like(grey, 200)])):
        if kind is None:
            assert checked(image, "mine") is image
            continue
        with pytest.raises(ImagesError) as refused:
            checked(image, "mine")
        assert (refused.value.key, refused.value.kind) == ("mine", kind)


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

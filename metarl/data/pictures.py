"""One image as the bytes that a learner sees: from a file, an image of Pillow's or an array."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from metarl.config import InputError
from metarl.types import Bytes, Ints

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pbm", ".pgm", ".ppm"),
}
"""The formats that are read, and the suffixes of their files; of an animation, the first image is read."""
Background = Literal["white", "black"]
CHANNELS = (1, 3, 4)  # of an array: grey, red-green-blue, and the same with transparency
NARROW = 12  # pixels: a last axis that is shorter, or under a quarter of the one before, may be of channels
DRAFT = (
    4  # times the size of the result that a JPEG file is decoded to at least; more would take time and change little
)
DARK, LIGHT = 64, 192  # paper at most this dark, or at least this light, is told from ink
CONTRAST = 16  # least difference between the darkest and the lightest pixel of an image on which something is seen
SIXTEEN_BITS = 4096  # images of 16 bits have values of at least this; smaller ones are of 8, 10 or 12 bits
DAMAGED, EMPTY, FAINT = "images that cannot be read", "empty images", "images of hardly any contrast"
GREY_PAPER, FEW_BITS = "images on paper neither light nor dark", "images of 16 bits that use few of them"
"""Kinds of problems of images."""
REMEDIES = {
    DAMAGED: "repair or remove it",
    EMPTY: "make what is seen differ more from its background, also where that is transparent",
    FAINT: "make what is seen differ more from its background, also where that is transparent",
    GREY_PAPER: "make the background white or black",
    FEW_BITS: "multiply values of 12 bits by 16, of 10 bits by 64, or save 8 bits",
}


class ImagesError(InputError):
    """A folder or an image cannot be used; ``key`` is its path or name.

    Args:
        problem: as of any :class:`metarl.config.InputError`, and so are the other ``fields``.
        kind: of the problems of which this is one.
    """

    def __init__(self, problem: str | None = None, *, kind: str = DAMAGED, **fields: Any) -> None:
        super().__init__(problem, **fields)
        self.kind = kind

    @property
    def without_remedy(self) -> str:
        """The message of one among many, for which what to do is said once."""
        return str(self).removesuffix(f"; {self.remedy}")


@dataclass(frozen=True)
class Reading:
    """How images are read.

    They are scaled by area, in each direction separately, and not cropped.

    Args:
        size: pixels along a side of the result.
        grey: convert to grey; else all have three colours.
        drawing: images are ink on paper, and become 255 where there is ink and 0 where there is none, as in Omniglot.
            What most of the border is is the paper. Otherwise nothing is inverted.
        background: what transparent parts become; of drawings, the other one if strokes hardly differ from it.
    """

    size: int
    grey: bool = True
    drawing: bool = False
    background: Background = "white"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result: ``[size, size]``, or ``[size, size, 3]`` with colours."""
        return (self.size, self.size) if self.grey else (self.size, self.size, 3)

    def read(self, picture: Any, name: str | None = None) -> Bytes:
        """Read one image.

        Args:
            picture: the path of a file; an image of Pillow's; or an array ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of
                bools, whole numbers from 0 to 255, or floats from 0 to 1, of one channel, three, or four with
                transparency.
            name: what an error calls it; None: its path, or "the image".

        Returns:
            ``[size, size]`` uint8, or ``[size, size, 3]`` if not ``grey``.

        Raises:
            ImagesError: it cannot be read, is no such array, has more pixels than Pillow's ``Image.MAX_IMAGE_PIXELS``,
                has 16 bits of which 12 or fewer are used, or is a drawing whose paper is neither light nor dark.
        """
        from PIL import Image

        if isinstance(picture, (str, os.PathLike)):
            with quiet():
                return self.read_file(Path(picture), name)
        name = name or "the image"
        if isinstance(picture, Image.Image):
            with quiet():
                return self._checked(name, lambda: self._converted(picture))
        numbers = _bytes(picture, name)
        return self._checked(name, lambda: self._converted(Image.fromarray(numbers)))

    def read_file(self, path: Path, name: str | None = None) -> Bytes:
        """As :meth:`read`, of a file; several threads may call it at once, within one :func:`quiet`.

        Args:
            path: of the file.
            name: what an error calls it; None: its path.

        Raises:
            ImagesError: as :meth:`read`.
        """
        name = name or str(path)
        if path.is_dir():
            remedy = "give the files that are in it"
            raise ImagesError(f"{name} is a folder", key=name, expected="the file of an image", remedy=remedy)
        return self._checked(name, lambda: self._opened(path))

    def _opened(self, path: Path) -> Bytes:
        from PIL import Image

        with Image.open(path, formats=list(FORMATS)) as image:
            if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            image.draft(None, (DRAFT * self.size, DRAFT * self.size))
            return self._converted(image)

    def _checked(self, name: str, read: Callable[[], Bytes]) -> Bytes:
        """What ``read`` returns; every error is an ImagesError."""
        from PIL import Image

        try:
            return read()
        except Image.DecompressionBombError as error:
            problem, expected = f"{name} has too many pixels", f"at most {Image.MAX_IMAGE_PIXELS}"
            raise ImagesError(problem, key=name, expected=expected) from error
        except _Unfit as error:
            kind, problem, expected = error.args
            text = f"{name} {problem}"
            raise ImagesError(text, kind=kind, key=name, expected=expected, remedy=REMEDIES[kind]) from None
        except Exception as error:  # decoders of damaged files raise errors of every kind
            problem = f"{name} cannot be read ({error})"
            raise ImagesError(problem, key=name, remedy=REMEDIES[DAMAGED]) from error

    def _converted(self, image: Image) -> Bytes:
        from PIL import ExifTags, Image, ImageOps

        if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):  # PGM files of over 8 bits
            image = Image.fromarray(_eight_bits(np.asarray(image)))
        elif image.mode in ("I", "F"):
            raise ValueError(f"its numbers are of type {image.mode}, expected 8 or 16 bits")
        elif image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # which copies it
            image = ImageOps.exif_transpose(image)
        image = self._on_background(image).convert("L" if self.grey else "RGB")
        if self.drawing:
            paper = _border(image.convert("L"))
            if DARK < paper < LIGHT:
                problem = f"has a border of brightness {paper:.0f} (0 to 255)"
                raise _Unfit(GREY_PAPER, problem, "light or dark paper with ink on it")
            image = ImageOps.invert(image) if paper >= LIGHT else image
        return self._scaled(image)

    def _scaled(self, image: Image) -> Bytes:
        from PIL.Image import Resampling

        return np.asarray(image.resize((self.size, self.size), Resampling.BOX))

    def _on_background(self, image: Image) -> Image:
        """The image without transparency; it may be scaled already."""
        from PIL import Image

        if "A" not in image.getbands() and "transparency" not in image.info:
            return image
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        if not self.drawing:  # scaled first, with colours in proportion to alpha: the same, in a third of the time
            small = self._scaled(rgba.convert("RGBa"))
            return Image.fromarray(small[..., :3] + (255 - small[..., 3:] if self.background == "white" else 0))
        opposite: Background = "black" if self.background == "white" else "white"
        papers = (self.background, opposite)
        own, other = (Image.alpha_composite(Image.new("RGBA", rgba.size, paper), rgba) for paper in papers)
        here, there = (contrast(self._scaled(one.convert("L" if self.grey else "RGB"))) for one in (own, other))
        clear = _border(rgba.getchannel("A")) < 128  # else the paper is in the image
        return other if here == 0 < there or (clear and 2 * here < there) else own


@contextmanager
def quiet() -> Iterator[None]:
    """Within, Pillow's warnings are not shown; what can't be read is told by errors. Not for one thread of several."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Unfit(ValueError):
    """An image that doesn't do: the kind of the problem, what is wrong with it (a predicate), and what is expected."""


def _eight_bits(numbers: Ints) -> Bytes:
    """Numbers of 16 bits as bytes."""
    most = int(numbers.max(initial=0))
    if 0 < most < SIXTEEN_BITS:
        problem = f"has numbers of 16 bits that are at most {most}, as those of 12 bits or fewer"
        raise _Unfit(FEW_BITS, problem, "numbers from 0 (black) to 65535 (white)")
    return (numbers >> 8).astype(np.uint8)


def _border(image: Image) -> float:
    """What most of the border of an image of one channel is."""
    x = np.asarray(image)
    return float(np.median(np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]])))


def contrast(image: Bytes) -> int:
    """The difference between the darkest and the lightest pixel of an image ``[H, W]`` or ``[H, W, C]``.

    Of channels, that of the one where it is largest.
    """
    return int(np.ptp(image, axis=(0, 1)).max())


def checked(image: Bytes, name: str) -> Bytes:
    """The same image, if something is seen on it.

    Args:
        image: that was read, ``[H, W]`` or ``[H, W, C]``.
        name: what an error calls it.

    Raises:
        ImagesError: all its pixels are alike, or differ hardly.
    """
    difference = contrast(image)
    if difference >= CONTRAST:
        return image
    kind, problem = FAINT, f"{name} has hardly any contrast: its pixels differ by {difference} of 255 when read"
    if not difference:
        kind, problem = EMPTY, f"{name} is empty: all its pixels are {image.reshape(-1)[0]} when read"
    expected = f"a difference of {CONTRAST} or more"
    raise ImagesError(problem, kind=kind, key=name, expected=expected, remedy=REMEDIES[kind])


def pictures(given: Any) -> list[Any]:
    """One image or several, as a list.

    Args:
        given: a path, an image of Pillow's, or an array ``[H, W]`` or ``[H, W, C]`` of one image; an array
            ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``; or a sequence of images.

    Raises:
        ImagesError: an array of another number of axes, one that may be of one image or of several, or one whose last
            axis is so short that it seems to be one image with a number of channels that no image has.
    """
    from PIL import Image

    if isinstance(given, (str, bytes, bytearray, os.PathLike, Image.Image)):
        return [given]
    if isinstance(given, Sequence):
        return list(given)
    array = np.asarray(given)
    one = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in CHANNELS)
    if array.ndim == 3 and not one and len(array) in CHANNELS[1:]:
        expected = "a list of images, as this may be one image [C, H, W] or several [H, W]"
        raise ImagesError(key="the images", given=f"an array of shape {list(array.shape)}", expected=expected)
    if array.ndim == 3 and not one and _narrow(*array.shape[1:]):
        expected = "1, 3 or 4 channels of one image [H, W, C], or several images [N, H, W] that are not so narrow"
        remedy = "give narrow images as a list"
        raise ImagesError(
            key="the images", given=f"an array of shape {list(array.shape)}", expected=expected, remedy=remedy
        )
    if array.ndim not in (2, 3, 4):
        given_shape = f"an array of shape {list(array.shape)}" if array.ndim else type(given).__name__
        expected = "a path, an image of Pillow's, an array [H, W] or [H, W, C], or a list of these"
        raise ImagesError(key="the images", given=given_shape, expected=expected)
    return [array] if one else list(array)


def _narrow(height: int, width: int) -> bool:
    """Whether this is rather the shape of rows of pixels with channels than that of an image."""
    return (width < NARROW and width != height) or 4 * width < height


def _bytes(given: Any, name: str) -> Bytes:
    """An array of an image as bytes ``[H, W]`` or ``[H, W, C]``."""
    if isinstance(given, (bytes, bytearray)):
        how = "read what is in an image file by PIL.Image.open(io.BytesIO(...))"
        raise ImagesError(f"{name} is {type(given).__name__}", key=name, expected="an image", remedy=how)
    x = np.asarray(given)
    if x.ndim == 3 and x.shape[-1] not in CHANNELS and x.shape[0] in CHANNELS:
        x = x.transpose(1, 2, 0)
    if x.ndim == 3 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.dtype.kind not in "biuf" or x.size == 0 or not (x.ndim == 2 or (x.ndim == 3 and x.shape[-1] in CHANNELS)):
        what = f"{x.dtype} of shape {list(x.shape)}" if x.dtype.kind != "O" else type(given).__name__
        expected = "a path, an image of Pillow's, or numbers [H, W], [H, W, C] or [C, H, W] with C = 1, 3 or 4"
        raise ImagesError(f"{name} is {what}", key=name, expected=expected)
    least, most = x.min(), x.max()  # NaN if any number is
    found = f"{name} is {x.dtype} from {least:g} to {most:g}" if x.dtype.kind != "b" else ""
    if x.dtype.kind == "b":
        x = x * 255
    elif x.dtype.kind == "f":
        if not (least >= 0 and most <= 1):
            remedy = "divide by 255, or give bytes (uint8)" if 1 < most <= 255 and least >= 0 else None
            raise ImagesError(found, key=name, expected="floats from 0 to 1", remedy=remedy)
        x = np.round(x * 255)
    elif least < 0 or most > 255:
        raise ImagesError(found, key=name, expected="whole numbers from 0 to 255", remedy="scale them")
    elif most == 1 and least == 0:
        remedy = "give bools or floats where 1 is the brightest, or multiply by 255"
        raise ImagesError(found, key=name, expected="whole numbers from 0 to 255", remedy=remedy)
    return np.ascontiguousarray(x, dtype=np.uint8)

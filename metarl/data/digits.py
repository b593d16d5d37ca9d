"""Handwritten digits from the wheel of scikit-learn, brought into the form of Omniglot's drawings."""

from __future__ import annotations

import numpy as np

from metarl.config import ConfigError, InputError
from metarl.data.pool import Pool
from metarl.types import Array, Bytes, Ints

FULL = 16  # ink of a full pixel in scikit-learn's images
FINE = 4  # times finer pixels in which strokes get their edges
DARK = 127  # pixels above it are on a stroke


def drawn_side(images: Array) -> int:
    """The median of the larger side of what is drawn, in pixels: how large drawings are in their images.

    Args:
        images: ``[n, H, W]`` uint8, 0 is paper.

    Raises:
        InputError: there is no image with ink.
    """
    ink = images.astype(np.uint8, copy=False) > DARK
    sides = []
    for axis in (1, 2):
        met = np.logical_or.reduce(ink, axis)
        sides.append(np.where(met.any(1), met.shape[1] - met.argmax(1) - met[:, ::-1].argmax(1), 0))
    larger = np.maximum(*sides)
    if not larger.any():
        raise InputError(key="images", given=images.shape, expected="images [n, H, W] with something drawn")
    return int(np.median(larger[larger > 0]))


def digits(size: int = 28, side: int = 20, *, crisp: bool = True) -> Pool:
    """scikit-learn's 1,797 digits of 8 by 8 pixels as drawings ``[size, size]``, bytes from 0 (paper) to 255 (ink).

    They are the test set of UCI's optical recognition of handwritten digits (Alpaydin & Kaynak 1998). They fill their
    images from top to bottom, so ``side`` is how tall they become; :func:`drawn_side` tells it of other drawings.

    Args:
        size: pixels along an image.
        side: pixels along the enlarged 8 by 8, in the middle of an image.
        crisp: strokes get edges: enlarged by cubic interpolation, what is above half ink is ink. False: they stay as
            blurred as they become by it.

    Raises:
        ConfigError: scikit-learn is not installed.
        InputError: a side that doesn't fit.
    """
    if not 8 <= side <= size:
        raise InputError(key="side", given=side, expected=f"8 to {size} pixels, the size of an image")
    small, labels = load()
    from PIL import Image

    fine = side * FINE if crisp else side
    margin = (size - side) // 2
    x = np.zeros((len(small), size, size), np.uint8)
    for row, image in enumerate(small):
        large = Image.fromarray(image).resize((fine, fine), Image.Resampling.BICUBIC)
        if crisp:
            large = large.point(lambda ink: 255 * (ink > DARK)).resize((side, side), Image.Resampling.BOX)
        x[row, margin : margin + side, margin : margin + side] = np.asarray(large)
    order = labels.argsort(kind="stable")
    return Pool(x[order], counts=np.bincount(labels), names=[str(digit) for digit in range(10)])


def load() -> tuple[Bytes, Ints]:
    """The images as they are ``[1797, 8, 8]``, 255 for full ink, and which digits they show ``[1797]``.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        problem, remedy = (
            "scikit-learn is not installed, whose wheel has the digits",
            "install the extra apps, or scikit-learn",
        )
        raise ConfigError(problem, key="scikit-learn", remedy=remedy) from None
    found = load_digits()
    return np.rint(found.images * (255 / FULL)).astype(np.uint8), found.target.astype(np.int64)

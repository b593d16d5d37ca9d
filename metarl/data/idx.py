"""Images and labels in the idx format of MNIST, as Debian's package of Fashion-MNIST has them."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from metarl.config import InputError
from metarl.data.pool import Pool
from metarl.types import Bytes

FASHION = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist lies
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
MOST = 2**28  # bytes that a file may have when unpacked
_BYTES = 0x08  # the type of bytes in an idx header


def fashion(folder: str | Path = FASHION) -> Pool:
    """The 10,000 test pictures ``[28, 28]`` of Fashion-MNIST (Xiao et al. 2017): ten kinds of clothes, light on dark.

    Args:
        folder: that has ``t10k-images-idx3-ubyte.gz`` and ``t10k-labels-idx1-ubyte.gz``.

    Raises:
        InputError: a file is missing or damaged, or they don't fit together.
    """
    folder = Path(folder)
    images = read_idx(folder / "t10k-images-idx3-ubyte.gz", axes=3)
    labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz", axes=1)
    counts = np.bincount(labels, minlength=len(CLOTHES))
    if len(images) != len(labels) or len(counts) != len(CLOTHES) or not counts.all():
        given = f"{len(images)} images, labels {np.unique(labels).tolist()}"
        raise InputError(key=str(folder), given=given, expected="a label from 0 to 9 for each image, and all of them")
    return Pool(images[labels.argsort(kind="stable")], counts=counts, names=CLOTHES)


def read_idx(path: str | Path, axes: int) -> Bytes:
    """The array in a gzipped idx file of bytes; no more is unpacked than its header says and :data:`MOST` allows.

    Args:
        path: the file.
        axes: that it should have.

    Raises:
        InputError: the file is missing, too large, damaged, or of another type or number of axes.
    """
    path, remedy = Path(path), "get it again; Debian has it as dataset-fashion-mnist"
    try:
        with gzip.open(path) as file:
            head = file.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:4] != bytes((0, 0, _BYTES, axes)):
                expected = f"an idx file of bytes with {axes} axes"
                raise InputError(key=str(path), given=head[:4].hex(), expected=expected, remedy=remedy)
            shape = tuple(int(side) for side in np.frombuffer(head, ">u4", axes, 4))
            count = math.prod(shape)
            if not 0 < count <= MOST:
                raise InputError(key=str(path), given=shape, expected=f"1 to {MOST:,} bytes", remedy=remedy)
            data = file.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        problem = f"{path} can't be read ({getattr(error, 'strerror', None) or error})"
        raise InputError(problem, key=str(path), remedy=remedy) from None
    if len(data) != count:
        given = f"{'more than ' if len(data) > count else ''}{min(len(data), count):,} bytes"
        raise InputError(key=str(path), given=given, expected=f"{count:,} bytes, as its header says", remedy=remedy)
    return np.frombuffer(data, np.uint8).reshape(shape)

"""All Omniglot drawings as one array, read from the archives once and then kept in the user's cache."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metarl.data.omniglot.archives import FOLDER, OmniglotError, cache_folder, check_published, find_archives
from metarl.files import replacing
from metarl.runs.progress import Progress
from metarl.types import Bytes

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 105  # pixels along a drawing as published
DRAWERS = 20  # drawings of a character, each by a different person
_FORMAT = 2  # raised when images are made in another way, so that older arrays are built again


class Drawings(NamedTuple):
    """The content of both archives.

    Args:
        images: ``[C, 20, H, W]`` from 0 (paper) to 255 (ink); the second axis is the drawer.
        names: ``ALPHABET/characterNN`` of each character, sorted.
    """

    images: Bytes
    names: tuple[str, ...]


def load_drawings(folder: str | Path | None = None, size: int = 28) -> Drawings:
    """All drawings at ``size`` by ``size`` pixels; the array is read-only and shared within a process.

    Args:
        folder: the first place to look for the archives, see :func:`metarl.data.omniglot.archives.search_path`.
        size: pixels along an image, 1 to 105.

    Raises:
        OmniglotError: an archive is missing or not a published one, or the size is out of range.
    """
    if not 1 <= size <= SIDE:
        raise OmniglotError(key="size", given=size, expected=f"1 to {SIDE} pixels")
    return _shared(tuple(path.resolve() for path in find_archives(folder)), size, cached(size))


def cached(size: int) -> Path:
    """The file in the user's cache that keeps the drawings of this size."""
    return cache_folder() / FOLDER / f"drawings-{size}-v{_FORMAT}.npz"


@lru_cache(maxsize=4)
def _shared(paths: tuple[Path, ...], size: int, cache: Path) -> Drawings:
    check_published(paths)
    drawings = _kept(cache)
    if drawings is None:
        drawings = read_drawings(paths, size)
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with replacing(cache) as temporary, temporary.open("wb") as file:
                np.savez(file, images=drawings.images, names=np.array(drawings.names))
        except OSError:  # with a full or read-only disk the archives are read again each time
            pass
    drawings.images.flags.writeable = False
    return drawings


def _kept(cache: Path) -> Drawings | None:
    """The cached drawings; None where there are none, or damaged ones (zip files have checksums)."""
    try:
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Drawings(arrays["images"], tuple(arrays["names"].tolist()))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def read_drawings(paths: Sequence[Path], size: int) -> Drawings:
    """Read all drawings from the archives ``paths``, scaled by area to ``size`` by ``size`` pixels.

    Shows on standard error how far it is.

    Raises:
        OSError, zipfile.BadZipFile: a damaged archive.
    """
    from PIL import Image

    with ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(path)) for path in paths]
        # ARCHIVE/ALPHABET/characterNN/IIII_DD.png, where DD is the drawer
        found = [(PurePosixPath(name), archive) for archive in archives for name in archive.namelist()]
        found = [(path, archive) for path, archive in found if path.suffix == ".png" and path.parts[0] != "__MACOSX"]
        found.sort(key=lambda entry: entry[0].parts[1:])
        images = np.empty((len(found), size, size), np.uint8)
        progress = stack.enter_context(Progress("reading Omniglot", len(found), "drawing"))
        for row, (path, archive) in enumerate(found):
            progress.add()
            with archive.open(str(path)) as file, Image.open(file) as image:
                images[row] = ink(image, size)
    names = tuple("/".join(path.parts[1:3]) for path, _ in found[::DRAWERS])
    return Drawings(images.reshape(-1, DRAWERS, size, size), names)


def ink(image: Image, size: int) -> Bytes:
    """A published drawing ``[size, size]``, scaled by area: 0 (paper) to 255 (ink)."""
    from PIL import Image, ImageOps

    inverted = ImageOps.invert(image.convert("L"))
    return np.asarray(inverted.resize((size, size), Image.Resampling.BOX))

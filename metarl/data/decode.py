"""Many image files read once: by several threads, with a progress bar, and then kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.data.folders import Class
from metarl.data.pictures import ImagesError, Reading, checked, quiet
from metarl.data.problems import Problem
from metarl.files import cache_folder, replacing
from metarl.types import Bytes

MOST_BYTES = 2**32  # most bytes that the images of a folder may take in memory
THREADS = 16  # at most; Pillow lets others work while it decodes and scales
KEPT = 16  # folders in the cache, of which the oldest is removed
_FORMAT = 2  # raised when images are read in another way, so that older files are made again
_PLACE = "images"


class Decoded(NamedTuple):
    """The images of some classes.

    Args:
        images: ``[N, *shape]`` class after class, each in the order of its files; zeros where there is a problem.
        problems: of files, by their number.
        note: how it came that they were read, in a line; empty if they came from the cache or were new.
    """

    images: Bytes
    problems: dict[int, Problem]
    note: str


def decode(root: Path, classes: Sequence[Class], reading: Reading) -> Decoded:
    """Read the files of classes, or take them from the cache if none of them has changed.

    The cache has a file for each folder and way of reading. It is used only if it names the same files of the same
    sizes and times, and its checksums are right; else it is made anew.

    Args:
        root: the folder.
        classes: in it.
        reading: how images are read.

    Raises:
        ImagesError: they need too much memory.
    """
    paths = [root / one.place / file.name for one in classes for file in one.files]
    size = len(paths) * int(np.prod(reading.shape))
    if size > MOST_BYTES:
        problem = f"the {len(paths):,} images of {root} take {size / 2**30:.1f} GiB"
        most, remedy = f"{MOST_BYTES / 2**30:.0f} at most", "choose a smaller size"
        raise ImagesError(problem, key=str(root), expected=most, remedy=remedy)
    cache, key = _place(root, reading), _key(classes)
    kept, why = _read(cache, key, (len(paths), *reading.shape))
    if kept is not None:
        return Decoded(*kept, "")
    start = time.monotonic()
    images, problems = read_files(paths, reading)
    _write(cache, key, images, problems)
    took = f"{len(paths):,} images were read anew in {time.monotonic() - start:.0f} s" if why else ""
    return Decoded(images, problems, f"{why}: {took}" if why else "")


def read_files(paths: Sequence[Path], reading: Reading) -> tuple[Bytes, dict[int, Problem]]:
    """Read files; see :func:`by_threads`.

    Args:
        paths: of the files.
        reading: how they are read.

    Returns:
        ``[N, *shape]`` with zeros where there is a problem, and the problems by number.
    """
    images = np.zeros((len(paths), *reading.shape), np.uint8)
    problems: dict[int, Problem] = {}

    def read(number: int) -> None:
        path = paths[number]
        try:
            images[number] = checked(reading.read_file(path), str(path))
        except ImagesError as error:
            problems[number] = Problem(error.kind, str(path), error.without_remedy)

    by_threads(read, range(len(paths)))
    return images, dict(sorted(problems.items()))


def by_threads(read: Callable[[int], None], numbers: Sequence[int]) -> None:
    """Call ``read`` with each number, by as many threads as there are processors.

    Shows a progress bar if standard error is a terminal and it takes longer than a moment.

    Args:
        read: reads a file with :meth:`metarl.data.pictures.Reading.read_file`, and keeps what it found.
        numbers: of the files.
    """
    from tqdm import tqdm

    shown = partial(tqdm, desc="reading images", total=len(numbers), disable=None, leave=False, delay=0.5)
    with quiet(), ThreadPoolExecutor(min(THREADS, _processors())) as pool:
        try:
            for _ in shown(pool.map(read, numbers)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _processors() -> int:
    """The processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _place(root: Path, reading: Reading) -> Path:
    """The file in the cache for a folder that is read in this way."""
    name = hashlib.sha256(f"{os.path.realpath(root)}\0{reading!r}".encode(errors="surrogateescape")).hexdigest()
    return cache_folder() / _PLACE / f"{name[:32]}.npz"


def _key(classes: Sequence[Class]) -> str:
    """A checksum of names, sizes and times of all files, and of how they are read."""
    from PIL import __version__

    listed = [[one.place, one.files] for one in classes]
    return hashlib.sha256(json.dumps([_FORMAT, __version__, listed]).encode()).hexdigest()


def _read(cache: Path, key: str, shape: tuple[int, ...]) -> tuple[tuple[Bytes, dict[int, Problem]] | None, str]:
    """What is kept, and nothing; or None, and why it can't be used, which is empty where nothing is kept."""
    try:
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # zip files have checksums
            if bytes(arrays["key"]).decode() != key:
                return None, "the folder has changed since its images were kept in the cache"
            images = arrays["images"]
            told = json.loads(bytes(arrays["problems"]))
            problems = {int(number): Problem(*map(str, one)) for number, one in told.items()}
        if images.dtype != np.uint8 or images.shape != shape:
            raise ValueError(f"the images are of shape {images.shape}")
    except FileNotFoundError:
        return None, ""
    except Exception:  # a damaged header makes NumPy raise nearly anything
        return None, "the images kept in the cache are damaged"
    with suppress(OSError):
        os.utime(cache)  # the last that is removed
    return (images, problems), ""


def _write(cache: Path, key: str, images: Bytes, problems: dict[int, Problem]) -> None:
    """Keep images, and remove the oldest of others; with a full or read-only disk they are read again each time."""
    told = np.frombuffer(json.dumps(problems).encode(), np.uint8)
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with replacing(cache) as temporary, temporary.open("wb") as file:
            np.savez(file, key=np.frombuffer(key.encode(), np.uint8), images=images, problems=told)
        known = sorted(cache.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in known[KEPT:]:
            path.unlink(missing_ok=True)

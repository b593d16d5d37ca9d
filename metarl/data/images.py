"""Any folder of class folders of images as a source of episodes."""

from __future__ import annotations

import hashlib
import unicodedata
import warnings
from pathlib import Path

import numpy as np

from metarl.data.pictures import FORMATS, Background, ImagesError, Reading, blank
from metarl.data.pool import Pool
from metarl.data.sources import at_least_one
from metarl.seeding import split_key
from metarl.types import SPLITS, Bytes, Split

_SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val"),
    "test": ("test",),
}
_SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
_FOR_EACH_CLASS = "a folder of images for each class in it"
_ADD_SOME = "add some, or remove the folder"
SHOWN = 10  # empty images that an error names
_LEAST = 2  # fewest classes of a split, and images of a class
_MOST_BYTES = 2**32  # most bytes that the images of a split may take in memory


class Images(Pool):
    """Images of one split as bytes ``[size, size]``, or ``[size, size, 3]`` where they are not ``grey``.

    Images are scaled by area, in each direction separately, and neither cropped nor inverted; transparent parts become
    the ``background``. All are kept in memory.

    If ``folder`` has folders ``train``, ``validation`` (or ``val``) and ``test`` that contain class folders, these are
    the splits. Otherwise its class folders are sorted by the sha256 of their names: the first 10 % are for validation,
    the next 20 % for testing (at least two classes each) and the rest for training. Nothing is random, but a new class
    may move others to another split: make a folder for each split if classes may be added.

    Files are found by suffix and taken in sorted order. Hidden files and folders deeper down are left out. All classes
    get as many images as the smallest one has: ``left_out`` counts the others. ``names`` names the class folders.

    Args:
        split: train, validation or test; no class may be in two of them.
        folder: contains a folder of images for each class, or a folder of such folders for each split.
        size: pixels along an image.
        grey: convert to grey; else all have three colours.
        background: what transparent parts become.

    Raises:
        ImagesError: too few classes or images, an image that cannot be read, empty images (all pixels alike when read),
            images that are all the same, or a link out of the folder.
        ValueError: there is no such split, or the size is under 1.
    """

    def __init__(
        self,
        split: Split,
        folder: str | Path,
        size: int = 28,
        grey: bool = True,
        background: Background = "white",
    ) -> None:
        split_key(split)
        at_least_one(size=size)
        try:
            files = [_images(place, Path(folder)) for place in class_folders(split, folder)]
        except OSError as error:
            raise ImagesError(f"the folder of images {folder} cannot be read: {error}", key=str(folder)) from error
        self.names = [paths[0].parent.name for paths in files]
        smallest = min(files, key=len)
        count = len(smallest)
        if count < _LEAST:
            few = f"the class {smallest[0].parent} has {count} image"
            raise ImagesError(few, key=str(smallest[0].parent), expected=f"{_LEAST} or more", remedy=_ADD_SOME)
        self.left_out = sum(map(len, files)) - count * len(files)
        reading = Reading(size, grey, background=background)
        total = len(files) * count * int(np.prod(reading.shape))
        if total > _MOST_BYTES:
            problem = f"{len(files)} classes with {count} images each of {folder} take {total / 2**30:.1f} GiB"
            most = f"{_MOST_BYTES / 2**30:.0f} at most"
            raise ImagesError(problem, key=str(folder), expected=most, remedy="choose a smaller size")
        examples = np.empty((len(files), count, *reading.shape), np.uint8)
        for number, paths in enumerate(files):
            for place, path in enumerate(paths[:count]):
                examples[number, place] = reading.read(path)
        _check_seen(examples, files, background)
        examples.flags.writeable = False
        self.split = split
        super().__init__(examples)

    def _described(self) -> dict[str, object]:
        return {"split": self.split} | super()._described() | {"left_out": self.left_out}


def _check_seen(examples: Bytes, files: list[list[Path]], background: Background) -> None:
    """Refuse empty images, and images that are all the same; warn of some that are.

    Args:
        examples: ``[C, M, ...]``
        files: where they are from.
        background: what transparent parts became.
    """
    flat = examples.reshape(-1, *examples.shape[2:])
    paths = [path for some in files for path in some[: examples.shape[1]]]
    empty = [path for path, image in zip(paths, flat, strict=True) if blank(image)]
    if empty:
        opposite = "black" if background == "white" else "white"
        shown = ", ".join(map(str, empty[:SHOWN])) + (f" and {len(empty) - SHOWN} more" if len(empty) > SHOWN else "")
        problem = f"{len(empty)} of {len(flat)} images are empty, with all pixels alike when read: {shown}"
        remedy = f"remove them, or give background = {opposite!r} if strokes on a transparent background are lost"
        raise ImagesError(problem, key=str(empty[0]), expected="images on which something is seen", remedy=remedy)
    first: dict[bytes, int] = {}
    same = [(number, first.setdefault(image.tobytes(), number)) for number, image in enumerate(flat)]
    same = [(number, other) for number, other in same if number != other]
    if len(same) == len(flat) - 1:
        problem = f"all {len(flat)} images are the same when read, such as {paths[0]} and {paths[-1]}"
        raise ImagesError(problem, key=str(paths[0].parent.parent), expected="images that differ")
    across = sum(number // examples.shape[1] != other // examples.shape[1] for number, other in same)
    if same:
        number, other = same[0]
        warnings.warn(
            f"{len(same)} of {len(flat)} images are the same as another when read, {across} of them as one of another "
            f"class; the first are {paths[other]} and {paths[number]}",
            stacklevel=3,
        )


def counts(folder: str | Path) -> list[str]:
    """What each split of a folder has, and what is left out of it, one line each; images are not read.

    Raises:
        ImagesError: see :func:`class_folders`.
        OSError: the folder cannot be read.
    """
    lines = []
    for split in SPLITS:
        found = [_images(place, Path(folder)) for place in class_folders(split, folder)]
        smallest, largest = min(found, key=len), max(found, key=len)
        least, total = len(smallest), sum(map(len, found))
        line = f"{split}: {len(found)} classes, {least} images of each"
        if len(largest) > least:
            line += f"; {total - least * len(found)} of {total} images are left out, as {smallest[0].parent.name} has "
            line += f"only {least} ({largest[0].parent.name} has {len(largest)})"
        lines.append(line)
    return lines


def images_by_class(folder: str | Path) -> dict[str, list[Path]]:
    """The images of each class folder of ``folder`` by the name of the class, in sorted order; see :class:`Images`.

    Raises:
        ImagesError: there is no such folder, it has no class folders, one of them has no images, or a link leads out.
    """
    root = Path(folder).expanduser()
    try:
        return {place.name: _images(place, root) for place in _inner_folders(root)}
    except OSError as error:
        raise ImagesError(f"the folder of images {folder} cannot be read: {error}", key=str(folder)) from error


def class_folders(split: Split, folder: str | Path) -> list[Path]:
    """The folders of the classes of a split, in sorted order; see :class:`Images`.

    Raises:
        ImagesError: there is no such folder, it has no class folders or too few, or a class is in two splits.
        OSError: the folder cannot be read.
    """
    root = Path(folder).expanduser()
    inside = _inner_folders(root)
    named: dict[Split, list[Path]] = {name: [] for name in SPLITS}
    for name, aliases in _SPLIT_FOLDERS.items():
        named[name] = [place for place in inside if place.name in aliases and _folders(place, root)]
    classes = _from_split_folders(split, root, named) if any(named.values()) else _from_names(split, root, inside)
    if len(classes) < _LEAST:
        problem = f"the {split} split of {folder} has {len(classes)} of its classes"
        raise ImagesError(problem, key=str(folder), expected=f"{_LEAST} or more")
    return classes


def _inner_folders(root: Path) -> list[Path]:
    """The folders in a folder, at least one."""
    if not root.is_dir():
        raise ImagesError(f"there is no folder {root}", key=str(root), expected=_FOR_EACH_CLASS)
    inside = _folders(root, root)
    if not inside:
        raise ImagesError(f"{root} has no folders in it", key=str(root), expected=_FOR_EACH_CLASS)
    return inside


def _from_split_folders(split: Split, root: Path, named: dict[Split, list[Path]]) -> list[Path]:
    if len(named[split]) != 1:
        there = ", ".join(place.name for places in named.values() for place in places)
        expected = f"one folder {' or '.join(_SPLIT_FOLDERS[split])} for the {split} split, or only class folders"
        raise ImagesError(f"{root} has class folders in {there}", key=str(root), expected=expected)
    where: dict[str, str] = {}
    for place in (place for places in named.values() for place in places):
        for inner in _folders(place, root):
            other = where.setdefault(inner.name, place.name)
            if other != place.name:
                problem = f"the class {inner.name} of {root} is in {other} and in {place.name}"
                remedy = f"move it to one of them, or give {root / other} alone to split its classes"
                raise ImagesError(problem, key=str(inner), expected="splits without common classes", remedy=remedy)
    return _folders(named[split][0], root)


def _from_names(split: Split, root: Path, inside: list[Path]) -> list[Path]:
    validation, test = (max(_LEAST, round(share * len(inside))) for share in (0.1, 0.2))
    held_out = validation + test
    if len(inside) < held_out + _LEAST:
        expected = f"{3 * _LEAST} or more: at least {_LEAST} each to train, validate and test"
        raise ImagesError(f"{root} has {len(inside)} class folders", key=str(root), expected=expected)
    order = sorted(inside, key=lambda place: _hash(place.name))
    bounds = {"validation": (0, validation), "test": (validation, held_out), "train": (held_out, None)}
    return sorted(order[slice(*bounds[split])])


def _hash(name: str) -> str:
    """The same on file systems that encode accents in different ways."""
    return hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).hexdigest()


def _folders(place: Path, root: Path) -> list[Path]:
    return [inner for inner in _visible(place) if inner.is_dir() and _inside(inner, root)]


def _images(place: Path, root: Path) -> list[Path]:
    """The images of a class, in sorted order; at least one."""
    found = [
        path
        for path in _visible(place)
        if path.suffix.lower() in _SUFFIXES and path.is_file() and _inside(path, root.expanduser())
    ]
    if not found:
        deeper = any(path.suffix.lower() in _SUFFIXES for path in place.glob("*/*"))
        remedy = "move those in its folders up into it" if deeper else _ADD_SOME
        expected = f"files {', '.join(sorted(_SUFFIXES))}"
        raise ImagesError(f"the class folder {place} has no images", key=str(place), expected=expected, remedy=remedy)
    return found


def _visible(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if not path.name.startswith("."))


def _inside(path: Path, root: Path) -> bool:
    """True; a link that leads out of the root is an error, so that no other files are read."""
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        remedy = "put a copy in its place, or remove it"
        raise ImagesError(f"{path} is a link out of {root}", key=str(path), remedy=remedy)
    return True

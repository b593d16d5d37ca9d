"""What a folder of images holds: its classes, the splits they are in, and what is wrong with it. No image is read."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from metarl.data.pictures import FORMATS, ImagesError
from metarl.data.problems import Problem
from metarl.files import readable
from metarl.types import SPLITS, Split

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val"),
    "test": ("test",),
}
"""What the folder of a split may be called, in capitals or not."""
SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
OF_OTHER_PROGRAMS = {"__MACOSX", "@eaDir"}
"""Folders of copies and thumbnails that other programs make; like hidden ones, they are no part of the images."""
FOR_EACH_CLASS = "a folder of images for each class in it"
LEAST = 2  # fewest classes of a split, and images of a class
NO_IMAGES = "folders without images"
BESIDE = "images beside folders of images"
LINK = "links out of the folder"
UNREAD = "folders that cannot be read"
"""Kinds of problems of files and folders."""


class File(NamedTuple):
    """An image: its name in the folder of its class, its bytes, and when it was last changed."""

    name: str
    size: int
    changed: int


class Class(NamedTuple):
    """A folder that has images in it.

    Args:
        name: its path below the folder of all classes, parts joined by ``/``; bytes that are no UTF-8 are escaped.
        place: its path below the root.
        files: in sorted order.
    """

    name: str
    place: str
    files: tuple[File, ...]


class Tree(NamedTuple):
    """All that lies in a folder.

    Args:
        root: the folder.
        classes: in sorted order.
        problems: of folders and links.
        others: how many files there are that are no images, by suffix.
    """

    root: Path
    classes: tuple[Class, ...]
    problems: tuple[Problem, ...]
    others: tuple[tuple[str, int], ...]


def scan(folder: str | Path) -> Tree:
    """Look for classes: every folder that has images in it is one, however deep it lies.

    Its name is its path below ``folder``. Files are found by suffix; hidden ones are left out. Links are followed where
    they lead to something within the folder.

    Raises:
        ImagesError: there is no such folder, it can't be read, or it has no folders in it.
    """
    root, seen = Path(folder).expanduser(), _seen.get()
    if seen is not None and root in seen:
        return seen[root]
    if not root.is_dir():
        raise ImagesError(f"there is no folder {root}", key=str(root), expected=FOR_EACH_CLASS)
    found = _Scan(root)
    try:
        found.walk(root, "", (os.path.realpath(root),))
    except OSError as error:
        raise ImagesError(f"the folder of images {root} cannot be read: {error}", key=str(root)) from error
    if not found.folders:
        raise ImagesError(f"{root} has no folders in it", key=str(root), expected=FOR_EACH_CLASS)
    classes = sorted(found.classes, key=lambda one: PurePosixPath(one.name).parts)
    tree = Tree(root, tuple(classes), tuple(found.problems), tuple(found.others.most_common()))
    if seen is not None:
        seen[root] = tree
    return tree


@contextmanager
def one_look() -> Iterator[None]:
    """Within, each folder is looked through once, and then taken to be as it was."""
    before = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(before)


_seen: ContextVar[dict[Path, Tree] | None] = ContextVar("seen", default=None)


class _Scan:
    def __init__(self, root: Path) -> None:
        self.root, self.real = root, Path(os.path.realpath(root))
        self.classes: list[Class] = []
        self.problems: list[Problem] = []
        self.others: Counter[str] = Counter()
        self.folders = 0

    def walk(self, place: Path, name: str, above: tuple[str, ...]) -> bool:
        """Note what lies in a folder; whether there is an image in it, or deeper down.

        Args:
            place: the folder.
            name: its path below the root.
            above: the real paths of it and of the folders that it lies in, so that no link leads round in a circle.
        """
        files: list[File] = []
        inner: list[os.DirEntry[str]] = []
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.name in OF_OTHER_PROGRAMS or not self._inside(entry):
                    continue
                if entry.is_dir():
                    inner.append(entry)
                elif entry.is_file():
                    suffix = os.path.splitext(entry.name)[1].lower()
                    if suffix in SUFFIXES:
                        told = entry.stat()
                        files.append(File(entry.name, told.st_size, told.st_mtime_ns))
                    else:
                        self.others[suffix or "without a suffix"] += 1
        self.folders += len(inner)
        deeper = [self._inner(entry, f"{name}/{entry.name}".lstrip("/"), above) for entry in inner]
        if files and (any(deeper) or not name):
            text = f"lies beside folders of images in {place}"
            self.problems += [Problem(BESIDE, str(place / file.name), text) for file in files]
        elif files:
            self.classes.append(Class(readable(name), name, tuple(files)))
        elif not inner and name:
            text = f"the class folder {place} has no images"
            self.problems.append(Problem(NO_IMAGES, str(place), text))
        return bool(files) or any(deeper)

    def _inner(self, entry: os.DirEntry[str], name: str, above: tuple[str, ...]) -> bool:
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
        if real in above:
            return False
        try:
            return self.walk(Path(entry.path), name, (*above, real))
        except OSError as error:
            text = f"the folder {entry.path} cannot be read ({error.strerror or error})"
            self.problems.append(Problem(UNREAD, entry.path, text))
            return False

    def _inside(self, entry: os.DirEntry[str]) -> bool:
        """Whether it is no link out of the root, so that no other files are read."""
        if not entry.is_symlink() or Path(os.path.realpath(entry.path)).is_relative_to(self.real):
            return True
        text = f"{entry.path} is a link out of {self.root}"
        self.problems.append(Problem(LINK, entry.path, text))
        return False


def split_classes(tree: Tree, split: Split) -> list[Class]:
    """The classes of a split, in sorted order, named by their paths below the folder of the split if there is one.

    Raises:
        ImagesError: there are no classes or too few, or a class is in two splits.
    """
    named = _split_folders(tree)
    classes = _from_split_folders(tree, split, named) if any(named.values()) else _from_names(tree, split)
    if len(classes) < LEAST:
        problem = f"the {split} split of {tree.root} has {len(classes)} of its classes"
        raise ImagesError(problem, key=str(tree.root), expected=f"{LEAST} or more")
    return classes


def beside_splits(tree: Tree) -> list[Class]:
    """The classes that lie beside the folders of the splits, and so are in none of them."""
    tops = {top for some in _split_folders(tree).values() for top in some}
    return [one for one in tree.classes if tops and one.place.partition("/")[0] not in tops]


def _split_folders(tree: Tree) -> dict[Split, list[str]]:
    """The folders of each split that have class folders in them, in capitals or not, as they are called."""
    tops = sorted({one.place.partition("/")[0] for one in tree.classes if "/" in one.place})
    return {split: [top for top in tops if top.casefold() in names] for split, names in SPLIT_FOLDERS.items()}


def _below(tree: Tree, top: str) -> list[Class]:
    """The classes that lie in a folder of the root, named by their paths below it."""
    start = f"{top}/"
    return [one._replace(name=readable(one.place[len(start) :])) for one in tree.classes if one.place.startswith(start)]


def _from_split_folders(tree: Tree, split: Split, named: dict[Split, list[str]]) -> list[Class]:
    root = tree.root
    unclear = [name for name in SPLITS if len(named[name]) > 1] or [split] * (not named[split])
    if unclear:
        there = ", ".join(sorted(top for some in named.values() for top in some))
        names = " or ".join(SPLIT_FOLDERS[unclear[0]])
        expected = f"one folder {names} (in capitals or not) for the {unclear[0]} split, or only class folders"
        raise ImagesError(f"{root} has class folders in {there}", key=str(root), expected=expected)
    where: dict[str, str] = {}
    for top in (top for name in SPLITS for top in named[name]):
        for one in _below(tree, top):
            other = where.setdefault(one.name, top)
            if other != top:
                problem = f"the class {one.name} of {root} is in {other} and in {top}"
                remedy = f"move it to one of them, or give {root / other} alone to split its classes"
                expected = "splits without common classes"
                raise ImagesError(problem, key=str(root / one.place), expected=expected, remedy=remedy)
    return _below(tree, named[split][0])


def _from_names(tree: Tree, split: Split) -> list[Class]:
    count = len(tree.classes)
    validation, test = (max(LEAST, round(share * count)) for share in (0.1, 0.2))
    held_out = validation + test
    if count < held_out + LEAST:
        expected = f"{3 * LEAST} or more: at least {LEAST} each to train, validate and test"
        raise ImagesError(f"{tree.root} has {count} class folders", key=str(tree.root), expected=expected)
    order = sorted(tree.classes, key=lambda one: name_hash(one.name))
    bounds = {"validation": (0, validation), "test": (validation, held_out), "train": (held_out, None)}
    return sorted(order[slice(*bounds[split])], key=lambda one: PurePosixPath(one.name).parts)


def name_hash(name: str) -> str:
    """The same on file systems that encode accents in different ways."""
    return hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).hexdigest()

"""Any folder of class folders of images as a source of episodes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.config import InputError
from metarl.data.decode import decode, read_files
from metarl.data.folders import (
    FOR_EACH_CLASS,
    LEAST,
    SUFFIXES,
    Class,
    Tree,
    beside_splits,
    name_hash,
    scan,
    split_classes,
)
from metarl.data.pictures import DAMAGED, EMPTY, FAINT, REMEDIES, Background, ImagesError, Reading
from metarl.data.pool import Pool
from metarl.data.problems import Problem, summary
from metarl.data.sources import at_least_one
from metarl.seeding import split_key
from metarl.types import SPLITS, Bytes, Ints, Split

SHOWN = 10  # classes that a line names
FEW = f"classes with less than {LEAST} images"
"""The kind of problem that a class is."""


@dataclass(frozen=True)
class Choice:
    """Which classes and images of a folder are used.

    Args:
        min_images: classes with fewer are left out; None: a class with a single image is a problem.
        max_images: most images of a class; those are used whose names have the smallest sha256, so that it does not
            matter how a folder is sorted. None: all.
        skip_bad: leave out what is a problem, instead of refusing the folder.

    Raises:
        InputError: fewer than two images, or a maximum below the minimum.
    """

    min_images: int | None = None
    max_images: int | None = None
    skip_bad: bool = False

    def __post_init__(self) -> None:
        least = LEAST
        for name in ("min_images", "max_images"):
            given = getattr(self, name)
            if given is not None and given < least:
                raise InputError(key=name, given=given, expected=f"{least} or more")
            least = given or least


class Images(Pool):
    """Images of one split as bytes ``[size, size]``, or ``[size, size, 3]`` where they are not ``grey``.

    Images are scaled by area, in each direction separately, and neither cropped nor inverted; transparent parts become
    the ``background``. All are kept in memory, and those of large folders in the user's cache.

    Every folder that has images in it is a class, however deep it lies; its name is its path below ``folder``, such as
    ``Greek/character01``. Classes may have different numbers of images, and all of them are used.

    If ``folder`` has folders ``train``, ``validation`` (or ``val``) and ``test`` that contain class folders, these are
    the splits, and names begin below them; they may be written in capitals. Otherwise classes are sorted by the sha256
    of their names: the first 10 % are for validation, the next 20 % for testing (at least two classes each) and the
    rest for training. Nothing is random, but a new class may move others to another split: make a folder for each split
    if classes may be added.

    Files are found by suffix and taken in sorted order; hidden files and folders are no part of it. ``left_out`` counts
    the images of the split that are not used.

    Args:
        split: train, validation or test; no class may be in two of them.
        folder: contains class folders, or a folder of such folders for each split.
        size: pixels along an image.
        grey: convert to grey; else all have three colours.
        background: what transparent parts become.
        min_images: see :class:`Choice`; such classes still count where classes are split by their names.
        max_images: see :class:`Choice`.
        skip_bad: see :class:`Choice`.

    Raises:
        ImagesError: too few classes; images that cannot be read, are empty or have hardly any contrast, folders
            without images, images beside folders of images, classes with one image, and links out of the folder, all
            listed at once; or images that are all the same.
        InputError: numbers that are too small.
        ValueError: there is no such split.
    """

    def __init__(
        self,
        split: Split,
        folder: str | Path,
        size: int = 28,
        grey: bool = True,
        background: Background = "white",
        *,
        min_images: int | None = None,
        max_images: int | None = None,
        skip_bad: bool = False,
    ) -> None:
        split_key(split)
        at_least_one(size=size)
        choice = Choice(min_images, max_images, skip_bad)
        tree = scan(folder)
        own = _split(tree, split, choice)
        opened = _opened(tree, Reading(size, grey, background=background), choice)
        used = [one for one in own if one.place in opened.rows]
        if len(used) < LEAST:
            problem = f"the {split} split of {folder} has {len(used)} classes that can be used, of {len(own)}"
            raise ImagesError(problem, key=str(folder), expected=f"{LEAST} or more")
        each = [opened.rows[one.place] for one in used]
        rows = np.concatenate(each)
        _check_differ(split, rows, np.repeat(np.arange(len(each)), [len(some) for some in each]), opened)
        self.split = split
        self.left_out = sum(len(one.files) for one in own) - len(rows)
        flat = opened.images[rows]
        flat.flags.writeable = False
        super().__init__(flat, counts=[len(some) for some in each], names=[one.name for one in used])

    def _described(self) -> dict[str, object]:
        return {"split": self.split} | super()._described() | {"left_out": self.left_out}


class Opened(NamedTuple):
    """The images of a folder that can be used.

    Args:
        images: ``[N, *shape]`` of all files.
        paths: of the files.
        rows: the places in ``images`` of those of each class that are used, by the place of the class.
        copies: ``[N]`` the place of the first used image that is the same, or its own.
        lines: what is left out and why, in words.
    """

    images: Bytes
    paths: list[Path]
    rows: dict[str, Ints]
    copies: Ints
    lines: list[str]


@lru_cache(maxsize=2)
def _opened(tree: Tree, reading: Reading, choice: Choice) -> Opened:
    """Read the images of a folder, and choose.

    Raises:
        ImagesError: something can't be used, unless ``skip_bad``; everything is listed.
    """
    outside = beside_splits(tree)
    classes = [one for one in tree.classes if one not in outside]
    decoded = decode(tree.root, classes, reading)
    paths = [tree.root / one.place / file.name for one in classes for file in one.files]
    problems = [*tree.problems, *decoded.problems.values()]
    rows: dict[str, Ints] = {}
    few: list[int] = []
    many: list[int] = []
    end = 0
    for one in classes:
        start, end = end, end + len(one.files)
        good = [number for number in range(start, end) if number not in decoded.problems]
        if choice.min_images is None and len(good) < LEAST:
            text = f"the class {one.name} has {len(good)} image{'s' * (not good)}"
            problems.append(Problem(FEW, str(tree.root / one.place), text))
            continue
        if len(good) < (choice.min_images or LEAST):
            few.append(len(good))
            continue
        if choice.max_images is not None and len(good) > choice.max_images:
            many.append(len(good) - choice.max_images)
            good = sorted(sorted(good, key=lambda number: name_hash(paths[number].name))[: choice.max_images])
        rows[one.place] = np.array(good)
    if problems and not choice.skip_bad:
        raise refusal(tree.root, problems, reading)
    lines = [decoded.note] if decoded.note else []
    if problems:
        lines.append(f"left out with skip_bad: {_told(tree.root, problems)}")
    if few:
        lines.append(
            f"left out with min_images = {choice.min_images}: {len(few)} classes with {sum(few):,} images in all"
        )
    if many:
        lines.append(f"left out with max_images = {choice.max_images}: {sum(many):,} images of {len(many)} classes")
    if outside:
        shown = ", ".join(one.name for one in outside[:SHOWN]) + (", ..." if len(outside) > SHOWN else "")
        lines.append(f"in no split: {len(outside)} classes beside the folders of the splits ({shown})")
    if tree.others:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in tree.others)
        lines.append(f"no images: {sum(count for _, count in tree.others):,} files ({kinds})")
    copies = np.arange(len(paths))
    first: dict[bytes, int] = {}
    for number in (int(number) for some in rows.values() for number in some):
        copies[number] = first.setdefault(decoded.images[number].tobytes(), number)
    return Opened(decoded.images, paths, rows, copies, lines)


def refusal(root: Path, problems: list[Problem], reading: Reading | None = None) -> ImagesError:
    """The error that tells everything that is wrong with a folder; see :func:`metarl.data.problems.summary`.

    Args:
        root: the folder.
        problems: one or more.
        reading: how images are read; None: they are not.
    """
    remedy = "repair or remove them, or leave them out: --skip-bad (skip_bad = true)"
    kinds = {one.kind for one in problems} - {DAMAGED}
    remedy += "".join(f"; {what}" for what in dict.fromkeys(REMEDIES[kind] for kind in REMEDIES if kind in kinds))
    if reading is not None and not reading.drawing and kinds & {EMPTY, FAINT}:
        opposite = "black" if reading.background == "white" else "white"
        remedy += f"; give background = {opposite!r} if strokes on a transparent background are lost"
    problem = f"{root} has {_told(root, problems)}"
    expected = f"images ({', '.join(sorted(SUFFIXES))}) on which something is seen"
    return ImagesError(problem, key=problems[0].path, expected=expected, remedy=remedy)


def _told(root: Path, problems: list[Problem]) -> str:
    """The problems of a folder in a line; the file that lists many is named after it."""
    return summary(problems, f"{root.resolve().name}-{name_hash(str(root.resolve()))[:8]}")


def _split(tree: Tree, split: Split, choice: Choice) -> list[Class]:
    """The classes of a split; where they can't be told, what is wrong with the folder comes first."""
    try:
        return split_classes(tree, split)
    except ImagesError:
        if tree.problems and not choice.skip_bad:
            raise refusal(tree.root, list(tree.problems)) from None
        raise


def _check_differ(split: Split, rows: Ints, labels: Ints, opened: Opened) -> None:
    """Refuse images that are all the same; warn of some that are, and of such that other splits have too.

    Args:
        split: that they are of.
        rows: ``[N]`` where they are.
        labels: ``[N]`` their classes.
        opened: all images of the folder.
    """
    first, total = opened.copies[rows], len(rows)
    alike, at, group = np.unique(first, return_index=True, return_inverse=True)
    one, last = opened.paths[rows[0]], opened.paths[rows[-1]]
    if len(alike) == 1:
        problem = f"all {total} images are the same when read, such as {one} and {last}"
        raise ImagesError(problem, key=str(one.parent.parent), expected="images that differ")
    repeated = np.flatnonzero(at[group] != np.arange(total))
    others = np.setdiff1d(np.concatenate(list(opened.rows.values())), rows)
    elsewhere = int(np.isin(first, opened.copies[others]).sum())
    if len(repeated):
        across = int((labels[repeated] != labels[at[group[repeated]]]).sum())
        number = repeated[0]
        warnings.warn(
            f"{len(repeated)} of {total} images of the {split} split are the same as another when read, {across} of "
            f"them as one of another class; the first are {opened.paths[rows[at[group[number]]]]} and "
            f"{opened.paths[rows[number]]}",
            stacklevel=3,
        )
    if elsewhere:
        number = rows[np.isin(first, opened.copies[others])][0]
        warnings.warn(
            f"{elsewhere} of {total} images of the {split} split are also in another split when read, such as "
            f"{opened.paths[number]}; what is tested on them was trained on, or chosen by them",
            stacklevel=3,
        )


def told(folder: str | Path, reading: Reading, choice: Choice | None = None) -> list[str]:
    """What each split of a folder has, and what is left out of it and why, one line each.

    Args:
        folder: see :class:`Images`.
        reading: how images are read.
        choice: which are used; None: all.

    Raises:
        ImagesError: see :class:`Images`.
    """
    tree = scan(folder)
    choice = choice or Choice()
    opened = _opened(tree, reading, choice)
    lines = []
    for split in SPLITS:
        counts = [len(opened.rows[one.place]) for one in _split(tree, split, choice) if one.place in opened.rows]
        least, most = min(counts), max(counts)
        each = (
            f"{least} images of each" if least == most else f"{least} to {most} images of each, {sum(counts):,} in all"
        )
        lines.append(f"{split}: {len(counts)} classes, {each}")
    return lines + opened.lines


def class_names(split: Split, folder: str | Path) -> tuple[str, ...]:
    """The names of the classes of a split; images are not read.

    Raises:
        ImagesError: there is no such folder, it has too few classes, or a class is in two splits.
    """
    return tuple(one.name for one in split_classes(scan(folder), split))


def images_by_class(
    folder: str | Path, reading: Reading, *, skip_bad: bool = False
) -> tuple[dict[str, list[Path]], str]:
    """The images of each class of a folder without splits, by the name of the class, and what was left out in words.

    Args:
        folder: see :class:`Images`; classes may have a single image.
        reading: how images are read.
        skip_bad: leave out files and folders that can't be used.

    Raises:
        ImagesError: there is no such folder, it has no images, or something can't be used; everything is listed.
    """
    tree = scan(folder)
    paths = {one.name: [tree.root / one.place / file.name for file in one.files] for one in tree.classes}
    problems = list(tree.problems)
    if skip_bad or problems:
        problems += read_files([path for some in paths.values() for path in some], reading)[1].values()
    if problems and not skip_bad:
        raise refusal(tree.root, problems, reading)
    bad = {one.path for one in problems}
    kept = {name: [path for path in some if str(path) not in bad] for name, some in paths.items()}
    kept = {name: some for name, some in kept.items() if some}
    if not kept:
        raise ImagesError(f"{tree.root} has no images that can be used", key=str(tree.root), expected=FOR_EACH_CLASS)
    return kept, _told(tree.root, problems) if problems else ""

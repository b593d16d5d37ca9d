"""Omniglot (Lake et al. 2015) as a source of episodes: 1623 characters of 50 alphabets, each drawn by 20 people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarl.data.omniglot_cache import load_drawings
from metarl.data.omniglot_download import download as download
from metarl.data.omniglot_places import ARCHIVES, checksums, find_archives
from metarl.data.omniglot_places import OmniglotError as OmniglotError
from metarl.data.omniglot_splits import SCHEMES, Scheme, shared_alphabets, split_characters
from metarl.data.pool import Pool
from metarl.types import SPLITS, Split


class Omniglot(Pool):
    """Drawings ``[size, size]`` of one split as bytes, 255 where all is ink.

    Args:
        split: train, validation or test; no character, and so no rotation or drawing, is in two.
        size: pixels along a picture; 28 as a rule, 20 in Santoro et al. 2016.
        scheme: ``standard`` (1028, 172 and 423 characters; Vinyals et al. 2016) or ``lake`` (25, 5 and 20 alphabets).
        rotations: make each character turned by 0, 90, 180 and 270 degrees four classes, never two in one episode.
        folder: where the archives lie; else ``METARL_DATA`` and the user's cache are searched.
        within_alphabet: all classes of an episode come from one alphabet, turned alike.
        distinct_drawers: support and queries of an episode are by different people.

    Raises:
        OmniglotError: the archives are missing, damaged or not the published ones.
        ValueError: there is no such split or scheme.
    """

    names: list[str]
    """Of each class: ``ALPHABET/characterNN``, with ``/rot090`` and so on behind it where it is turned."""
    alphabets: list[str]
    """Of each class."""

    def __init__(
        self,
        split: Split,
        *,
        size: int = 28,
        scheme: Scheme = "standard",
        rotations: bool = False,
        folder: str | Path | None = None,
        within_alphabet: bool = False,
        distinct_drawers: bool = False,
    ) -> None:
        characters = split_characters(scheme, split)
        drawings = load_drawings(folder, size)
        row = {name: number for number, name in enumerate(drawings.names)}
        upright = np.asarray(drawings.pictures)[[row[name] for name in characters]]
        turns = range(4 if rotations else 1)
        examples = np.concatenate([np.rot90(upright, turn, (2, 3)) for turn in turns]) if rotations else upright
        examples.flags.writeable = False
        self.names = [f"{name}/rot{90 * turn:03d}" if turn else name for turn in turns for name in characters]
        self.alphabets = [name.partition("/")[0] for name in self.names]
        kin = np.tile(np.arange(len(characters)), len(turns))
        place = {name: number for number, name in enumerate(dict.fromkeys(self.alphabets))}
        turn_of = np.repeat(turns, len(characters))
        families = np.array([place[name] for name in self.alphabets]) * len(turns) + turn_of
        # A turned alphabet is a family of its own, and so holds no character twice.
        super().__init__(
            examples,
            kin=None if within_alphabet else kin,
            families=families if within_alphabet else None,
            within_family=within_alphabet,
            shared_examples=distinct_drawers,
        )


def found(folder: str | Path | None = None) -> bool:
    """Whether files of both archives' names are in one of the usual places; what is in them is not looked at."""
    try:
        find_archives(folder)
    except OmniglotError:
        return False
    return True


def describe(folder: str | Path | None = None) -> str:
    """What there is, in a few lines, after reading all of it (which fills the cache).

    Raises:
        OmniglotError: the archives are missing, damaged or not the published ones.
    """
    drawings = load_drawings(folder)
    alphabets = {name.partition("/")[0] for name in drawings.names}
    lines = [
        f"Omniglot: {len(drawings.names)} characters of {len(alphabets)} alphabets, "
        f"{drawings.pictures.shape[1]} drawings of each (Lake et al. 2015; MIT licence)"
    ]
    for archive, path in zip(ARCHIVES, find_archives(folder), strict=True):
        lines.append(f"{path}: the {archive.variant(checksums(path))} archive")
    for scheme in SCHEMES:
        counts = ", ".join(f"{len(split_characters(scheme, split))} {split}" for split in SPLITS)
        lines.append(f"{scheme} split: {counts}; alphabets in two: {', '.join(shared_alphabets(scheme)) or 'none'}")
    if isinstance(drawings.pictures, np.memmap):
        lines.append(f"kept at 28 by 28 in {drawings.pictures.filename}")
    return "\n".join(lines)

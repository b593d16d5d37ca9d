"""Omniglot as a source of episodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarl.data.omniglot.archives import check_published, find_archives
from metarl.data.omniglot.characters import SCHEMES, Scheme, shared_alphabets, split_characters
from metarl.data.omniglot.drawings import cached, load_drawings
from metarl.data.pool import Pool, Within
from metarl.types import SPLITS, Split


class Omniglot(Pool):
    """Drawings ``[size, size]`` of one split, bytes from 0 (paper) to 255 (ink).

    ``alphabets`` has the alphabet of each class, and ``names`` its name: ``ALPHABET/characterNN``, followed by
    ``/rot090`` and so on if it is rotated.

    Args:
        split: train, validation or test; no character, and so no rotation or drawing, is in two of them.
        size: pixels along an image; usually 28, in Santoro et al. 2016 20.
        scheme: ``standard`` (1028, 172 and 423 characters; Vinyals et al. 2016), ``lake`` (25, 5 and 20 alphabets), or
            one of its two minimal sets of 5 alphabets to train on; see :func:`split_characters`.
        rotations: make four classes of each character by rotating it by 0, 90, 180 and 270 degrees; no two of these are
            ever in one episode.
        folder: the first place to look for the archives, before ``METARL_DATA`` and the user's cache.
        within: ``one``: all classes of an episode come from one alphabet; ``few``: alphabets in turn give all their
            characters, until there are enough; ``any``: whatever they are. An alphabet is in one rotation.
        distinct_drawers: the support and the queries of an episode are by different people.

    Raises:
        OmniglotError: the archives are missing, damaged or not the published ones.
        ConfigError: there is no such split or scheme.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: int = 28,
        scheme: Scheme = "standard",
        rotations: bool = False,
        folder: str | Path | None = None,
        within: Within = "any",
        distinct_drawers: bool = False,
    ) -> None:
        characters = split_characters(scheme, split)
        drawings = load_drawings(folder, size)
        row = {name: number for number, name in enumerate(drawings.names)}
        upright = drawings.images[[row[name] for name in characters]]
        rotated = range(4 if rotations else 1)
        examples = np.concatenate([np.rot90(upright, quarter, (2, 3)) for quarter in rotated])
        examples.flags.writeable = False
        self.split, self.size = split, size
        names = [f"{name}/rot{90 * turns:03d}" if turns else name for turns in rotated for name in characters]
        self.alphabets = [name.partition("/")[0] for name in names]
        character = np.tile(np.arange(len(characters)), len(rotated))
        number = {name: number for number, name in enumerate(dict.fromkeys(self.alphabets))}
        # each rotation of an alphabet is a superclass, which has no character twice
        superclass = np.array([number[name] for name in self.alphabets]) * len(rotated)
        superclass += np.repeat(rotated, len(characters))
        super().__init__(
            examples,
            names=names,
            exclusive_group=character,
            superclass=superclass,
            within=within,
            shared_examples=distinct_drawers,
        )

    def _described(self) -> dict[str, object]:
        return {"split": self.split} | super()._described() | {"size": self.size}


def describe(folder: str | Path | None = None) -> str:
    """A few lines about the data that was found; reads all of it, which fills the cache.

    Args:
        folder: the first place to look for the archives.

    Raises:
        OmniglotError: the archives are missing, damaged or not the published ones.
    """
    drawings = load_drawings(folder)
    alphabets = {name.partition("/")[0] for name in drawings.names}
    lines = [
        f"Omniglot: {len(drawings.names)} characters of {len(alphabets)} alphabets, "
        f"{drawings.images.shape[1]} drawings of each (Lake et al. 2015; MIT licence)"
    ]
    paths = find_archives(folder)
    lines += [f"{path}: the {variant} archive" for path, variant in zip(paths, check_published(paths), strict=True)]
    for scheme in SCHEMES:
        counts = ", ".join(f"{len(split_characters(scheme, split))} {split}" for split in SPLITS)
        lines.append(f"{scheme} split: {counts}; alphabets in two: {', '.join(shared_alphabets(scheme)) or 'none'}")
    if cached(28).is_file():
        lines.append(f"kept at 28 by 28 in {cached(28)}")
    return "\n".join(lines)

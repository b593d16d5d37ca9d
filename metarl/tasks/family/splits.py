"""Finite families: which of their members are for training, which for validation, and which for testing.

No generator decides it, so that every process, whatever its seeds, splits a family in the same way.
"""

from __future__ import annotations

import numpy as np

from metarl.types import Ints, Split

BLOCK = 10
_PLACES: dict[Split, tuple[int, int]] = {"train": (0, 8), "validation": (8, 1), "test": (9, 1)}
"""The first place of a split in a block of ten members, and its number of members there."""
FEWEST = 20  # families of fewer members are not split


def count(total: int, split: Split) -> int:
    """The number of ``total`` members that belong to ``split``: 80, 10 and 10 %; a remainder is trained on."""
    return total // BLOCK * _PLACES[split][1] + (total % BLOCK if split == "train" else 0)


def members(index: Ints, total: int, split: Split) -> Ints:
    """Some members of a split.

    Of each ten neighbours eight, one and one belong to the splits, in an order that is a fixed permutation, so that
    every split covers the whole range; nothing is kept in memory, whatever the total.

    Args:
        index: their numbers within the split, from 0 to :func:`count`, ``[n]``.
        total: members of all splits.
        split: which one.

    Returns:
        Their numbers among all members, ``[n]``.
    """
    first, width = _PLACES[split]
    blocks = total // BLOCK
    block, place = np.divmod(np.asarray(index, np.int64), width)
    turned = (first + place + _scramble(block) % BLOCK) % BLOCK
    return np.where(block < blocks, BLOCK * block + turned, index + (BLOCK - width) * blocks)


def _scramble(x: Ints) -> Ints:
    """A fixed number below 2^63 for each of ``x`` ``[n]`` (the finaliser of SplitMix64, Steele et al. 2014)."""
    z = np.atleast_1d(x).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)

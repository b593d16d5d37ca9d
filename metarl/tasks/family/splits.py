"""Finite families: which of their members are for training, which for validation, and which for testing.

No generator decides it, so that every process, whatever its seeds, splits a family in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from metarl.config import InputError
from metarl.tasks.family.ranges import Finite
from metarl.types import Array, Floats, Ints, Split

BLOCK = 10
_PLACES: dict[Split, int] = {"validation": 8, "test": 9}
"""The place of a split in a block of ten members; all others are trained on."""
HELD: tuple[Split, ...] = ("validation", "test")
FEWEST = 20  # families of fewer members are not split
MOST_WEIGHED = 4_000_000  # members whose weights are kept in memory


def places(split: Split, hold_out: Collection[Split]) -> Ints:
    """The places of a split in a block of ten; a split that is not in ``hold_out`` has those of training."""
    if split in hold_out:
        return np.array([_PLACES[split]])
    return np.array([place for place in range(BLOCK) if place not in [_PLACES[held] for held in hold_out]])


def count(total: int, split: Split, hold_out: Collection[Split] = HELD) -> int:
    """How many members belong to a split: 80, 10 and 10 % by default; a remainder is trained on.

    Args:
        total: members of all splits.
        split: which one.
        hold_out: the splits that members are held out for.
    """
    return total // BLOCK * len(places(split, hold_out)) + (total % BLOCK if split not in hold_out else 0)


def members(index: Ints, total: int, split: Split, hold_out: Collection[Split] = HELD) -> Ints:
    """Some members of a split.

    Ten neighbours are parted among the splits, in an order that is a fixed permutation, so that every split covers the
    whole range; nothing is kept in memory, whatever the total.

    Args:
        index: their numbers within the split, from 0 to :func:`count`, ``[n]``.
        total: members of all splits.
        split: which one.
        hold_out: the splits that members are held out for.

    Returns:
        Their numbers among all members, ``[n]``.
    """
    if not hold_out:
        return index
    own, blocks = places(split, hold_out), total // BLOCK
    block, place = np.divmod(np.asarray(index, np.int64), len(own))
    turned = (own[place] + _scramble(block) % BLOCK) % BLOCK
    return np.where(block < blocks, BLOCK * block + turned, index + (BLOCK - len(own)) * blocks)


def belongs(member: int, total: int, split: Split, hold_out: Collection[Split] = HELD) -> bool:
    """Whether a split has a member.

    Args:
        member: its number among all members.
        total: members of all splits.
        split: which one.
        hold_out: the splits that members are held out for.
    """
    block, turned = divmod(member, BLOCK)
    if block == total // BLOCK:  # the remainder
        return split not in hold_out
    return bool((turned - int(_scramble(np.array(block))[0])) % BLOCK in places(split, hold_out))


def _scramble(x: Ints) -> Ints:
    """A fixed number below 2^63 for each of ``x`` ``[n]`` (the finaliser of SplitMix64, Steele et al. 2014)."""
    z = np.atleast_1d(x).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


class Members:
    """The combinations of the values of finite parts; each split has some of them, or all.

    Args:
        parts: the finite ranges by name; the last varies fastest.
        hold_out: the splits that members are held out for, if there are enough.
        weights: for some parts a weight for each value; members are drawn with probabilities proportional to products.

    Raises:
        InputError: too many combinations, or weights that are none.
    """

    def __init__(
        self, parts: Mapping[str, Finite], hold_out: Collection[Split], weights: Mapping[str, Sequence[float]]
    ) -> None:
        self.parts = dict(parts)
        self.sizes = [part.size for part in parts.values()]
        self.total = math.prod(self.sizes)
        self.held = tuple(hold_out) if self.total >= FEWEST else ()
        self._chances: dict[Split, Floats] = {}
        if self.total > 2**62:
            problem = f"the integers and choices have {self.total:.1e} combinations; narrow them to 2^62"
            raise InputError(problem, key="vary", given=self.total)
        self.weights: dict[str, tuple[float, ...]] = {}
        for name, given in weights.items():
            if name not in parts:
                expected = f"names of {sorted(parts)}, whose values can be counted"
                raise InputError(key="weights", given=name, expected=expected)
            try:
                each = tuple(map(float, given))
            except (TypeError, ValueError):
                each = ()
            if len(each) != parts[name].size or not all(0 <= one < math.inf for one in each):
                expected = f"{parts[name].size} finite numbers of at least 0, one for each value"
                raise InputError(key=f"weights.{name}", given=given, expected=expected)
            self.weights[name] = each

    def count(self, split: Split) -> int:
        """How many members a split has."""
        return count(self.total, split, self.held)

    def draw(self, rng: np.random.Generator, n: int, split: Split) -> dict[str, Array]:
        """``n`` members of a split, arrays ``[n]`` by name.

        Args:
            rng: decides them.
            n: how many.
            split: which one.
        """
        if self.weights:
            index: Ints = np.searchsorted(self.chances(split), rng.random(n), side="right")
        else:
            index = rng.integers(self.count(split), size=n)
        return self.at(index, split)

    def at(self, index: Ints, split: Split) -> dict[str, Array]:
        """The members of a split with the numbers ``index`` ``[n]`` within it."""
        chosen = np.unravel_index(members(index, self.total, split, self.held), self.sizes) if self.parts else ()
        return {name: part.at(which) for (name, part), which in zip(self.parts.items(), chosen, strict=True)}

    def has(self, values: Mapping[str, Any], split: Split) -> bool:
        """Whether one member of a split gives an environment these values."""
        found = [part.find(values[name]) for name, part in self.parts.items()]
        if any(index is None for index in found):
            return False
        return belongs(int(np.ravel_multi_index(found, self.sizes)), self.total, split, self.held)  # type: ignore[arg-type]  # no None: each was found

    def chances(self, split: Split) -> Floats:
        """The cumulated probabilities of the members of a split, in the order of their numbers within it.

        Raises:
            InputError: all have the weight 0, or there are too many members.
        """
        if split not in self._chances:
            own = self.count(split)
            if own > MOST_WEIGHED:
                raise InputError(key="weights", given=self.total, expected=f"at most {MOST_WEIGHED:,} combinations")
            chosen = np.unravel_index(members(np.arange(own), self.total, split, self.held), self.sizes)
            weight = np.ones(own)
            for name, which in zip(self.parts, chosen, strict=True):
                if name in self.weights:
                    given = np.asarray(self.weights[name], float)
                    weight *= (given / (given.max() or 1))[which]
            if not weight.any():
                raise InputError(f"all {split} tasks have the weight 0", key="weights", given=self.weights)
            summed = weight.cumsum()
            self._chances[split] = summed / summed[-1]
        return self._chances[split]

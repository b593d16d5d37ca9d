"""Classes that are kept in memory, and how episodes are drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache

import numpy as np

from metarl.config import InputError
from metarl.data.glyphs import GlyphOptions, glyph_pool
from metarl.data.sources import FewShotSource, at_least_one, distinct
from metarl.types import Array, Bytes, Ints, Split


class Pool(FewShotSource):
    """Classes from an array ``[C, M, ...]``, ``M`` examples of each. Bytes stay bytes, other numbers become float32.

    Classes are drawn without replacement, all equally likely. With groups or superclasses, these are drawn first, all
    equally likely whatever their size, and then one member of each.

    Args:
        examples: ``[C, M, ...]``
        exclusive_group: ``[C]`` whole numbers; two classes of one group are never in the same episode.
        superclass: ``[C]`` whole numbers; all classes of an exclusive group have the same one.
        within_superclass: draw all classes of an episode from one superclass; those with too few groups are left out.
        shared_examples: all classes of an episode show the examples with the same numbers, in the same order. If the
            numbers stand for drawers, support and queries are then by different people.

    Raises:
        InputError: there are no examples, or the groups or superclasses are not one number for each class, or not
            nested.
    """

    classes: int
    per_class: int

    def __init__(
        self,
        examples: Array,
        *,
        exclusive_group: Ints | None = None,
        superclass: Ints | None = None,
        within_superclass: bool = False,
        shared_examples: bool = False,
    ) -> None:
        if examples.ndim < 2 or examples.size == 0:
            expected = "[classes, examples of each, ...], none of them 0"
            raise InputError(key="examples.shape", given=examples.shape, expected=expected)
        self.examples = examples if examples.dtype == np.uint8 else examples.astype(np.float32, copy=False)
        self.classes, self.per_class = examples.shape[:2]
        self.shape = examples.shape[2:]
        self.shared_examples = shared_examples
        self._flat = np.asarray(self.examples).reshape(-1, *self.shape)
        group = np.arange(self.classes) if exclusive_group is None else exclusive_group
        self._groups = _Groups(_one_each(group, self.classes, "exclusive_group"))
        self._superclasses: _Groups | None = None
        if superclass is not None:
            number = _one_each(superclass, self.classes, "superclass")
            of_group = number[self._groups.members[self._groups.first]]
            if (number != of_group[self._groups.group]).any():
                problem = "classes of one exclusive_group differ in superclass"
                raise InputError(problem, key="superclass", expected="the same for all of them")
            self._superclasses = _Groups(of_group) if within_superclass else None
        elif within_superclass:
            raise InputError(key="superclass", expected="a number for each class, as within_superclass is True")

    def check(self, ways: int, count: int, key: str) -> None:
        """See :meth:`FewShotSource.check`; exclusive groups count, within a superclass those of the largest one."""
        super().check(ways, count, key)
        groups = len(self._groups.size)
        self._at_most(ways, groups, "ways", "exclusive groups")
        if self._superclasses is not None:
            what = "classes" if groups == self.classes else "exclusive groups"
            self._at_most(ways, self._superclasses.size.max(), "ways", f"{what} in the largest superclass")

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Array:
        """See :meth:`FewShotSource.draw`."""
        rows = (n, 1) if self.shared_examples else (n, ways)
        chosen = self._choose(rng, n, ways)
        example = distinct(rng, rows[0] * rows[1], self.per_class, count).reshape(*rows, count)
        return self._flat.take(chosen[..., None] * self.per_class + example, axis=0)

    def joined(self, other: Pool) -> Pool:
        """The classes of two pools of the same kind, with as many examples each as the smaller pool has.

        No exclusive group or superclass has members of both.

        Raises:
            InputError: their examples have different shapes.
        """
        if self.shape != other.shape:
            raise InputError(key="other.shape", given=other.shape, expected=f"{self.shape}, as in this pool")
        least = min(self.per_class, other.per_class)

        def numbers(groups: Sequence[Ints]) -> Ints:
            return np.concatenate([groups[0], groups[1] + groups[0].max() + 1])

        pools = (self, other)
        superclasses = [pool._superclasses.group[pool._groups.group] for pool in pools if pool._superclasses]
        return Pool(
            np.concatenate([self.examples[:, :least], other.examples[:, :least]]),
            exclusive_group=numbers([self._groups.group, other._groups.group]),
            superclass=numbers(superclasses) if superclasses else None,
            within_superclass=bool(superclasses),
            shared_examples=self.shared_examples,
        )

    def replaced(self, examples: Array) -> Pool:
        """The same classes with other examples; the same random numbers draw the same examples.

        Args:
            examples: ``[C * M, ...]`` in the same order.

        Raises:
            InputError: another number of examples.
        """
        if len(examples) != len(self._flat):
            raise InputError(key="len(examples)", given=len(examples), expected=f"{len(self._flat)}, as in this pool")
        other = copy(self)
        other.shape, other._flat = examples.shape[1:], examples
        other.examples = examples.reshape(*self.examples.shape[:2], *other.shape)
        return other

    def _choose(self, rng: np.random.Generator, n: int, ways: int) -> Ints:
        """The classes of ``n`` episodes ``[n, ways]``."""
        if self._superclasses is None:
            group = distinct(rng, n, len(self._groups.size), ways)
        else:
            fitting = np.flatnonzero(self._superclasses.size >= ways)
            superclass = fitting[rng.integers(len(fitting), size=n)]
            size = self._superclasses.size[superclass]
            # positions beyond the size of a superclass come last
            keys = np.where(np.arange(size.max()) < size[:, None], rng.random((n, size.max())), 1)
            group = self._superclasses.member(superclass[:, None], keys.argsort(-1)[:, :ways])
        if len(self._groups.size) == self.classes:
            return self._groups.member(group, 0)
        return self._groups.member(group, rng.integers(self._groups.size[group]))


class Glyphs(Pool):
    """Drawn glyphs ``[28, 28]``, bytes from 0 (paper) to 255 (ink).

    The images are drawn once in a process and then kept.

    Args:
        split: train, validation or test; no class is in two of them.
        classes: number of classes of the split.
        per_class: drawings of each class.
        seed: of the random numbers.
        options: how glyphs look.

    Raises:
        InputError: no classes or drawings.
        ValueError: there is no such split.
    """

    def __init__(
        self,
        split: Split,
        classes: int = 200,
        per_class: int = 20,
        *,
        seed: int = 0,
        options: GlyphOptions | None = None,
    ) -> None:
        at_least_one(classes=classes, per_class=per_class)
        self.split = split
        super().__init__(_kept_pool(split, classes, per_class, seed, options or GlyphOptions()))

    def _described(self) -> dict[str, object]:
        return {"split": self.split} | super()._described()


@lru_cache(maxsize=8)
def _kept_pool(split: Split, classes: int, per_class: int, seed: int, options: GlyphOptions) -> Bytes:
    pool = glyph_pool(split, classes, per_class, seed, options)
    pool.flags.writeable = False
    return pool


class _Groups:
    """The partition of ``0`` to ``C - 1`` into groups by a number for each, ``[C]``."""

    def __init__(self, number: Ints) -> None:
        _, self.group = np.unique(number, return_inverse=True)
        self.size = np.bincount(self.group)
        self.first = self.size.cumsum() - self.size
        self.members = self.group.argsort(kind="stable")

    def member(self, group: Ints, position: Ints | int) -> Ints:
        """The member at a position (from 0) of a group."""
        return self.members[self.first[group] + position]


def _one_each(number: Ints, classes: int, name: str) -> Ints:
    number = np.asarray(number)
    if number.shape != (classes,) or number.dtype.kind not in "iu":
        problem = f"{name} is {number.dtype} of shape {number.shape}"
        raise InputError(problem, key=name, expected=f"whole numbers ({classes},), one for each class")
    return number

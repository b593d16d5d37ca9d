"""Classes that are kept in memory, and how episodes are drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from metarl.config import InputError, choice
from metarl.data.glyphs import GlyphOptions, glyph_pool
from metarl.data.sources import FewShotSource, at_least_one, distinct, distinct_of_each
from metarl.types import Array, Bytes, Ints, Split

Within = Literal["any", "one", "few"]


class Pool(FewShotSource):
    """Classes from an array ``[C, M, ...]``, ``M`` examples of each. Bytes stay bytes, other numbers become float32.

    Classes are drawn without replacement, all equally likely. With groups or superclasses, these are drawn first, all
    equally likely whatever their size, and then one member of each. The examples of a class are drawn from all that it
    has.

    Args:
        examples: ``[C, M, ...]``; with ``counts`` ``[N, ...]``, class after class.
        counts: ``[C]`` the number of examples of each class, ``N`` in all.
        names: of the classes; empty where they have none.
        exclusive_group: ``[C]`` whole numbers; two classes of one group are never in the same episode.
        superclass: ``[C]`` whole numbers. Classes of one exclusive group have the same superclass, or each another one,
            as where an alphabet is a superclass in each of its rotations. Such superclasses are never in one episode.
        within: which superclasses the classes of an episode come from: ``any``, whatever they are; ``one``, where those
            with too few groups are left out; or as ``few`` as have enough: one after the other gives all its groups,
            and only the last is cut.
        shared_examples: all classes of an episode show the examples with the same numbers, in the same order. If the
            numbers stand for drawers, support and queries are then by different people.

    Raises:
        InputError: there are no examples, their counts don't add up, or differ where examples are shared; or the groups
            or superclasses are not one number for each class, or don't fit together.
    """

    classes: int
    per_class: int
    """Examples of the smallest class."""

    def __init__(
        self,
        examples: Array,
        *,
        counts: Ints | Sequence[int] | None = None,
        names: Sequence[str] = (),
        exclusive_group: Ints | None = None,
        superclass: Ints | None = None,
        within: Within = "any",
        shared_examples: bool = False,
    ) -> None:
        choice(within, get_args(Within), "within")
        if examples.ndim < (2 if counts is None else 1) or examples.size == 0:
            expected = "[classes, examples of each, ...], none of them 0"
            raise InputError(key="examples.shape", given=examples.shape, expected=expected)
        kept = examples if examples.dtype == np.uint8 else examples.astype(np.float32, copy=False)
        if counts is None:
            self.counts = np.full(len(kept), kept.shape[1])
            self._equal: Array | None = kept
            self.flat = np.asarray(kept).reshape(-1, *kept.shape[2:])
        else:
            self.counts, self.flat = _counted(counts, len(kept)), np.asarray(kept)
            same = (self.counts == self.counts[0]).all()
            self._equal = self.flat.reshape(len(self.counts), -1, *self.flat.shape[1:]) if same else None
        if shared_examples and self._equal is None:
            raise InputError(key="counts", given="unequal", expected="the same of all classes, with shared_examples")
        self.classes, self.per_class, self.shape = len(self.counts), int(self.counts.min()), self.flat.shape[1:]
        if names and len(names) != self.classes:
            raise InputError(key="len(names)", given=len(names), expected=f"{self.classes}, one for each class")
        self.names, self.shared_examples = list(names), shared_examples
        self._first = self.counts.cumsum() - self.counts
        group = np.arange(self.classes) if exclusive_group is None else exclusive_group
        self._groups = _Groups(_one_each(group, self.classes, "exclusive_group"))
        self._superclasses: _Superclasses | None = None
        if superclass is not None:
            made = _Superclasses(self._groups, _one_each(superclass, self.classes, "superclass"), within)
            self._superclasses = None if within == "any" else made
        elif within != "any":
            raise InputError(key="superclass", expected=f"a number for each class, as within is {within!r}")

    @property
    def examples(self) -> Array:
        """All examples ``[C, M, ...]``.

        Raises:
            InputError: classes have different numbers of them; ``flat`` ``[N, ...]`` has them class after class, and
                ``counts`` says how many are of each.
        """
        if self._equal is None:
            given = f"{self.per_class} to {self.counts.max()}"
            raise InputError(key="counts", given=given, expected="the same of all classes", remedy="take flat")
        return self._equal

    def check(self, ways: int, count: int, key: str) -> None:
        """See :class:`FewShotSource`; exclusive groups count, within a superclass those of the largest one."""
        self._at_most(ways, self.classes, "ways", "classes")
        if count > self.per_class:
            short = len(np.unique(self._groups.group[self.counts < count]))  # a class and its rotations are one
            name = f"the class {self.names[int(self.counts.argmin())]}" if self.names else "a class"
            remedy = "ask for fewer"
            if short < len(self._groups.size):
                how = f"Images(min_images={count}), or --set data.min_images={count}"
                remedy += f", or leave out the {short} of {len(self._groups.size)} classes with fewer ({how})"
            expected = f"at most {self.per_class}, the examples of {name}"
            raise InputError(key=key, given=count, expected=expected, remedy=remedy)
        groups = len(self._groups.size)
        self._at_most(ways, groups, "ways", "exclusive groups")
        if self._superclasses is not None:
            what = "classes" if len(self._superclasses.units.size) == self.classes else "exclusive groups"
            where = "the largest superclass" if self._superclasses.within == "one" else "superclasses that may meet"
            self._at_most(ways, self._superclasses.most, "ways", f"{what} in {where}")

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Array:
        """See :meth:`FewShotSource.draw`."""
        rows = (n, 1) if self.shared_examples else (n, ways)
        chosen = self._choose(rng, n, ways)
        if self._equal is None:
            example = distinct_of_each(rng, self.counts[chosen].ravel(), count)
        else:
            example = distinct(rng, rows[0] * rows[1], self.per_class, count)
        return self.flat.take(self._first[chosen][..., None] + example.reshape(*rows, count), axis=0)

    def joined(self, other: Pool) -> Pool:
        """The classes of two pools of the same kind; shared examples are as many as the smaller pool has.

        No exclusive group or superclass has members of both.

        Raises:
            InputError: their examples have different shapes.
        """
        if self.shape != other.shape:
            raise InputError(key="other.shape", given=other.shape, expected=f"{self.shape}, as in this pool")

        def numbers(groups: Sequence[Ints]) -> Ints:
            return np.concatenate([groups[0], groups[1] + groups[0].max() + 1])

        pools = (self, other)
        least = min(self.per_class, other.per_class)
        flat = [
            pool.examples[:, :least].reshape(-1, *self.shape) if self.shared_examples else pool.flat for pool in pools
        ]
        counts = [np.full(pool.classes, least) if self.shared_examples else pool.counts for pool in pools]
        superclasses = [pool._superclasses.of_class for pool in pools if pool._superclasses]
        return Pool(
            np.concatenate(flat),
            counts=np.concatenate(counts),
            names=[name for pool in pools for name in pool.names] if all(pool.names for pool in pools) else (),
            exclusive_group=numbers([self._groups.group, other._groups.group]),
            superclass=numbers(superclasses) if superclasses else None,
            within=self._superclasses.within if self._superclasses else "any",
            shared_examples=self.shared_examples,
        )

    def replaced(self, examples: Array) -> Pool:
        """The same classes with other examples; the same random numbers draw the same examples.

        Args:
            examples: ``[N, ...]`` in the order of ``flat``.

        Raises:
            InputError: another number of examples.
        """
        if len(examples) != len(self.flat):
            raise InputError(key="len(examples)", given=len(examples), expected=f"{len(self.flat)}, as in this pool")
        other = copy(self)
        other.shape, other.flat = examples.shape[1:], examples
        other._equal = None if self._equal is None else examples.reshape(self.classes, -1, *other.shape)
        return other

    def some(self, rng: np.random.Generator, classes: int, examples: int) -> Pool:
        """Some of the classes with some of their examples, without groups; pure in ``rng``.

        Args:
            rng: draws both.
            classes: at most so many.
            examples: of each class, at most so many.
        """
        chosen = rng.permutation(self.classes)[:classes]
        if self._equal is not None:
            return Pool(self._equal[np.ix_(chosen, rng.permutation(self.per_class)[:examples])])
        each = [self._first[number] + rng.permutation(self.counts[number])[:examples] for number in chosen]
        return Pool(self.flat[np.concatenate(each)], counts=[len(rows) for rows in each])

    def _described(self) -> dict[str, object]:
        most = int(self.counts.max())
        examples = self.per_class if most == self.per_class else f"{self.per_class} to {most}"
        return super()._described() | {"examples": examples}

    def _choose(self, rng: np.random.Generator, n: int, ways: int) -> Ints:
        """The classes of ``n`` episodes ``[n, ways]``."""
        groups = self._groups
        if self._superclasses is not None:
            groups, group = self._superclasses.units, self._superclasses.draw(rng, n, ways)
        else:
            group = distinct(rng, n, len(groups.size), ways)
        if len(groups.size) == self.classes:
            return groups.member(group, 0)
        return groups.member(group, rng.integers(groups.size[group]))


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


class _Superclasses:
    """Superclasses, each with its *units*: the exclusive groups that it has classes of.

    Superclasses that share a group are a *family*, and no two of them may meet.
    """

    def __init__(self, groups: _Groups, number: Ints, within: Within) -> None:
        self.within = within
        _, self.of_class = np.unique(number, return_inverse=True)
        self.units = _Groups(self.of_class * len(groups.size) + groups.group)
        first = self.units.members[self.units.first]  # a class of each unit
        self.superclasses = _Groups(self.of_class[first])
        if not ((self.units.size == 1) | (self.units.size == groups.size[groups.group[first]])).all():
            problem = "classes of one exclusive_group differ in superclass, and some of them do not"
            raise InputError(problem, key="superclass", expected="the same for all of them, or another for each")
        of_group = self.of_class[groups.members[groups.first]][groups.group]  # of each class: where its group begins
        family = of_group[first[self.superclasses.member(np.arange(len(self.superclasses.size)), 0)]]
        if (family[self.of_class] != of_group).any():
            problem = "two superclasses have some exclusive groups in common, and others not"
            raise InputError(problem, key="superclass", expected="all in common, or none")
        self.family = np.unique(family, return_inverse=True)[1]
        self.families = _Groups(self.family)

    @property
    def most(self) -> int:
        """Units that an episode can have."""
        size = self.superclasses.size
        if self.within == "one":
            return int(size.max())
        return int(np.minimum.reduceat(size[self.families.members], self.families.first).sum())

    def draw(self, rng: np.random.Generator, n: int, ways: int) -> Ints:
        """Different units ``[n, ways]`` that may meet, in random order."""
        if self.within == "one":
            size = self.superclasses.size
            fitting = np.flatnonzero(size >= ways)
            superclass = fitting[rng.integers(len(fitting), size=n)]
            # positions beyond the size of a superclass come last
            keys = np.where(np.arange(size.max()) < size[superclass][:, None], rng.random((n, size.max())), 1)
            return self.superclasses.member(superclass[:, None], keys.argsort(-1)[:, :ways])
        families = len(self.families.size)
        turn = rng.random((n, families)).argsort(-1)  # of a family, from 0
        chosen = self.families.member(np.arange(families), rng.integers(self.families.size, size=(n, families)))
        picked = np.zeros((n, len(self.family)), bool)
        np.put_along_axis(picked, chosen, True, 1)
        place = np.where(picked, turn[:, self.family], families)[:, self.superclasses.group]
        first = (place + rng.random(place.shape)).argsort(-1)[:, :ways]
        return np.take_along_axis(first, rng.random((n, ways)).argsort(-1), 1)


def _counted(counts: Ints | Sequence[int], total: int) -> Ints:
    """The number of examples of each class, ``total`` in all."""
    numbers = np.asarray(counts)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.min(initial=1) < 1 or numbers.sum() != total:
        expected = f"[classes] whole numbers of at least 1, {total} in all, as there are examples"
        raise InputError(key="counts", given=counts, expected=expected)
    return numbers


def _one_each(number: Ints, classes: int, name: str) -> Ints:
    number = np.asarray(number)
    if number.shape != (classes,) or number.dtype.kind not in "iu":
        problem = f"{name} is {number.dtype} of shape {number.shape}"
        raise InputError(problem, key=name, expected=f"whole numbers ({classes},), one for each class")
    return number

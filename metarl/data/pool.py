"""Classes that are kept in memory as a whole, and how episodes choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache

import numpy as np

from metarl.data.fewshot import FewShotSource, distinct
from metarl.data.glyphs import GlyphOptions, Pictures, glyph_pool
from metarl.types import Array, Ints, Split


class Pool(FewShotSource):
    """Classes from an array ``[C, M, ...]``, ``M`` examples of each. Bytes stay bytes, other numbers become float32.

    Classes are drawn without replacement, each as probable as any other; where there are kins or families, first those
    are drawn, each as probable whatever its size, and then what belongs to them.

    Args:
        examples: ``[C, M, ...]``
        kin: ``[C]`` whole numbers; two classes of one kin are never in one episode.
        families: ``[C]`` whole numbers; classes of one kin are of one family.
        within_family: all classes of an episode are of one family; families with too few kins are left out.
        shared_examples: the classes of an episode show examples of the same numbers in the same order, so that where a
            number is a drawer, no drawer of the support draws a query.

    Raises:
        ValueError: no examples, kins or families that are not one number for each class, or do not nest.
    """

    def __init__(
        self,
        examples: Array,
        *,
        kin: Ints | None = None,
        families: Ints | None = None,
        within_family: bool = False,
        shared_examples: bool = False,
    ) -> None:
        if examples.ndim < 2 or examples.size == 0:
            raise ValueError(f"the examples are an array {examples.shape}, expected [classes, examples of each, ...]")
        self.examples = examples if examples.dtype == np.uint8 else examples.astype(np.float32, copy=False)
        self.dtype = self.examples.dtype
        self.classes, self.per_class, *shape = examples.shape
        self.shape = tuple(shape)
        self.shared_examples = shared_examples
        self._flat = np.asarray(self.examples).reshape(-1, *shape)
        self._kins = _Groups(np.arange(self.classes) if kin is None else _one_each(kin, self.classes, "kin"))
        self._families: _Groups | None = None
        family = None if families is None else _one_each(families, self.classes, "families")
        if family is not None and (family != family[self._kins.members[self._kins.first]][self._kins.group]).any():
            raise ValueError("classes of one kin are of several families; expected families to be made of whole kins")
        if within_family:
            if family is None:
                raise ValueError("within_family=True without families; give families, a number for each class")
            self._families = _Groups(family[self._kins.members[self._kins.first]])

    def check(self, ways: int, count: int, asked: str) -> None:
        """See :meth:`FewShotSource.check`; what counts is kins, and within a family those of the largest."""
        super().check(ways, count, asked)
        kins = len(self._kins.size)
        if ways > kins:
            raise self._too_many(ways, f"{self.classes} classes of only {kins} kins, of each one in an episode")
        if self._families is not None and ways > self._families.size.max():
            what = "classes" if kins == self.classes else "kins of classes"
            raise self._too_many(ways, f"{self._families.size.max()} {what} in its largest family")

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Array:
        """See :meth:`FewShotSource.draw`."""
        rows = (n, 1) if self.shared_examples else (n, ways)
        chosen = self._choose(rng, n, ways)
        example = distinct(rng, rows[0] * rows[1], self._per_class, count).reshape(*rows, count)
        return self._flat.take(chosen[..., None] * self._per_class + example, axis=0)

    def joined(self, other: Pool) -> Pool:
        """These classes and those of another pool of the same kind, of each as many examples as the smaller one has.

        No kin or family has members of both.

        Raises:
            ValueError: their examples are of different shapes.
        """
        if self.shape != other.shape:
            raise ValueError(f"examples {self.shape} and {other.shape} do not join; make both pools of one size")
        least = min(self._per_class, other._per_class)

        def numbers(groups: Sequence[Ints]) -> Ints:
            return np.concatenate([groups[0], groups[1] + groups[0].max() + 1])

        families = [pool._families.group[pool._kins.group] for pool in (self, other) if pool._families is not None]
        return Pool(
            np.concatenate([self.examples[:, :least], other.examples[:, :least]]),
            kin=numbers([self._kins.group, other._kins.group]),
            families=numbers(families) if families else None,
            within_family=bool(families),
            shared_examples=self.shared_examples,
        )

    def replaced(self, examples: Array) -> Pool:
        """The same classes with other examples in the same order, ``[C * M, ...]``; the same numbers draw the same.

        Raises:
            ValueError: not as many.
        """
        if len(examples) != len(self._flat):
            raise ValueError(f"{len(examples)} examples were given for a pool of {len(self._flat)}; give as many")
        other = copy(self)
        other.dtype, other.shape, other._flat = examples.dtype, examples.shape[1:], examples
        other.examples = examples.reshape(*self.examples.shape[:2], *other.shape)
        return other

    @property
    def _per_class(self) -> int:
        return self.examples.shape[1]

    def _choose(self, rng: np.random.Generator, n: int, ways: int) -> Ints:
        """The classes of ``n`` episodes ``[n, ways]``."""
        if self._families is None:
            kin = distinct(rng, n, len(self._kins.size), ways)
        else:
            fitting = np.flatnonzero(self._families.size >= ways)
            family = fitting[rng.integers(len(fitting), size=n)]
            size = self._families.size[family]
            # Numbers beyond a family's size come last.
            keys = np.where(np.arange(size.max()) < size[:, None], rng.random((n, size.max())), 1)
            kin = self._families.member(family[:, None], keys.argsort(-1)[:, :ways])
        if len(self._kins.size) == self.classes:
            return self._kins.member(kin, 0)
        return self._kins.member(kin, rng.integers(self._kins.size[kin]))


class Glyphs(Pool):
    """Drawn glyphs ``[28, 28]``, bytes from 0 (paper) to 255 (ink); ``classes`` in each split and none in two.

    The pictures are drawn once in a process and kept.
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
        if classes < 1 or per_class < 1:
            raise ValueError(f"glyphs with classes={classes} and per_class={per_class}; expected 1 or more of each")
        super().__init__(_kept_pool(split, classes, per_class, seed, options or GlyphOptions()))


@lru_cache(maxsize=8)
def _kept_pool(split: Split, classes: int, per_class: int, seed: int, options: GlyphOptions) -> Pictures:
    pool = glyph_pool(split, classes, per_class, seed, options)
    pool.flags.writeable = False
    return pool


class _Groups:
    """Members ``0..C - 1`` parted into groups by numbers ``[C]``."""

    def __init__(self, number: Ints) -> None:
        _, self.group = np.unique(number, return_inverse=True)
        self.size = np.bincount(self.group)
        self.first = self.size.cumsum() - self.size
        self.members = self.group.argsort(kind="stable")

    def member(self, group: Ints, place: Ints | int) -> Ints:
        """Who stands at a place from 0 of a group."""
        return self.members[self.first[group] + place]


def _one_each(number: Ints, classes: int, name: str) -> Ints:
    number = np.asarray(number)
    if number.shape != (classes,) or number.dtype.kind not in "iu":
        raise ValueError(f"{name} is {number.dtype} of shape {number.shape}, expected whole numbers ({classes},)")
    return number

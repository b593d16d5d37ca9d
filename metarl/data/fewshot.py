"""Few-shot episodes: a few labelled examples of classes never met before, and queries to classify with them.

Pictures stay bytes from here to the net: 0 is paper, 255 is ink.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np

from metarl.data.glyphs import GlyphOptions, Pictures, glyph_pool
from metarl.types import Array, Floats, Ints, Split

Labels = Literal["one_hot", "letters"]
LETTERS = 5
"""Letters of a label of letters, and how many letters there are."""


class Episodes(NamedTuple):
    """``B`` episodes of ``ways`` classes each: ``S = ways * shots`` support and ``Q = ways * queries`` query examples.

    Labels are given to classes at random in every episode, and support and queries are shuffled apart from each other.
    """

    support_x: Array
    """``[B, S, ...]`` uint8 or float32"""
    support_y: Ints
    """``[B, S]`` labels from 0 to ``ways - 1``"""
    query_x: Array
    """``[B, Q, ...]`` as ``support_x``"""
    query_y: Ints
    """``[B, Q]``"""


class Streams(NamedTuple):
    """``B`` streams of ``T = ways * per_class`` examples in random order (Santoro et al. 2016, section 2.1).

    Labels belong to the examples of their own step; who shows them to a learner shows them one step late.
    """

    x: Array
    """``[B, T, ...]`` uint8 or float32"""
    y: Ints
    """``[B, T, L]`` the digits of each label: one, from 0 to ``ways - 1``, or five from 0 to 4, one for each letter."""


class FewShotSource(ABC):
    """Where episodes and streams come from."""

    shape: tuple[int, ...]
    """Of one example."""
    classes: int | None = None
    """How many classes there are; None: no end of them."""
    per_class: int | None = None
    """How many examples a class has; None: no end of them."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Array:
        """``count`` different examples of each of ``ways`` different classes in random order.

        Returns ``[n, ways, count, *shape]`` uint8 or float32; pure in ``rng``.
        """

    def sample(self, rng: np.random.Generator, n: int, ways: int, shots: int, queries: int) -> Episodes:
        """Draw ``n`` episodes with ``shots`` support and ``queries`` query examples of each class; pure in ``rng``.

        Raises:
            ValueError: more classes or examples than there are, or fewer than one.
        """
        _at_least_one(n=n, ways=ways, shots=shots, queries=queries)
        self.check(ways, shots + queries, f"{shots} shots and {queries} queries")
        x = self.draw(rng, n, ways, shots + queries)
        support, support_y = _shuffled(rng, x, 0, shots)
        query, query_y = _shuffled(rng, x, shots, shots + queries)
        return Episodes(support, support_y, query, query_y)

    def sample_streams(
        self, rng: np.random.Generator, n: int, ways: int, per_class: int, labels: Labels = "one_hot"
    ) -> Streams:
        """Draw ``n`` streams with ``per_class`` examples of each class; pure in ``rng``.

        ``letters`` gives each class of a stream another string of five letters out of five, drawn at random (Santoro et
        al. 2016, section 4.2).

        Raises:
            ValueError: more classes, examples or labels than there are, or fewer than one.
        """
        if labels not in get_args(Labels):
            raise ValueError(f"unknown labels {labels!r}; there are {', '.join(get_args(Labels))}")
        _at_least_one(n=n, ways=ways, per_class=per_class)
        self.check(ways, per_class, f"streams of {per_class} examples of each class")
        x, y = _shuffled(rng, self.draw(rng, n, ways, per_class), 0, per_class)
        if labels == "one_hot":
            return Streams(x, y[..., None])
        strings = LETTERS**LETTERS
        if ways > strings:
            raise ValueError(f"{ways} ways were asked with labels of letters, of which there are {strings}")
        label = np.take_along_axis(distinct(rng, n, strings, ways), y, 1)
        return Streams(x, label[..., None] // LETTERS ** np.arange(LETTERS) % LETTERS)

    def check(self, ways: int, count: int, asked: str) -> None:
        """Refuse ``ways`` classes with ``count`` examples each, which ``asked`` puts into words.

        Raises:
            ValueError: there are not as many.
        """
        if self.classes is not None and ways > self.classes:
            raise self._too_many(ways, f"{self.classes} classes")
        if self.per_class is not None and count > self.per_class:
            raise ValueError(
                f"{asked} were asked of {type(self).__name__}, which has "
                f"{self.per_class} examples of a class; ask for fewer, or make a source of more"
            )

    def _too_many(self, ways: int, there_are: str) -> ValueError:
        return ValueError(
            f"{ways} ways were asked of {type(self).__name__}, which has {there_are}; "
            "ask for fewer ways, or make a source of more classes"
        )


class Clusters(FewShotSource):
    """Classes are points drawn from N(0, 1) in ``size`` dimensions, examples these with N(0, ``noise``²) added.

    Every episode has classes of its own, so splits need nothing but generators that never meet.
    """

    def __init__(self, size: int = 16, noise: float = 0.5) -> None:
        if size < 1 or not noise >= 0:
            raise ValueError(f"clusters of size={size} and noise={noise}; expected a size of 1 or more, and noise >= 0")
        self.shape, self.noise = (size,), np.float32(noise)

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Floats:
        """See :meth:`FewShotSource.draw`."""
        centres = rng.standard_normal((n, ways, 1, *self.shape), np.float32)
        return centres + self.noise * rng.standard_normal((n, ways, count, *self.shape), np.float32)


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


def instances(y: Ints) -> Ints:
    """The how-manieth example of its class each step of streams shows, from 1; ``y [B, T, L]`` to ``[B, T]``."""
    label = y @ (y.max() + 1) ** np.arange(y.shape[-1])
    order = label.argsort(1, kind="stable")
    grouped = np.take_along_axis(label, order, 1)
    place = np.broadcast_to(np.arange(label.shape[1]), label.shape)
    begins = np.zeros_like(place)
    begins[:, 1:] = np.where(grouped[:, 1:] != grouped[:, :-1], place[:, 1:], 0)
    out = np.empty_like(place)
    np.put_along_axis(out, order, place - np.maximum.accumulate(begins, 1) + 1, 1)
    return out


def distinct(rng: np.random.Generator, n: int, below: int, count: int) -> Ints:
    """``n`` rows of ``count`` different numbers below ``below`` in random order, every choice as probable; pure."""
    if below <= max(4 * count, 64):
        return rng.random((n, below)).argsort(-1)[:, :count]
    # What has come before in its row is drawn again, by a rule that is the same for all numbers: no choice is favoured.
    drawn, rows = rng.integers(below, size=(n, count)), np.arange(n)
    while len(rows):
        order = drawn[rows].argsort(-1, kind="stable")
        ordered = np.take_along_axis(drawn[rows], order, 1)
        row, place = np.nonzero(ordered[:, 1:] == ordered[:, :-1])
        drawn[rows[row], order[row, place + 1]] = rng.integers(below, size=len(row))
        rows = rows[np.unique(row)]
    return drawn


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


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}, expected 1 or more")


def _shuffled(rng: np.random.Generator, x: Array, first: int, last: int) -> tuple[Array, Ints]:
    """Examples ``first`` to before ``last`` of each class of ``x [n, ways, count, ...]``, each row in its own order.

    Returns ``[n, ways * k, ...]`` and their labels ``[n, ways * k]``, the places of their classes.
    """
    n, ways, count = x.shape[:3]
    k = last - first
    order = rng.random((n, ways * k)).argsort(-1)
    label = order // k
    which = np.arange(n)[:, None] * (ways * count) + label * count + first + order % k
    return x.reshape(-1, *x.shape[3:]).take(which, axis=0), label

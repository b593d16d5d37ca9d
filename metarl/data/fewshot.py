"""Few-shot episodes: a few labelled examples of classes never met before, and queries to classify with them.

Pictures stay bytes from here to the net: 0 is paper, 255 is ink.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple, get_args

import numpy as np

from metarl.types import Array, Floats, Ints

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

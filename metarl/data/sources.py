"""What few-shot episodes and streams are drawn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import get_args

import numpy as np

from metarl.data.episodes import LETTERS, Episodes, Labels, Streams
from metarl.types import Array, Floats, Ints


class FewShotSource(ABC):
    """Where episodes and streams come from."""

    shape: tuple[int, ...]
    """Of one example."""
    classes: int | None = None
    """How many classes there are; None: no limit."""
    per_class: int | None = None
    """How many examples a class has; None: no limit."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Array:
        """Draw classes, and different examples of each; pure in ``rng``.

        Args:
            rng: all randomness comes from it.
            n: episodes.
            ways: different classes of an episode, in random order.
            count: different examples of each class, in random order.

        Returns:
            ``[n, ways, count, *shape]`` uint8 or float32.
        """

    def sample(self, rng: np.random.Generator, n: int, ways: int, shots: int, queries: int) -> Episodes:
        """Draw episodes; pure in ``rng``.

        Args:
            rng: all randomness comes from it.
            n: episodes.
            ways: classes of an episode.
            shots: support examples of each class.
            queries: query examples of each class.

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
        """Draw streams; pure in ``rng``.

        Args:
            rng: all randomness comes from it.
            n: streams.
            ways: classes of a stream.
            per_class: examples of each class.
            labels: ``one_hot`` numbers the classes of a stream; ``letters`` gives each another random string of five
                letters out of five (Santoro et al. 2016, section 4.2).

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
        """Refuse to draw more than there is.

        Args:
            ways: classes of an episode.
            count: examples of each class.
            asked: what the examples are for, in words.

        Raises:
            ValueError: there are not that many classes or examples.
        """
        if self.classes is not None and ways > self.classes:
            raise self._too_many(ways, f"{self.classes} classes")
        if self.per_class is not None and count > self.per_class:
            raise ValueError(
                f"{asked} were asked of {type(self).__name__}, which has "
                f"{self.per_class} examples of a class; ask for fewer, or make a source of more"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._described().items())})"

    def _described(self) -> dict[str, object]:
        """What ``repr`` says of it."""
        return {"classes": self.classes, "examples": self.per_class, "shape": self.shape}

    def _too_many(self, ways: int, there_are: str) -> ValueError:
        return ValueError(
            f"{ways} ways were asked of {type(self).__name__}, which has {there_are}; "
            "ask for fewer ways, or make a source of more classes"
        )


class Clusters(FewShotSource):
    """Classes are points drawn from N(0, 1), and their examples these points with noise added.

    Every episode has classes of its own, so separate random generators are all that separate splits need.

    Args:
        size: dimensions of the points.
        noise: standard deviation of the normal noise.

    Raises:
        ValueError: a size under 1 or negative noise.
    """

    def __init__(self, size: int = 16, noise: float = 0.5) -> None:
        if size < 1 or not noise >= 0:
            raise ValueError(f"clusters of size={size} and noise={noise}; expected a size of 1 or more, and noise >= 0")
        self.shape, self.noise = (size,), np.float32(noise)

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Floats:
        """See :meth:`FewShotSource.draw`."""
        centres = rng.standard_normal((n, ways, 1, *self.shape), np.float32)
        return centres + self.noise * rng.standard_normal((n, ways, count, *self.shape), np.float32)

    def _described(self) -> dict[str, object]:
        return {"size": self.shape[0], "noise": float(self.noise)}


def distinct(rng: np.random.Generator, n: int, below: int, count: int) -> Ints:
    """``n`` rows of ``count`` different numbers below ``below`` in random order; pure in ``rng``.

    All choices are equally likely.
    """
    if below <= max(4 * count, 64):
        return rng.random((n, below)).argsort(-1)[:, :count]
    # Duplicates within a row are drawn again, by a rule that is the same for all numbers, so no choice is favoured.
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
    """Examples ``first`` up to ``last`` (excluded) of each class of ``x [n, ways, count, ...]``, shuffled by row.

    Returns ``[n, ways * k, ...]`` and their labels ``[n, ways * k]``, the indices of their classes.
    """
    n, ways, count = x.shape[:3]
    k = last - first
    order = rng.random((n, ways * k)).argsort(-1)
    label = order // k
    which = np.arange(n)[:, None] * (ways * count) + label * count + first + order % k
    return x.reshape(-1, *x.shape[3:]).take(which, axis=0), label

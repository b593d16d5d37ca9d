"""What few-shot episodes and streams are drawn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import get_args

import numpy as np

from metarl.config import InputError, choice
from metarl.data.episodes import LETTERS, Episodes, Labels, Streams
from metarl.types import Array, Floats, Ints


class FewShotSource(ABC):
    """Where episodes and streams come from."""

    shape: tuple[int, ...]
    """Of one example."""
    classes: int | None = None
    """Number of classes; None: no limit."""
    per_class: int | None = None
    """Examples of each class; None: no limit."""
    shared_examples: bool = False
    """Whether the first examples that are drawn of all classes belong together, so do the second ones, and so on."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Array:
        """Draw classes, and different examples of each; pure in ``rng``.

        Args:
            rng: all randomness comes from it.
            n: number of episodes.
            ways: different classes of an episode, in random order.
            count: different examples of each class, in random order.

        Returns:
            ``[n, ways, count, *shape]`` uint8 or float32.
        """

    def sample(self, rng: np.random.Generator, n: int, ways: int, shots: int, queries: int) -> Episodes:
        """Draw episodes; pure in ``rng``.

        Args:
            rng: all randomness comes from it.
            n: number of episodes.
            ways: classes of an episode.
            shots: support examples of each class.
            queries: query examples of each class.

        Where examples of several classes belong together (``shared_examples``), they have the same place among those of
        their class, in support and queries.

        Raises:
            InputError: more classes or examples than there are, or fewer than one.
        """
        at_least_one(n=n, ways=ways, shots=shots, queries=queries)
        self.check(ways, shots + queries, "shots + queries")
        x = self.draw(rng, n, ways, shots + queries)
        support, support_y = _shuffled(rng, x, 0, shots, self.shared_examples)
        query, query_y = _shuffled(rng, x, shots, shots + queries, self.shared_examples)
        return Episodes(support, support_y, query, query_y)

    def sample_streams(
        self, rng: np.random.Generator, n: int, ways: int, per_class: int, labels: Labels = "one_hot"
    ) -> Streams:
        """Draw streams; pure in ``rng``.

        Args:
            rng: all randomness comes from it.
            n: number of streams.
            ways: classes of a stream.
            per_class: examples of each class.
            labels: ``one_hot`` numbers the classes of a stream; ``letters`` gives each class a different random string
                of five letters out of five (Santoro et al. 2016, section 4.2).

        Raises:
            InputError: more classes, examples or labels than there are, or fewer than one.
        """
        choice(labels, get_args(Labels), "labels")
        at_least_one(n=n, ways=ways, per_class=per_class)
        self.check(ways, per_class, "per_class")
        x, y = _shuffled(rng, self.draw(rng, n, ways, per_class), 0, per_class)
        if labels == "one_hot":
            return Streams(x, y[..., None])
        strings = LETTERS**LETTERS
        if ways > strings:
            raise InputError(key="ways", given=ways, expected=f"at most {strings}, the number of labels of letters")
        label = np.take_along_axis(distinct(rng, n, strings, ways), y, 1)
        return Streams(x, label[..., None] // LETTERS ** np.arange(LETTERS) % LETTERS)

    def check(self, ways: int, count: int, key: str) -> None:
        """Refuse to draw more than there is.

        Args:
            ways: classes of an episode.
            count: examples of each class.
            key: the name of the argument that gave ``count``, for the error.

        Raises:
            InputError: there are not that many classes or examples.
        """
        if self.classes is not None:
            self._at_most(ways, self.classes, "ways", "classes")
        if self.per_class is not None:
            self._at_most(count, self.per_class, key, "examples of a class")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._described().items())})"

    def _described(self) -> dict[str, object]:
        """What ``repr`` shows."""
        return {"classes": self.classes, "examples": self.per_class, "shape": self.shape}

    def _at_most(self, given: int, most: int, key: str, there_are: str) -> None:
        if given > most:
            expected = f"at most {most}, the {there_are} that there are"
            raise InputError(key=key, given=given, expected=expected)


class Clusters(FewShotSource):
    """Classes are points drawn from N(0, 1), and their examples these points with noise added.

    Every episode has new classes, so different random generators suffice for different splits.

    Args:
        size: dimensions of the points.
        noise: standard deviation of the normal noise.

    Raises:
        InputError: a size under 1, or noise that is negative or not a number.
    """

    def __init__(self, size: int = 16, noise: float = 0.5) -> None:
        at_least_one(size=size)
        if not noise >= 0:
            raise InputError(key="noise", given=noise, expected="0 or more")
        self.shape, self.noise = (size,), np.float32(noise)

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Floats:
        """See :meth:`FewShotSource.draw`."""
        centres = rng.standard_normal((n, ways, 1, *self.shape), np.float32)
        return centres + self.noise * rng.standard_normal((n, ways, count, *self.shape), np.float32)

    def _described(self) -> dict[str, object]:
        return {"size": self.shape[0], "noise": float(self.noise)}


def distinct(rng: np.random.Generator, n: int, below: int, count: int) -> Ints:
    """Draw without replacement, all choices equally likely; pure in ``rng``.

    Args:
        rng: all randomness comes from it.
        n: number of rows.
        below: the numbers are 0 up to ``below - 1``.
        count: different numbers in each row, in random order.

    Returns:
        ``[n, count]``
    """
    if below <= max(4 * count, 64):
        return rng.random((n, below)).argsort(-1)[:, :count]
    # Duplicates within a row are drawn again, by the same rule for all numbers, so that no choice is favoured.
    drawn, rows = rng.integers(below, size=(n, count)), np.arange(n)
    while len(rows):
        order = drawn[rows].argsort(-1, kind="stable")
        ordered = np.take_along_axis(drawn[rows], order, 1)
        row, place = np.nonzero(ordered[:, 1:] == ordered[:, :-1])
        drawn[rows[row], order[row, place + 1]] = rng.integers(below, size=len(row))
        rows = rows[np.unique(row)]
    return drawn


def distinct_of_each(rng: np.random.Generator, below: Ints, count: int) -> Ints:
    """As :func:`distinct`, where each row has a bound of its own; pure in ``rng``.

    Args:
        rng: all randomness comes from it.
        below: ``[n]`` the numbers of a row are 0 up to ``below - 1``.
        count: different numbers in each row, in random order.

    Returns:
        ``[n, count]``
    """
    drawn = np.empty((len(below), count), np.int64)
    few = below <= max(4 * count, 64)
    if few.any():
        most = below[few].max()
        keys = np.where(np.arange(most) < below[few, None], rng.random((few.sum(), most)), 1)  # the others come last
        drawn[few] = keys.argsort(-1)[:, :count]
    for bound in np.unique(below[~few]):
        rows = np.flatnonzero(below == bound)
        drawn[rows] = distinct(rng, len(rows), int(bound), count)
    return drawn


def at_least_one(**numbers: int) -> None:
    """Raise :class:`InputError` for a number under 1, given by name."""
    for name, number in numbers.items():
        if number < 1:
            raise InputError(key=name, given=number, expected="1 or more")


def _shuffled(rng: np.random.Generator, x: Array, first: int, last: int, in_turn: bool = False) -> tuple[Array, Ints]:
    """Examples ``first`` up to ``last`` (excluded) of each class of ``x [n, ways, count, ...]``, shuffled by row.

    With ``in_turn``, those of a class keep their order among each other.

    Returns ``[n, ways * k, ...]`` and their labels ``[n, ways * k]``, the indices of their classes.
    """
    n, ways, count = x.shape[:3]
    k = last - first
    order = rng.random((n, ways * k)).argsort(-1)
    label, place = order // k, order % k
    if in_turn:
        np.put_along_axis(place, label.argsort(-1, kind="stable"), np.tile(np.arange(k), (n, ways)), 1)
    which = np.arange(n)[:, None] * (ways * count) + label * count + first + place
    return x.reshape(-1, *x.shape[3:]).take(which, axis=0), label

"""Memory tasks as sequences of symbols: what every one of them shows, and how batches are drawn.

In every task ``now`` shows the key of an item, and ``feedback`` shows the item itself one step later, just as in RL the
outcome of an action comes one step late, and in Santoro et al. 2016 the label. A memory that makes its keys and queries
from the observation alone therefore keeps each item in one slot, and finds it when ``now`` shows the same key again.
The last number of ``feedback`` is 1 at steps that ask for an answer; no key contains it.

Each item is an episode of one step, so that a memory that writes once an episode has one slot for each item too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metarl.config import InputError, check_bounds
from metarl.seeding import numpy_rng, split_key
from metarl.types import Bools, Boundary, Floats, Ints, Split

NONE = -1  # no symbol, no target


class Sizes(NamedTuple):
    """The length of every sequence of a task, the widths of ``now`` and ``feedback``, the number of answers."""

    steps: int
    now: int
    feedback: int
    classes: int


class Sequences(NamedTuple):
    """``B`` sequences of a task.

    Args:
        symbols: ``[T, B]`` the symbol that ``now`` shows.
        shown: ``[T, B]`` the item that ``feedback`` shows, which belongs to the symbol of the step before, or -1.
        now: ``[T, B, D]`` one-hot, float32.
        feedback: ``[T, B, F]`` the item one-hot, followed by the flag of a query, float32; zero at the first step.
        target: ``[T, B]`` the correct answer, -1 at steps that are no query.
        query_mask: ``[T, B]`` the steps that ask for an answer; only these count for loss and accuracy.
        boundary: ``[T, B]`` of :class:`metarl.types.Boundary`: EPISODE where an item is complete.
    """

    symbols: Ints
    shown: Ints
    now: Floats
    feedback: Floats
    target: Ints
    query_mask: Bools
    boundary: Ints


class Draw(NamedTuple):
    """What a task draws, each ``[T, B]``: symbols, the item that belongs to each or -1, the answer to a query or -1."""

    symbols: Ints
    items: Ints
    target: Ints


@dataclass(frozen=True)
class RecallTask(ABC):
    """One of the tasks; its fields are its lengths and alphabets.

    Raises:
        InputError: a length or alphabet that is too small, or that does not fit the others.
    """

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    @abstractmethod
    def sizes(self) -> Sizes:
        """The lengths and widths of a sequence."""

    @property
    def chance(self) -> float:
        """The best accuracy without any memory, from ``now`` and ``feedback`` of the same step alone.

        Where all answers are equally likely and none is shown at its own query, that of a blind guess.
        """
        return 1 / self.sizes.classes

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """Draw the symbols of ``n`` sequences, ``[T, n]``; pure in ``rng``."""

    def sample(self, rng: np.random.Generator, n: int) -> Sequences:
        """Draw ``n`` sequences; pure in ``rng``."""
        symbols, items, target = self.draw(rng, n)
        sizes, query_mask = self.sizes, target != NONE
        shown = np.concatenate([np.full((1, n), NONE), items[:-1]])
        feedback = one_hot(shown, sizes.feedback)
        feedback[..., -1] = query_mask
        boundary = np.where(shown != NONE, Boundary.EPISODE, Boundary.INSIDE)
        boundary[0] = Boundary.TRIAL
        return Sequences(symbols, shown, one_hot(symbols, sizes.now), feedback, target, query_mask, boundary)

    def batches(self, split: Split, size: int, *, total: int | None = None, seed: int = 0) -> Iterator[Sequences]:
        """Batches of fresh sequences; those of different splits come from different random streams.

        Args:
            split: train, validation or test.
            size: sequences of a batch; the last batch may be smaller.
            total: sequences in all; None: without end.
            seed: of the random stream of the split.

        Raises:
            InputError: an empty batch, or there is no such split.
        """
        if size < 1:
            raise InputError(key="size", given=size, expected="1 or more sequences in a batch")
        rng = numpy_rng(seed, "data", split_key(split))
        drawn = 0
        while total is None or drawn < total:
            yield self.sample(rng, size if total is None else min(size, total - drawn))
            drawn += size


def one_hot(index: Ints, size: int) -> npt.NDArray[np.float32]:
    """``index`` ``[...]`` as one-hot vectors ``[..., size]``, float32, with zeros where it is -1."""
    return np.eye(size + 1, size, dtype=np.float32)[index]  # -1 picks the last row, which is all zeros

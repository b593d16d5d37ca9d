"""Memory tasks as sequences of symbols: what every one of them shows, and how batches are drawn.

In every task ``now`` shows what something is found by, and ``feedback`` shows, one step later, what is to be found: as
the outcome of an action comes in RL, and the label of the step before in Santoro et al. 2016. So a memory that makes
keys and queries of the observation alone holds each item in one slot, and finds it when ``now`` is the same again.
The last number of ``feedback`` is 1 where an answer is asked at this very step; no key sees it.

Each item is an episode of one step, so that a memory written once an episode has a slot for each item, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metarl.seeding import numpy_rng, split_key
from metarl.types import Bools, Boundary, Floats, Ints, Split

NONE = -1
"""No symbol, no target."""


class Sizes(NamedTuple):
    """The lengths and widths of a task."""

    steps: int
    """T, the length of every sequence."""
    now: int
    """Width of ``now``."""
    feedback: int
    """Width of ``feedback``."""
    classes: int
    """How many answers there are."""


class Sequences(NamedTuple):
    """``B`` sequences of a task."""

    symbols: Ints
    """``[T, B]`` the symbol that ``now`` shows."""
    shown: Ints
    """``[T, B]`` the symbol that ``feedback`` shows, or -1: what belongs to the symbol of the step before."""
    now: Floats
    """``[T, B, D]`` one-hot, float32."""
    feedback: Floats
    """``[T, B, F]`` one-hot with the flag that an answer is asked at its end, float32; zero at the first step."""
    target: Ints
    """``[T, B]`` the right answer, -1 where none is asked."""
    asked: Bools
    """``[T, B]`` the steps at which loss and accuracy count."""
    begin: Ints
    """``[T, B]`` of :class:`metarl.types.Boundary`: an EPISODE where an item is complete."""


class Draw(NamedTuple):
    """What a task draws, ``[T, B]`` each: symbols, what belongs to them (or -1), and targets (or -1)."""

    symbols: Ints
    items: Ints
    target: Ints


@dataclass(frozen=True)
class RecallTask(ABC):
    """One of the tasks; its fields are its lengths and alphabets."""

    @property
    @abstractmethod
    def sizes(self) -> Sizes:
        """The shapes of a sequence."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """The best accuracy of a reader without any memory: one that sees ``now`` and ``feedback`` of this step."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """Draw the symbols of ``n`` sequences; pure in ``rng``."""

    def sample(self, rng: np.random.Generator, n: int) -> Sequences:
        """Draw ``n`` sequences; pure in ``rng``."""
        symbols, items, target = self.draw(rng, n)
        sizes = self.sizes
        shown = np.concatenate([np.full((1, n), NONE), items[:-1]])
        asked = target != NONE
        feedback = one_hot(shown, sizes.feedback)
        feedback[..., -1] = asked
        begin = np.where(shown != NONE, Boundary.EPISODE, Boundary.INSIDE)
        begin[0] = Boundary.TRIAL
        return Sequences(symbols, shown, one_hot(symbols, sizes.now), feedback, target, asked, begin)

    def batches(self, split: Split, size: int, *, total: int | None = None, seed: int = 0) -> Iterator[Sequences]:
        """Batches of ``size`` fresh sequences, ``total`` in all (None: without end).

        The streams of different splits never meet, whatever their seeds.
        """
        if size < 1:
            raise ValueError(f"a batch of {size} sequences was asked for, expected at least 1")
        rng = numpy_rng(seed, "data", split_key(split))
        drawn = 0
        while total is None or drawn < total:
            n = size if total is None else min(size, total - drawn)
            yield self.sample(rng, n)
            drawn += n


def one_hot(index: Ints, size: int) -> npt.NDArray[np.float32]:
    """``[..., size]`` float32, zeros where ``index`` is -1."""
    out = np.zeros((*index.shape, size), np.float32)
    flat = index.ravel()
    there = np.flatnonzero(flat != NONE)
    out.reshape(-1, size)[there, flat[there]] = 1
    return out

"""The recall benchmark: six memory tasks, drawn by a generator; :mod:`metarl.data.sequences` says what they show."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Annotated

import numpy as np
from annotated_types import Ge

from metarl.config import InputError
from metarl.data.sequences import NONE, Draw, RecallTask, Sizes
from metarl.types import Ints

TEST_SEQUENCES = 10_000  # fresh sequences of a test


@dataclass(frozen=True)
class Copy(RecallTask):
    """Give a sequence back in its order (as in Graves et al. 2014, section 4.1, with fixed length).

    ``now`` is the position of a symbol, both when the symbol is given and when it is asked for, so that a memory that
    compares keys can find it.

    Args:
        length: symbols in a sequence.
        alphabet: different symbols.
    """

    length: Annotated[int, Ge(2)] = 12
    alphabet: Annotated[int, Ge(2)] = 16

    @property
    def sizes(self) -> Sizes:
        """``2 length`` steps."""
        return Sizes(2 * self.length, self.length, self.alphabet + 1, self.alphabet)

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        positions = np.repeat(np.arange(self.length)[:, None], n, 1)
        items = rng.integers(self.alphabet, size=positions.shape)
        return _give_then_ask(positions, items, positions, items)


@dataclass(frozen=True)
class AssociativeRecall(RecallTask):
    """Pairs of a key and a value, then every key once in random order; the answer is its value.

    The keys of a sequence differ; values are drawn independently. The pairing is drawn anew for every sequence.

    Args:
        pairs: pairs in a sequence.
        keys: different keys to draw from.
        values: different values to draw from.
    """

    pairs: Annotated[int, Ge(1)] = 8
    keys: Annotated[int, Ge(1)] = 64
    values: Annotated[int, Ge(2)] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keys < self.pairs:
            raise InputError(key="keys", given=self.keys, expected=f"{self.pairs} or more, one for each pair")

    @property
    def sizes(self) -> Sizes:
        """``2 pairs`` steps."""
        return Sizes(2 * self.pairs, self.keys, self.values + 1, self.values)

    @property
    def chance(self) -> float:
        """A blind guess, except at the first query: the value still shown there is correct once in ``pairs``."""
        blind = 1 / self.values
        first = 1 / self.pairs + (1 - 1 / self.pairs) * blind
        return (first + (self.pairs - 1) * blind) / self.pairs

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        keys = _distinct(rng, self.keys, self.pairs, n)
        values = rng.integers(self.values, size=keys.shape)
        order = _distinct(rng, self.pairs, self.pairs, n)
        return _give_then_ask(keys, values, np.take_along_axis(keys, order, 0), np.take_along_axis(values, order, 0))


@dataclass(frozen=True)
class TwoHopRecall(RecallTask):
    """Pairs (a, b) and (b, c) in random order, then every a once in random order; the answer is c.

    There are half as many chains as pairs, and all their symbols differ, so that b is the value of one slot and the key
    of another. One read finds b, which is never the answer. A guess among the symbols that came as a value but never as
    a key, which needs no chain to be followed, is correct once in ``pairs / 2``.

    Args:
        pairs: pairs in a sequence; even.
        symbols: different symbols to draw from, for a, b and c alike.
    """

    pairs: Annotated[int, Ge(2)] = 16
    symbols: Annotated[int, Ge(3)] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs % 2:
            raise InputError(key="pairs", given=self.pairs, expected="an even number, as two pairs make a chain")
        if self.symbols < 3 * self.chains:
            expected = f"{3 * self.chains} or more, 3 for each of {self.chains} chains"
            raise InputError(key="symbols", given=self.symbols, expected=expected)

    @property
    def chains(self) -> int:
        """Chains in a sequence."""
        return self.pairs // 2

    @property
    def sizes(self) -> Sizes:
        """``1.5 pairs`` steps."""
        return Sizes(self.pairs + self.chains, self.symbols, self.symbols + 1, self.symbols)

    @property
    def chance(self) -> float:
        """Any symbol but a, except at the first query: the value still shown there is correct once in ``pairs``.

        The last pair is the second of its chain half of the time, and its chain is the first query once in
        ``pairs / 2``.
        """
        shown = 1 / self.pairs
        first = max(shown, (1 - shown) / (self.symbols - 2))
        return (first + (self.chains - 1) / (self.symbols - 1)) / self.chains

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        chain = _distinct(rng, self.symbols, 3 * self.chains, n)
        start, end = chain[: self.chains], chain[-self.chains :]
        order = _distinct(rng, self.pairs, self.pairs, n)
        keys = np.take_along_axis(chain[: self.pairs], order, 0)
        values = np.take_along_axis(chain[self.chains :], order, 0)
        queries = _distinct(rng, self.chains, self.chains, n)
        return _give_then_ask(keys, values, np.take_along_axis(start, queries, 0), np.take_along_axis(end, queries, 0))


@dataclass(frozen=True)
class RepeatFirst(RecallTask):
    """Name at the end the symbol that came first (after POPGym's RepeatFirst, Morad et al. 2023).

    ``now`` has two symbols: 0 marks the first item and the query for it, 1 all later items.

    Args:
        length: items in a sequence.
        alphabet: different symbols.
    """

    length: Annotated[int, Ge(2)] = 16
    alphabet: Annotated[int, Ge(2)] = 4

    @property
    def sizes(self) -> Sizes:
        """``length + 1`` steps."""
        return Sizes(self.length + 1, 2, self.alphabet + 1, self.alphabet)

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        items = rng.integers(self.alphabet, size=(self.length, n))
        marks = np.ones_like(items)
        marks[0] = 0
        return _give_then_ask(marks, items, marks[:1], items[:1])


@dataclass(frozen=True)
class RepeatPrevious(RecallTask):
    """Name at each step the symbol that came ``lag`` steps ago (after POPGym's RepeatPrevious, Morad et al. 2023).

    ``now`` is the number of the step, from which a memory that compares keys must find the earlier one.

    Args:
        length: items in a sequence.
        lag: steps back; at 1 the answer would still be shown.
        alphabet: different symbols.
    """

    length: Annotated[int, Ge(3)] = 24
    lag: Annotated[int, Ge(2)] = 4
    alphabet: Annotated[int, Ge(2)] = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length <= self.lag:
            raise InputError(key="length", given=self.length, expected=f"more than lag = {self.lag}, for any query")

    @property
    def sizes(self) -> Sizes:
        """``length`` steps."""
        return Sizes(self.length, self.length, self.alphabet + 1, self.alphabet)

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        steps = np.repeat(np.arange(self.length)[:, None], n, 1)
        items = rng.integers(self.alphabet, size=steps.shape)
        return Draw(steps, items, np.concatenate([np.full((self.lag, n), NONE), items[: -self.lag]]))


@dataclass(frozen=True)
class CountRecall(RecallTask):
    """Cards one by one, then every face once in random order; the answer is the number of cards with this face.

    After POPGym's CountRecall (Morad et al. 2023), which asks at every step. Here all queries come after the deck,
    because a memory that also stores its queries would count them. ``now`` is the face of the card.

    Args:
        deck: cards in a sequence.
        faces: different faces, each as probable at every card.
    """

    deck: Annotated[int, Ge(2)] = 16
    faces: Annotated[int, Ge(2)] = 4

    @property
    def sizes(self) -> Sizes:
        """``deck + faces`` steps; answers from 0 to ``deck``."""
        return Sizes(self.deck + self.faces, self.faces, self.faces + 1, self.deck + 1)

    @property
    def chance(self) -> float:
        """The most probable binomial count of all cards, or at the first query, which shows one card, of the others."""
        return (_mode(self.deck - 1, self.faces) + (self.faces - 1) * _mode(self.deck, self.faces)) / self.faces

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        cards = rng.integers(self.faces, size=(self.deck, n))
        queries = _distinct(rng, self.faces, self.faces, n)
        return _give_then_ask(cards, cards, queries, (cards[:, None] == queries).sum(0))


RECALL_TASKS: dict[str, type[RecallTask]] = {
    "copy": Copy,
    "associative": AssociativeRecall,
    "two_hop": TwoHopRecall,
    "repeat_first": RepeatFirst,
    "repeat_previous": RepeatPrevious,
    "count": CountRecall,
}
"""The tasks by name; their defaults are the benchmark's."""


def _give_then_ask(symbols: Ints, items: Ints, queries: Ints, answers: Ints) -> Draw:
    """First symbols and items ``[N, B]``, then queries and their answers ``[M, B]``."""
    return Draw(
        np.concatenate([symbols, queries]),
        np.concatenate([items, np.full_like(queries, NONE)]),
        np.concatenate([np.full_like(items, NONE), answers]),
    )


def _distinct(rng: np.random.Generator, alphabet: int, count: int, n: int) -> Ints:
    """``[count, n]``: in each column ``count`` different numbers below ``alphabet``, in random order."""
    return rng.random((n, alphabet)).argsort(1)[:, :count].T


def _mode(draws: int, faces: int) -> float:
    """The greatest probability of a Binomial(draws, 1/faces)."""
    return max(comb(draws, k) * (faces - 1) ** (draws - k) for k in range(draws + 1)) / faces**draws

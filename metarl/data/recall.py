"""The recall benchmark: six memory tasks, drawn by a generator; :mod:`metarl.data.sequences` says what they show."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Annotated

import numpy as np
from annotated_types import Ge

from metarl.data.sequences import NONE, Draw, RecallTask, Sizes
from metarl.data.sequences import Sequences as Sequences
from metarl.types import Ints

TEST_SEQUENCES = 10_000
"""How many fresh sequences a test takes."""


@dataclass(frozen=True)
class Copy(RecallTask):
    """Give a sequence back in its order (as in Graves et al. 2014, section 4.1, with fixed length).

    ``now`` is the number of the place, when a symbol is given and when it is asked for, so that a memory which finds by
    likeness can find by place.
    """

    length: Annotated[int, Ge(2)] = 12
    """Symbols in a sequence."""
    alphabet: Annotated[int, Ge(2)] = 16
    """Different symbols."""

    def __post_init__(self) -> None:
        _at_least(self, length=2, alphabet=2)

    @property
    def sizes(self) -> Sizes:
        """``2 length`` steps."""
        return Sizes(2 * self.length, self.length, self.alphabet + 1, self.alphabet)

    @property
    def chance(self) -> float:
        """Symbols are independent, and the one that is still shown is another than the first one asked for."""
        return 1 / self.alphabet

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        places = np.repeat(np.arange(self.length)[:, None], n, 1)
        items = rng.integers(self.alphabet, size=places.shape)
        return _give_then_ask(places, items, places, items)


@dataclass(frozen=True)
class AssociativeRecall(RecallTask):
    """Pairs of a key and a value, then every key once in random order; the answer is its value.

    The keys of a sequence differ; values are drawn independently. The pairing is drawn anew for every sequence.
    """

    pairs: Annotated[int, Ge(1)] = 8
    """Pairs in a sequence."""
    keys: Annotated[int, Ge(1)] = 64
    """Different keys to draw from."""
    values: Annotated[int, Ge(2)] = 16
    """Different values to draw from."""

    def __post_init__(self) -> None:
        _at_least(self, pairs=1, values=2)
        if self.keys < self.pairs:
            raise ValueError(
                f"associative recall of {self.pairs} pairs needs as many different keys, got keys={self.keys}; "
                f"set keys to {self.pairs} or more"
            )

    @property
    def sizes(self) -> Sizes:
        """``2 pairs`` steps."""
        return Sizes(2 * self.pairs, self.keys, self.values + 1, self.values)

    @property
    def chance(self) -> float:
        """A blind guess, but for the first question: the value still shown then is the answer once in ``pairs``."""
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

    Half as many chains as pairs, and all their symbols differ, so that b is the value of one slot and the key of
    another. One read finds b, which is never the answer. What is known without following the chain is that c is one of
    the symbols that came as a value and never as a key: with that, a guess is right once in ``pairs / 2``.
    """

    pairs: Annotated[int, Ge(2)] = 16
    """Pairs in a sequence; even."""
    symbols: Annotated[int, Ge(3)] = 64
    """Different symbols to draw from, for a, b and c alike."""

    def __post_init__(self) -> None:
        _at_least(self, pairs=2)
        if self.pairs % 2:
            raise ValueError(f"two-hop recall joins pairs two by two, got pairs={self.pairs}; set an even number")
        if self.symbols < 3 * self.chains:
            raise ValueError(
                f"two-hop recall of {self.pairs} pairs needs 3 symbols for each of {self.chains} chains, "
                f"got symbols={self.symbols}; set symbols to {3 * self.chains} or more"
            )

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
        """Any symbol but a, except at the first question, where the value still shown is the answer once in ``pairs``.

        The last pair is the second of its chain half of the time, and that chain is asked first once in ``pairs / 2``.
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
        asked = _distinct(rng, self.chains, self.chains, n)
        return _give_then_ask(keys, values, np.take_along_axis(start, asked, 0), np.take_along_axis(end, asked, 0))


@dataclass(frozen=True)
class RepeatFirst(RecallTask):
    """Say at the end which symbol came first (after POPGym's RepeatFirst, Morad et al. 2023).

    ``now`` has two symbols: 0 marks the first item, and the question for it; 1 all later items.
    """

    length: Annotated[int, Ge(2)] = 16
    """Items in a sequence."""
    alphabet: Annotated[int, Ge(2)] = 4
    """Different symbols."""

    def __post_init__(self) -> None:
        _at_least(self, length=2, alphabet=2)

    @property
    def sizes(self) -> Sizes:
        """``length + 1`` steps."""
        return Sizes(self.length + 1, 2, self.alphabet + 1, self.alphabet)

    @property
    def chance(self) -> float:
        """Symbols are independent, and the one still shown is another than the first."""
        return 1 / self.alphabet

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        items = rng.integers(self.alphabet, size=(self.length, n))
        marks = np.ones_like(items)
        marks[0] = 0
        return _give_then_ask(marks, items, marks[:1], items[:1])


@dataclass(frozen=True)
class RepeatPrevious(RecallTask):
    """Say at each step which symbol came ``lag`` steps ago (after POPGym's RepeatPrevious, Morad et al. 2023).

    ``now`` is the number of the step: what a memory that finds by likeness has to go by.
    """

    length: Annotated[int, Ge(3)] = 24
    """Items in a sequence."""
    lag: Annotated[int, Ge(2)] = 4
    """How many steps back; at 1 the answer would still be shown."""
    alphabet: Annotated[int, Ge(2)] = 4
    """Different symbols."""

    def __post_init__(self) -> None:
        _at_least(self, lag=2, alphabet=2)
        if self.length <= self.lag:
            raise ValueError(
                f"repeat-previous with lag={self.lag} asks nothing of {self.length} items; set length above lag"
            )

    @property
    def sizes(self) -> Sizes:
        """``length`` steps."""
        return Sizes(self.length, self.length, self.alphabet + 1, self.alphabet)

    @property
    def chance(self) -> float:
        """Symbols are independent, and the one that is shown is the one before."""
        return 1 / self.alphabet

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        steps = np.repeat(np.arange(self.length)[:, None], n, 1)
        items = rng.integers(self.alphabet, size=steps.shape)
        return Draw(steps, items, np.concatenate([np.full((self.lag, n), NONE), items[: -self.lag]]))


@dataclass(frozen=True)
class CountRecall(RecallTask):
    """Cards one by one, then every face once in random order; the answer is how many cards had it.

    After POPGym's CountRecall (Morad et al. 2023), which asks at every step; here all questions come after the deck,
    because a memory keeps what it is asked as well, and would count its questions. ``now`` is the face of the card.
    """

    deck: Annotated[int, Ge(2)] = 16
    """Cards in a sequence."""
    faces: Annotated[int, Ge(2)] = 4
    """Different faces, each as probable at every card."""

    def __post_init__(self) -> None:
        _at_least(self, deck=2, faces=2)

    @property
    def sizes(self) -> Sizes:
        """``deck + faces`` steps; answers from 0 to ``deck``."""
        return Sizes(self.deck + self.faces, self.faces, self.faces + 1, self.deck + 1)

    @property
    def chance(self) -> float:
        """The most probable binomial count: of all cards, or at the first question, where one is seen, of the rest."""
        return (_mode(self.deck - 1, self.faces) + (self.faces - 1) * _mode(self.deck, self.faces)) / self.faces

    def draw(self, rng: np.random.Generator, n: int) -> Draw:
        """See :meth:`RecallTask.draw`."""
        cards = rng.integers(self.faces, size=(self.deck, n))
        asked = _distinct(rng, self.faces, self.faces, n)
        return _give_then_ask(cards, cards, asked, (cards[:, None] == asked).sum(0))


RECALL_TASKS: dict[str, type[RecallTask]] = {
    "copy": Copy,
    "associative": AssociativeRecall,
    "two_hop": TwoHopRecall,
    "repeat_first": RepeatFirst,
    "repeat_previous": RepeatPrevious,
    "count": CountRecall,
}
"""The tasks by name; their defaults are the benchmark's."""


def _give_then_ask(symbols: Ints, items: Ints, asked: Ints, answers: Ints) -> Draw:
    """Items ``[N, B]`` beside their symbols, then questions ``[M, B]`` with their answers."""
    return Draw(
        np.concatenate([symbols, asked]),
        np.concatenate([items, np.full_like(asked, NONE)]),
        np.concatenate([np.full_like(items, NONE), answers]),
    )


def _distinct(rng: np.random.Generator, alphabet: int, count: int, n: int) -> Ints:
    """``[count, n]``: in each column ``count`` different numbers below ``alphabet``, in random order."""
    return rng.random((n, alphabet)).argsort(1)[:, :count].T


def _mode(draws: int, faces: int) -> float:
    """The greatest probability of a Binomial(draws, 1/faces)."""
    return max(comb(draws, k) * (faces - 1) ** (draws - k) for k in range(draws + 1)) / faces**draws


def _at_least(task: RecallTask, **least: int) -> None:
    for name, bound in least.items():
        if getattr(task, name) < bound:
            raise ValueError(f"{type(task).__name__} got {name}={getattr(task, name)}, expected {bound} or more")

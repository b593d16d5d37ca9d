"""What may differ from task to task: ranges and choices that a parameter of an environment is drawn from."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.tasks.family.checks import limits, real_number
from metarl.types import Array, Ints


class Range(ABC):
    """What one parameter of a task may be."""

    @property
    def size(self) -> int | None:
        """The number of values; None: infinitely many."""
        return None

    @property
    @abstractmethod
    def space(self) -> spaces.Space[Any]:
        """The space of one draw: a number, of shape ``()``, or an array."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Draw ``[n]``, or ``[n, ...]`` where the space has a shape; nothing else than ``rng`` decides them."""

    @property
    def probes(self) -> Array:
        """Some draws ``[k]`` to try an environment with: both ends, or every choice."""
        return np.array(limits(self.space))

    def value(self, drawn: Any) -> Any:
        """What the environment gets for one number that was drawn: a Python number."""
        return np.asarray(drawn).item()

    def plain(self) -> Any:
        """The range as text or a list, from which :func:`metarl.tasks.family.reading.as_range` makes it again."""
        return str(self)


@dataclass(frozen=True)
class Uniform(Range):
    """A real number, evenly from ``low`` to ``high``.

    Raises:
        ValueError: not two finite numbers with low < high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _numbers(self)
        _ordered(self)

    @property
    def space(self) -> spaces.Box:
        """From low to high."""
        return spaces.Box(self.low, self.high, (), np.float64)

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Real numbers ``[n]``."""
        return rng.uniform(self.low, self.high, n)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class LogUniform(Uniform):
    """A real number whose logarithm is uniform: 0.001 to 0.01 is as likely as 0.1 to 1.

    Raises:
        ValueError: not two finite numbers with 0 < low < high.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"LogUniform needs 0 < low, not {self.low}; use Uniform for numbers down to 0 and below")

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Real numbers ``[n]``."""
        drawn = np.exp(rng.uniform(math.log(self.low), math.log(self.high), n))
        return np.clip(drawn, self.low, self.high)  # rounding may lead past the ends

    def __str__(self) -> str:
        return f"log:{super().__str__()}"


@dataclass(frozen=True)
class Normal(Range):
    """A real number around ``mean`` with the standard deviation ``sd``.

    Raises:
        ValueError: not two finite numbers with sd > 0.
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        _numbers(self)
        if self.sd <= 0:
            raise ValueError(f"Normal needs sd > 0, not {self.sd}")

    @property
    def space(self) -> spaces.Box:
        """Any real number."""
        return spaces.Box(-np.inf, np.inf, (), np.float64)

    @property
    def probes(self) -> Array:
        """``[2]``: one standard deviation to either side."""
        return np.array([self.mean - self.sd, self.mean + self.sd])

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Real numbers ``[n]``."""
        return rng.normal(self.mean, self.sd, n)

    def __str__(self) -> str:
        return f"normal:{self.mean},{self.sd}"


class Finite(Range):
    """A range of ``size`` values, numbered from 0."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of values."""

    @abstractmethod
    def at(self, index: Ints) -> Array:
        """What is drawn for the values numbered ``index`` ``[n]``."""

    @abstractmethod
    def find(self, value: Any) -> int | None:
        """The number of what the environment gets; None where it is none of the values."""

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """``[n]``, each value as likely as any other."""
        return self.at(rng.integers(self.size, size=n))


@dataclass(frozen=True)
class Integers(Finite):
    """A whole number from ``low`` to ``high``, both included.

    Raises:
        ValueError: not two whole numbers with low < high.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        for field in fields(self):
            given = getattr(self, field.name)
            if isinstance(given, bool) or not isinstance(given, int | np.integer) or abs(int(given)) > 2**53:
                raise ValueError(f"Integers needs whole numbers of at most 2^53, not {field.name}={given!r}")
            object.__setattr__(self, field.name, int(given))
        _ordered(self)

    @property
    def size(self) -> int:
        """The number of whole numbers."""
        return self.high - self.low + 1

    @property
    def space(self) -> spaces.Box:
        """A whole number: a Box, as large is more than small."""
        return spaces.Box(self.low, self.high, (), np.int64)

    def at(self, index: Ints) -> Array:
        """The numbers ``[n]``."""
        return self.low + np.asarray(index, np.int64)

    def find(self, value: Any) -> int | None:
        """Its distance from the lowest."""
        whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
        return int(value) - self.low if whole and self.low <= value <= self.high else None

    def __str__(self) -> str:
        return f"int:{self.low}..{self.high}"


@dataclass(frozen=True, eq=False)
class Choice(Finite):
    """One of some values: numbers, strings, arrays, or any objects. Its index is drawn and is part of the task.

    Raises:
        ValueError: fewer than two values, or one of them twice.
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, Sequence | range | np.ndarray):
            raise ValueError(f"Choice needs a list of values, not {self.values!r}")
        ordered = isinstance(self.values, range)  # which holds nothing twice
        object.__setattr__(self, "values", tuple(v.item() if isinstance(v, np.generic) else v for v in self.values))
        if len(self.values) < 2:
            raise ValueError(
                f"Choice needs at least two values, not {list(self.values)}; what has one value doesn't vary: fix it "
                "with kwargs={name: value} (--kwargs NAME=VALUE)"
            )
        seen = [] if ordered else [key_of(v) for v in self.values]
        try:
            twice = len(set(seen)) < len(seen)
        except TypeError:  # what has no hash is compared one by one
            twice = any(v in seen[:i] for i, v in enumerate(seen))
        if twice:
            raise ValueError(f"Choice has a value twice: {list(self.values)}; leave one out")

    @property
    def size(self) -> int:
        """The number of values."""
        return len(self.values)

    @property
    def space(self) -> spaces.Discrete:
        """The indices."""
        return spaces.Discrete(self.size)

    @property
    def probes(self) -> Array:
        """``[size]``: all indices."""
        return np.arange(self.size)

    def at(self, index: Ints) -> Array:
        """The indices ``[n]`` themselves."""
        return np.asarray(index, np.int64)

    def find(self, value: Any) -> int | None:
        """Its index."""
        key = key_of(value)
        try:
            return self._index.get(key)
        except TypeError:  # what has no hash is compared one by one
            return next((i for i, one in enumerate(self.values) if key_of(one) == key), None)

    @cached_property
    def _index(self) -> dict[Hashable, int]:
        return {key_of(value): i for i, value in enumerate(self.values)}

    def value(self, drawn: Any) -> Any:
        """The value with this index; a copy where an environment could change it."""
        value = self.values[int(drawn)]
        return copy.deepcopy(value) if isinstance(value, np.ndarray | list | dict) else value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and key_of(self.values) == key_of(other.values)

    def __hash__(self) -> int:
        return hash(key_of(self.values))

    def plain(self) -> list[Any]:
        """The values."""
        return list(self.values)

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


def key_of(value: Any) -> Hashable:
    """What equal values have in common: arrays are compared by value, 1 and 1.0 are one value, True and 1 are two."""
    match value:
        case np.ndarray():
            return np.ndarray, value.shape, key_of(value.tolist())
        case list() | tuple():
            return type(value), tuple(map(key_of, value))
        case Mapping():
            return Mapping, frozenset((name, key_of(item)) for name, item in value.items())
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return float if number else type(value), value


def _numbers(given: Uniform | Normal) -> None:
    """Make both fields finite floats."""
    for field in fields(given):
        name = f"{field.name} of {type(given).__name__}"
        object.__setattr__(given, field.name, real_number(name, getattr(given, field.name)))


def _ordered(given: Uniform | Integers) -> None:
    low, high = astuple(given)
    if not low < high:
        raise ValueError(f"{type(given).__name__} needs low < high, not low={low}, high={high}")

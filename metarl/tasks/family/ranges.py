"""What may differ from task to task: ranges and choices that a parameter of an environment is drawn from.

As text, for the command line and presets::

    0.3..1.0       Uniform(0.3, 1.0): a real number, also where both ends are whole, as in 1..5
    log:1e-3..1    LogUniform(1e-3, 1)
    normal:0,1     Normal(0, 1): mean and standard deviation
    int:1..5       Integers(1, 5): both ends included
    a,b,c          Choice(("a", "b", "c")); numbers and true, false are read as such; in a preset a list does the same
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.tasks.family.checks import limits, real_number
from metarl.types import Array, Ints

MOST_LEVELS = 1_000_000
FORMS = "0.3..1.0 (real numbers), int:1..5, log:1e-3..1, normal:0,1 (mean, standard deviation), or a,b,c (a choice)"


class Range(ABC):
    """What one parameter of a task may be."""

    @property
    def size(self) -> int | None:
        """The number of values; None: infinitely many."""
        return None

    @property
    @abstractmethod
    def space(self) -> spaces.Space[Any]:
        """The space of one draw: a number, of shape ``()``."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Draw ``[n]``; nothing else than ``rng`` decides them."""

    @property
    def probes(self) -> Array:
        """Some draws ``[k]`` to try an environment with: both ends, or every choice."""
        return np.array(limits(self.space))

    def value(self, drawn: Any) -> Any:
        """What the environment gets for one number that was drawn: a Python number."""
        return np.asarray(drawn).item()

    def plain(self) -> Any:
        """The range as text or a list, from which :func:`as_range` makes it again."""
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

    def __str__(self) -> str:
        return f"int:{self.low}..{self.high}"


@dataclass(frozen=True)
class Choice(Finite):
    """One of some values: numbers, strings, or any objects. The index of the value is drawn and is part of the task.

    Raises:
        ValueError: fewer than two values, or one of them twice.
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, Sequence | range | np.ndarray):
            raise ValueError(f"Choice needs a list of values, not {self.values!r}")
        object.__setattr__(self, "values", tuple(v.item() if isinstance(v, np.generic) else v for v in self.values))
        if len(self.values) < 2:
            raise ValueError(
                f"Choice needs at least two values, not {list(self.values)}; hold a value fixed in the environment's "
                "constructor (kwargs)"
            )
        seen = [(type(v), v) for v in self.values]  # True and 1 are two values
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

    def value(self, drawn: Any) -> Any:
        """The value with this index."""
        return self.values[int(drawn)]

    def plain(self) -> list[Any]:
        """The values."""
        return list(self.values)

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


def _numbers(given: Uniform | Normal) -> None:
    """Make both fields finite floats."""
    for field in fields(given):
        name = f"{field.name} of {type(given).__name__}"
        object.__setattr__(given, field.name, real_number(name, getattr(given, field.name)))


def _ordered(given: Uniform | Integers) -> None:
    low, high = astuple(given)
    if not low < high:
        raise ValueError(f"{type(given).__name__} needs low < high, not low={low}, high={high}")


_KINDS: dict[str, tuple[Callable[..., Range], str, Callable[[str], float]]] = {
    "uniform": (Uniform, "..", float),
    "log": (LogUniform, "..", float),
    "int": (Integers, "..", int),
    "normal": (Normal, ",", float),
}


def parse_range(text: str) -> Range:
    """The range that ``text`` means; the forms are listed at the top of this module.

    >>> parse_range("0.3..1.0"), parse_range("int:1..5"), parse_range("small,large")
    (Uniform(low=0.3, high=1.0), Integers(low=1, high=5), Choice(values=('small', 'large')))

    Raises:
        ValueError: the text is no range, or one without two values in order.
    """
    kind, colon, rest = (part.strip() for part in text.rpartition(":"))
    try:
        if not colon and ".." not in rest:
            return Choice(tuple(_scalar(part.strip()) for part in rest.split(",")))
        make, between, read = _KINDS[kind if colon else "uniform"]
        first, _, second = rest.partition(between)
        return make(read(first), read(second))
    except (KeyError, ValueError) as error:
        why = f"there is no kind {kind!r}" if isinstance(error, KeyError) else error
        raise ValueError(f"cannot read the range {text!r}: {why}; a range is {FORMS}") from None


def _scalar(text: str) -> Any:
    """A number, a truth value, or the text itself."""
    if not text:
        raise ValueError("a value is missing")
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?(\d+(\.\d+)?|\.\d+)([eE][+-]?\d+)?", text) else text


def as_range(name: str, given: Any) -> Range:
    """``given`` as a range: one already, its text, or a list to choose from.

    Raises:
        ValueError: it is none of these; the message names ``name``.
    """
    try:
        match given:
            case Range():
                return given
            case str():
                return parse_range(given)
            case list() | tuple() | range():
                return Choice(given)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    raise ValueError(f"{name}: cannot vary over {given!r}; give Uniform(low, high) or the like, or as text {FORMS}")


def parse_vary(text: str) -> tuple[str, str]:
    """Take ``name=range`` apart, and make sure that the range is one.

    Raises:
        ValueError: there is no name, or no range.
    """
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not equals or not name.isidentifier():
        raise ValueError(f"cannot read {text!r}; expected name=range such as length=0.3..1.0, the range being {FORMS}")
    as_range(name, rest)
    return name, rest


def parse_levels(given: Any) -> Sequence[int]:
    """The seeds of levels: a range, a list of whole numbers, or text such as ``0..999`` (ends included) or ``3,7,9``.

    Raises:
        ValueError: not whole numbers of at least 0, each once.
    """
    levels = given
    if isinstance(given, str):
        ends = re.fullmatch(r"\s*(\d+)\s*\.\.\s*(\d+)\s*", given)
        listed = re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", given)
        levels = range(int(ends[1]), int(ends[2]) + 1) if ends else map(int, given.split(",")) if listed else ()
    elif isinstance(given, Mapping) or not isinstance(given, Sequence | range | np.ndarray):
        levels = ()
    if not isinstance(levels, range):
        levels = tuple(seed.item() if isinstance(seed, np.generic) else seed for seed in levels)
    many = len(levels) > MOST_LEVELS
    whole = not many and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in levels)
    if not levels or not whole or min(levels) < 0 or len(set(levels)) < len(levels):
        shown = repr(given) if len(repr(given)) <= 60 else f"{repr(given)[:57]}..."
        raise ValueError(
            f"levels is {shown}, expected at most {MOST_LEVELS:,} different whole numbers of at least 0, such as "
            "range(1000), or as text 0..999"
        )
    return levels

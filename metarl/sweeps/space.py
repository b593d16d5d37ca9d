"""What a sweep searches: settings with their values or ranges, from text such as ``ppo.learning_rate=1e-4..1e-2:log``.

::

    ppo.learning_rate=1e-4..1e-2:log    a number between the ends, evenly on a logarithmic scale
    train.n_envs=64..512                a whole number, ends included, where the setting takes no other
    memory.controller=gru,lstm          one of these, each written as with --set
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from metarl.config import Assignment, ConfigError, parse_assignment
from metarl.experiments.base import WITHOUT_EFFECT
from metarl.experiments.settings import all_settings

if TYPE_CHECKING:
    from optuna.trial import Trial

Method = Literal["grid", "random", "tpe"]
Params = Mapping[str, Any]
"""A point: a number, or the text of a choice, for each key."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::(\w+))?")
_FORMS = "values a,b,c, or a range such as 1e-4..1e-2, 1e-4..1e-2:log or 16..128"
_PARTS = re.compile(r"""[^,\[\]{}"']+|"[^"]*"|'[^']*'|.""")


@dataclass(frozen=True)
class Choices:
    """One of several values.

    Args:
        key: of the setting.
        texts: of the values, as after ``--set KEY=``.
    """

    key: str
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.texts)

    def ends(self) -> list[Any]:
        """All values: what must fit before a sweep begins."""
        return list(self.texts)

    def suggest(self, trial: Trial) -> Any:
        """A value for a trial."""
        return trial.suggest_categorical(self.key, self.texts)

    def value(self, given: Any) -> Any:
        """The setting's value."""
        return parse_assignment(f"{self.key}={given}")[1]


@dataclass(frozen=True)
class Between:
    """A number in a range.

    Args:
        key: of the setting.
        low: the lowest value.
        high: the highest one.
        log: whether numbers are drawn evenly on a logarithmic scale.
    """

    key: str
    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.log else ''}"

    def ends(self) -> list[Any]:
        """Both ends: what must fit before a sweep begins."""
        return [self.low, self.high]

    def suggest(self, trial: Trial) -> Any:
        """A value for a trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def value(self, given: Any) -> Any:
        """The setting's value."""
        return given


Dimension = Choices | Between


@dataclass(frozen=True)
class Space:
    """All settings that are searched, by key."""

    dimensions: tuple[Dimension, ...]

    @property
    def points(self) -> int:
        """How many a grid has."""
        return math.prod(len(one.ends()) for one in self.dimensions)

    def grid(self) -> Iterator[Params]:
        """Every combination of values, the last key varying fastest."""
        keys = [one.key for one in self.dimensions]
        for values in itertools.product(*(one.ends() for one in self.dimensions)):
            yield dict(zip(keys, values, strict=True))

    def borders(self) -> Iterator[Params]:
        """Each value and each end once, with the first of the other keys."""
        first = {one.key: one.ends()[0] for one in self.dimensions}
        yield first
        for one in self.dimensions:
            for value in one.ends()[1:]:
                yield first | {one.key: value}

    def suggest(self, trial: Trial) -> Params:
        """A point for a trial."""
        return {one.key: one.suggest(trial) for one in self.dimensions}

    def assignments(self, params: Params) -> list[Assignment]:
        """A point as settings."""
        return [(tuple(one.key.split(".")), one.value(params[one.key])) for one in self.dimensions]

    def told(self, params: Params) -> dict[str, str]:
        """A point as texts for ``--set``."""
        return {key: value if isinstance(value, str) else repr(value) for key, value in params.items()}


def parse_space(method: Method, texts: Sequence[str], kind: str) -> Space:
    """The space of ``--grid``, ``--random`` or ``--tpe``; whether its keys and values exist is not checked.

    Args:
        method: how it is searched.
        texts: ``KEY=VALUES`` each.
        kind: of the experiment.

    Raises:
        ConfigError: a text that can't be read, a key that is given twice or that no sweep can search, or a range in a
            grid.
    """
    dimensions: dict[str, Dimension] = {}
    for text in texts:
        key, _ = parse_assignment(text)  # refuses a text without a key
        name, values = ".".join(key), text.partition("=")[2].strip()
        if name in dimensions:
            raise ConfigError(f"--{method} {name} is given twice", key=name, remedy="put all its values into one")
        if key[0] in WITHOUT_EFFECT or key[0] in ("name", "threads", "eval"):
            expected = "a setting that changes what is learned: this one changes how a trial is tested, or nothing"
            raise ConfigError(key=f"--{method} {name}", given=values, expected=expected, remedy="use --set for it")
        dimensions[name] = _dimension(name, values, method, kind)
    return Space(tuple(dimensions.values()))


def _dimension(key: str, values: str, method: Method, kind: str) -> Dimension:
    found = _RANGE.fullmatch(values)
    if found is None:
        texts = tuple(part.strip() for part in split(values))
        if not all(texts) or len(set(texts)) < len(texts):
            raise ConfigError(key=f"--{method} {key}", given=values, expected=f"{_FORMS}, each value once")
        return Choices(key, texts)
    low, high, scale = found.groups()
    if method == "grid":
        expected = "values such as a,b,c; a range is for --random or --tpe"
        raise ConfigError(key=f"--grid {key}", given=values, expected=expected)
    ends: list[int | float] = [int(end) if re.fullmatch(r"[+-]?\d+", end) else float(end) for end in (low, high)]
    if any(isinstance(end, float) for end in ends) or not _whole(kind, key):
        ends = [float(end) for end in ends]
    if scale not in (None, "log") or ends[0] >= ends[1] or not all(map(math.isfinite, ends)):
        raise ConfigError(key=f"--{method} {key}", given=values, expected=f"{_FORMS}, the lower end first")
    if scale == "log" and ends[0] <= 0:
        raise ConfigError(key=f"--{method} {key}", given=values, expected="ends above 0 on a logarithmic scale")
    return Between(key, ends[0], ends[1], log=scale == "log")


def _whole(kind: str, key: str) -> bool:
    """Whether a setting takes whole numbers alone, as far as is known."""
    return not any("number" in told for told in _ranges().get((kind, key), ()))


@cache
def _ranges() -> dict[tuple[str, str], list[str]]:
    """What values there are, in words, by kind of experiment and key."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in all_settings():
        found.setdefault((one.kind, one.key), []).append(one.range)
    return found


def split(text: str) -> list[str]:
    """A text cut at its commas, but for those within brackets or quotes.

    >>> split("1,[2, 3],'a,b'")
    ['1', '[2, 3]', "'a,b'"]
    """
    parts, depth = [""], 0
    for piece in _PARTS.findall(text):
        depth += (piece in "[{") - (piece in "]}")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts

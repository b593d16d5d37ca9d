"""Ranges and levels from what a user gives: values of Python, and text for the command line and presets::

0.3..1.0       Uniform(0.3, 1.0): a real number, also where both ends are whole, as in 1..5
log:1e-3..1    LogUniform(1e-3, 1)
normal:0,1     Normal(0, 1): mean and standard deviation
int:1..5       Integers(1, 5): both ends included
a,b,c          Choice(("a", "b", "c")); numbers and true, false are read as such; in a preset a list does the same
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from metarl.config import InputError
from metarl.tasks.family.places import is_place
from metarl.tasks.family.ranges import Choice, Integers, LogUniform, Normal, Range, Uniform
from metarl.tasks.family.samplers import Sampler, Together

MOST_LEVELS = 1_000_000
FORMS = "0.3..1.0 (real numbers), int:1..5, log:1e-3..1, normal:0,1 (mean, standard deviation), or a,b,c (a choice)"

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
    if text in ("true", "false", "True", "False"):
        return text.lower() == "true"
    if text == "None":
        raise ValueError("None is no value")
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?(\d+(\.\d+)?|\.\d+)([eE][+-]?\d+)?", text) else text


def as_range(name: str, given: Any) -> Range:
    """``given`` as a range: one already, its text, a list to choose from, or a function that draws.

    Raises:
        InputError: it is none of these; the message names ``name``.
    """
    try:
        match given:
            case Range():
                return given
            case str():
                return parse_range(given)
            case (int() | float(), int() | float()) if isinstance(given, tuple):
                low, high = given
                hint = f"Uniform({low}, {high}) for all between them, or [{low}, {high}] for one of the two"
                raise InputError(key=name, given=given, expected="no tuple of two numbers", remedy=f"give {hint}")
            case list() | tuple() | range() | np.ndarray():
                return Choice(tuple(given))
            case _ if callable(given) and not isinstance(given, type):
                return Sampler(given)
    except InputError as error:
        raise error if error.key == name else InputError.of(error, name) from None
    except ValueError as error:
        raise InputError(f"{name}: {error}", key=name, given=given) from None
    raise InputError(
        f"{name}: cannot vary over {given!r}; give Uniform(low, high) or the like, or as text {FORMS}",
        key=name,
        given=given,
    )


def as_vary(given: Any) -> Mapping[str, Range]:
    """What varies: a range for each name, or what one function draws for all of them.

    Raises:
        InputError: it is neither, or a name is no name.
    """
    if not isinstance(given, Mapping | type) and callable(given):
        given = Together(given)
    if not isinstance(given, Mapping):
        raise InputError(key="vary", given=given, expected="a dict of names and ranges, or a function that draws them")
    names = given.parts if isinstance(given, Together) else given
    if wrong := [name for name in map(str, names) if not is_place(name)]:
        expected = "a name, or a path such as model.opt.gravity[2]"
        raise InputError(key="a name in vary", given=wrong[0], expected=expected)
    return given if isinstance(given, Together) else {str(n): as_range(str(n), part) for n, part in given.items()}


def parse_vary(text: str) -> tuple[str, str]:
    """Take ``name=range`` apart, and make sure that the range is one.

    Raises:
        ValueError: there is no name, or no range.
    """
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not equals or not is_place(name):
        raise InputError(
            f"cannot read {text!r}; expected name=range such as force_mag=5..15, the range being {FORMS}, and the name "
            "perhaps a path such as model.opt.gravity[2]",
            key=name,
            given=text,
        )
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
        raise InputError(
            f"levels is {shown}, expected at most {MOST_LEVELS:,} different whole numbers of at least 0, such as "
            "range(1000), or as text 0..999",
            key="levels",
            given=given,
        )
    return levels

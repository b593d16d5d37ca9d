"""Typed options from plain data: TOML in, frozen dataclasses out, one line of error when something does not fit.

Options are standard dataclasses that lie beside what they configure. Types are strict: an integer passes for a float,
nothing else is converted. Constraints are ``Annotated[int, annotated_types.Ge(1)]``, choices ``Literal``.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Self, TypeVar

import numpy as np

Options = TypeVar("Options")
Key = tuple[str, ...]
Plain = dict[str, Any]
Assignment = tuple[Key, Any]  # a setting: the parts of its key, and its value

_WORDS = {
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid string": "a string",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid list": "a list",
    "an object": "a table of keys",
}
_NOT_GIVEN: Any = object()
_PLAIN = "numbers, text, lists and tables, nested a few levels deep"
MOST = 2**128  # no number of options, results or logs is larger: float32 ends there, and so do states of generators
DEPTH = 64  # of nested tables and lists; no options, results or spaces are nested as deep


class InputError(ValueError):
    """Something that the user gave does not fit. The message is one line, made of the fields:

    ``WHERE: KEY is GIVEN, expected EXPECTED; REMEDY``

    Args:
        problem: a sentence for what is wrong, where ``KEY is GIVEN`` (or ``KEY is missing``) doesn't say it.
        key: the name of the option, argument or file.
        given: the value that doesn't fit.
        expected: what would fit.
        remedy: what to do.
        where: what the data came from (a file, a preset), named first.
    """

    def __init__(
        self,
        problem: str | None = None,
        *,
        key: str | None = None,
        given: Any = _NOT_GIVEN,
        expected: str | None = None,
        remedy: str | None = None,
        where: str | None = None,
    ):
        if problem is None and key is None:
            raise TypeError(f"{type(self).__name__} needs a problem or a key")
        known = given is not _NOT_GIVEN
        self.key, self.given, self.expected, self.remedy = key, given if known else None, expected, remedy
        text = problem or f"{key} is {_show(given) if known else 'missing'}"
        text = f"{where}: {text}" if where else text
        text += f", expected {expected}" if expected else ""
        text += f"; {remedy}" if remedy else ""
        super().__init__(" ".join(text.split()))

    @classmethod
    def of(cls, error: Exception, where: str | None = None) -> Self:
        """The same problem as an error of this class, with ``where`` named first; fields are kept."""
        made = cls(str(error) or type(error).__name__, where=where)
        if isinstance(error, InputError):
            made.key, made.given, made.expected, made.remedy = error.key, error.given, error.expected, error.remedy
        return made


class ConfigError(InputError):
    """Options that don't fit, or don't go together."""


def build(cls: type[Options], data: Mapping[str, Any], where: str = "options") -> Options:
    """Turn nested plain data into the dataclass ``cls``.

    Args:
        cls: a standard dataclass; its fields may be dataclasses themselves, or containers of them.
        data: nested tables, as read from TOML or JSON; keys left out take the defaults of ``cls``.
        where: what the data came from, named first in an error (a file, a preset).

    Raises:
        ConfigError: an unknown or missing key, a wrong type, a choice that does not exist, a broken constraint.
    """
    import pydantic  # here, since importing metarl has to stay cheap

    if not isinstance(data, Mapping):
        raise ConfigError(key="the options", given=data, expected="a table of keys", where=where)
    check_plain(data, where)
    # A standard dataclass takes no settings, but inherits those of the list around it. JSON is pydantic's strict mode
    # that still takes tables for dataclasses and lists for tuples.
    adapter = pydantic.TypeAdapter(list[cls], config=pydantic.ConfigDict(extra="forbid", strict=True))  # type: ignore[valid-type]
    try:
        return adapter.validate_json(json.dumps([data], default=lambda value: _number(value, _text)))[0]
    except pydantic.ValidationError as error:
        raise _explain(cls, error.errors(), data, where) from None


def _spelled(name: str, text: str) -> bool | str:
    """A value that is no TOML."""
    if text == "None":
        raise ConfigError(key=name, given=text, expected="a value", remedy="leave it out, or write '\"None\"' for text")
    return text == "True" if text in ("True", "False") else text


def parse_assignment(text: str) -> Assignment:
    """Read ``section.key=value``; the value is TOML, or a string without quotes where it is not.

    Truth values may be spelled as in Python.

    Raises:
        ConfigError: the text has no ``=``, a part of the key is empty, the value is ``None``, which TOML doesn't have,
            or it is nested too deeply.

    >>> parse_assignment("env.arms=7"), parse_assignment("env.reward=binary")
    ((('env', 'arms'), 7), (('env', 'reward'), 'binary'))
    """
    name, equals, value = text.partition("=")
    key = tuple(part.strip() for part in name.split("."))
    if not equals or not all(key):
        raise ConfigError(key="the setting", given=text, expected="key=value such as env.arms=7")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError) as error:  # not TOML; or a number of too many digits, or nested too deeply
        if isinstance(error, tomllib.TOMLDecodeError):
            return key, _spelled(name.strip(), value.strip())
        raise ConfigError(key=name.strip(), given=value, expected=_PLAIN) from None
    return key, parsed["value"] if len(parsed) == 1 else value.strip()


def apply(data: Mapping[str, Any], assignments: Iterable[Assignment]) -> Plain:
    """A copy of the nested tables ``data`` with each ``(key, value)`` set in turn; missing tables are made.

    Raises:
        ConfigError: a key leads through something that is no table.
    """
    result = _copy(data)
    for key, value in assignments:
        table = result
        for depth, part in enumerate(key[:-1], start=1):
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                at, wanted = ".".join(key[:depth]), "a table of keys"
                raise ConfigError(key=at, given=table, expected=wanted, where=f"cannot set {'.'.join(key)}")
        table[key[-1]] = _copy(value)
    return result


def to_plain(obj: Any) -> Any:
    """Nested dataclasses as nested dicts, tuples as lists: what :func:`build` takes back and JSON can hold.

    Raises:
        TypeError: a value that JSON has no form for.
    """

    def fields(part: Any) -> Any:
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        raise TypeError(f"an option is {_show(part)}, expected numbers, strings, booleans, None, lists, tables")

    return json.loads(json.dumps(obj, default=lambda part: _number(part, fields)))


def check_plain(data: Any, where: str | None = None) -> None:
    """Refuse what no options, results or logs hold: numbers that are not finite or beyond MOST, nesting below DEPTH.

    Raises:
        ConfigError: the first such value.
    """
    for key, value in _values(data):
        if isinstance(value, Mapping | list | tuple):
            raise ConfigError(f"{'.'.join(key[:3])} is nested too deeply", key=key[0], expected=_PLAIN, where=where)
        if isinstance(value, int | float) and not _finite(value):
            raise ConfigError(
                key=".".join(key) or "a number", given=value, expected="a finite number, at most 2^128", where=where
            )


def load_toml(path: str | Path) -> Plain:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file can't be read, or is not TOML.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        check_plain(data, str(path))
        return data
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply", key=str(path), expected=_PLAIN) from None
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror or error}"
        raise ConfigError(problem, key=str(path), expected="a TOML file") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{path} is not valid TOML: {error}", key=str(path)) from None


def check_bounds(options: Any) -> None:
    """Check the bounds (``Ge``, ``Le``) and choices of a dataclass that was made in Python, as :func:`build` does.

    Raises:
        ConfigError: a number out of its bounds or not finite, or a choice that does not exist.
    """
    for name, hint in typing.get_type_hints(type(options), include_extras=True).items():
        given = getattr(options, name)
        if typing.get_origin(hint) is typing.Literal:
            choice(given, typing.get_args(hint), name)
        for bound in getattr(hint, "__metadata__", ()):
            least, most = getattr(bound, "ge", -math.inf), getattr(bound, "le", math.inf)
            if not (math.isfinite(given) and least <= given <= most):
                expected = f"{least} or more" if most == math.inf else f"{least} to {most}"
                raise ConfigError(key=name, given=given, expected=expected)


def choice(given: str, valid: Iterable[str], key: str) -> str:
    """``given`` if it is one of ``valid``.

    Args:
        given: the name to look up.
        valid: the names there are.
        key: the name of the option, for the error.

    Raises:
        ConfigError: there is no such name; the error lists ``valid``.
    """
    names = list(valid)
    if given in names:
        return given
    raise ConfigError(key=key, given=given, expected=one_of(names), remedy=did_you_mean(given, names))


def did_you_mean(given: object, valid: Iterable[str]) -> str | None:
    """``did you mean 'NAME'?`` with the closest of ``valid``; None where none is close.

    Case and a version at the end, such as ``-v0``, count only among names that are equally close without them. A word
    that begins otherwise is a slip of the hand only where nearly all else is the same.
    """
    word, best, found = _bare(str(given)), (0.0, 0.0), None
    for name in valid:
        other = _bare(name)
        near = difflib.SequenceMatcher(None, word, other).ratio()
        begins = len(word) > 2 and other.startswith(word)
        if begins or near >= (0.65 if word[:1] == other[:1] else 0.8):
            rank = near, difflib.SequenceMatcher(None, str(given), name).ratio()
            if rank >= best:
                best, found = rank, name
    return f"did you mean {found!r}?" if found else None


def _bare(name: str) -> str:
    return re.sub(r"-v\d+$", "", name).casefold()


def one_of(names: Sequence[str]) -> str:
    """The names as the ``expected`` of an error."""
    return f"one of {', '.join(names)}" if len(names) > 1 else "".join(names) or "nothing"


def _text(value: Any) -> str:
    """What JSON has no form for, such as a date of TOML, as text."""
    if callable(value):
        expected = 'numbers, text, lists and tables, as a run records its options; name code as text, "module:name"'
        raise ConfigError(key="an option", given=value, expected=expected)
    return str(value)


def _finite(number: float) -> bool:
    return -MOST <= number <= MOST  # NaN is neither


def _unicode(texts: Iterable[Any]) -> bool:
    """Whether all texts can be written as UTF-8; names of files may be other bytes."""
    return all(text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text) for text in map(str, texts))


def _values(data: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """What tables and lists hold, with its key; those at the last depth as they are."""
    if isinstance(data, (Mapping, list, tuple)) and len(key) < DEPTH:
        for name, item in data.items() if isinstance(data, Mapping) else enumerate(data):
            yield from _values(item, (*key, str(name)))
    else:
        yield key, data


def _explain(cls: type, errors: Sequence[Mapping[str, Any]], data: Any, where: str) -> ConfigError:
    """The error of an unknown key, else of the first that doesn't fit; a union reports one a member."""
    first = min(errors, key=lambda error: error["type"] != "unexpected_keyword_argument")
    path, given = _locate(first["loc"], data)
    key = ".".join(path)
    match first["type"]:
        case "json_invalid":  # all of it is checked plain data, but text may have no form in JSON
            key, given = next((".".join(key), value) for key, value in _values(data) if not _unicode((*key, value)))
            return ConfigError(key=key, given=given, expected="text in UTF-8", where=where)
        case "missing":
            return ConfigError(key=".".join((*path, str(first["loc"][-1]))), where=where)
        case "unexpected_keyword_argument":
            tables = _tables(cls, path[:-1])
            valid = [field.name for table in tables for field in dataclasses.fields(table) if field.init]
            elsewhere = {name: place for table in tables for name, place in getattr(table, "ELSEWHERE", {}).items()}
            place = elsewhere.get(path[-1])
            remedy = f"did you mean {place!r}?" if place else did_you_mean(path[-1], valid)
            return ConfigError(f"unknown key {key}", key=key, expected=one_of(valid), remedy=remedy, where=where)
        case "value_error":  # raised by the check of a dataclass itself
            return ConfigError.of(first["ctx"]["error"], ": ".join(filter(None, (where, key))))
    told = dict.fromkeys(
        error["msg"].removeprefix("Input should be ") for error in errors if _locate(error["loc"], data)[0] == path
    )
    return ConfigError(key=key, given=given, expected=" or ".join(_WORDS.get(text, text) for text in told), where=where)


def _locate(location: Sequence[str | int], data: Any) -> tuple[Key, Any]:
    """The key and the value of a location, in which pydantic names members of unions too."""
    key: Key = ()
    for part in location[1:]:  # the first is the place in the list that build makes
        known = data if isinstance(data, Mapping) else range(len(data)) if isinstance(data, (list, tuple)) else ()
        if part in known:
            key, data = (*key, str(part)), data[part]
    return key, data


def _tables(kind: Any, path: Key) -> list[Any]:
    """The dataclasses that a table at ``path`` below the type ``kind`` may be."""
    if not dataclasses.is_dataclass(kind):
        inner = path if typing.get_origin(kind) in (typing.Union, UnionType) else path[1:]
        return [table for part in typing.get_args(kind) for table in _tables(part, inner)]
    return _tables(typing.get_type_hints(kind).get(path[0]), path[1:]) if path else [kind]


def _number(value: Any, otherwise: Callable[[Any], Any]) -> Any:
    """A number of NumPy's as one of Python's, which JSON can hold; anything else as ``otherwise`` makes it."""
    return value.item() if isinstance(value, np.generic) else otherwise(value)


def _show(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of too many digits; nested too deeply
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _copy(value: Any) -> Any:
    """Tables copied, everything else shared."""
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value

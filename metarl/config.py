"""Typed options from plain data: TOML in, frozen dataclasses out, one line of error when something does not fit.

Options are standard dataclasses that lie beside what they configure. Types are taken as written: an integer passes
for a float, nothing else is converted. Constraints are ``Annotated[int, annotated_types.Ge(1)]``, choices ``Literal``.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic

Options = TypeVar("Options")
Key = tuple[str, ...]
Plain = dict[str, Any]

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


class ConfigError(ValueError):
    """Options that do not fit; the message is one line: the key, what was given, what is expected."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


def build(cls: type[Options], data: Mapping[str, Any], where: str = "options") -> Options:
    """Turn nested plain data into the dataclass ``cls``.

    Args:
        cls: a standard dataclass; its fields may be dataclasses themselves, or containers of them.
        data: nested tables, as read from TOML or JSON; keys left out take the defaults of ``cls``.
        where: what the data came from, named first in an error (a file, a preset).

    Raises:
        ConfigError: an unknown or missing key, a wrong type, a choice that does not exist, a broken constraint.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: the options are {_show(data)}, expected a table of keys")
    _check_keys(cls, data, (), where)
    try:
        # JSON is pydantic's strict mode that still takes tables for dataclasses and lists for tuples.
        return pydantic.TypeAdapter(cls).validate_json(json.dumps(data, default=str), strict=True)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error.errors(), data)}") from None


def parse_assignment(text: str) -> tuple[Key, Any]:
    """Read ``section.key=value``; the value is TOML, or a bare string where it is not.

    >>> parse_assignment("env.arms=7"), parse_assignment("env.reward=binary")
    ((('env', 'arms'), 7), (('env', 'reward'), 'binary'))
    """
    name, equals, value = text.partition("=")
    key = tuple(part.strip() for part in name.split("."))
    if not equals or not all(key):
        raise ConfigError(f"cannot read the setting {text!r}, expected key=value such as env.arms=7")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key, value.strip()
    return key, parsed["value"] if len(parsed) == 1 else value.strip()


def apply(data: Mapping[str, Any], assignments: Iterable[tuple[Key, Any]]) -> Plain:
    """A copy of the nested tables ``data`` with each ``(key, value)`` set; missing tables are made on the way."""
    result = _copy(data)
    for key, value in assignments:
        table = result
        for depth, part in enumerate(key[:-1], start=1):
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(
                    f"cannot set {'.'.join(key)}: {'.'.join(key[:depth])} is {_show(table)}, expected a table of keys"
                )
        table[key[-1]] = _copy(value)
    return result


def to_plain(obj: Any) -> Any:
    """Nested dataclasses as nested dicts, tuples as lists; what :func:`build` takes back and JSON can hold."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {field.name: to_plain(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    if isinstance(obj, Mapping):
        return {str(key): to_plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [to_plain(value) for value in obj]
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    raise TypeError(
        f"an option is {_show(obj)}, expected numbers, strings, booleans, None, lists, tables or dataclasses"
    )


def load_toml(path: str | Path) -> Plain:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; expected a TOML file") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def choice(name: str, valid: Iterable[str], where: str) -> str:
    """``name`` if it is one of ``valid``; else a ConfigError that lists them, ``where`` named first."""
    names = list(valid)
    if name in names:
        return name
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(f"{where} is {_show(name)}; {hint}it can be {', '.join(names)}")


def _check_keys(annotation: Any, value: Any, key: Key, where: str) -> None:
    """Refuse keys that no dataclass has, and numbers that JSON cannot hold, anywhere below ``value``."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {'.'.join(key)} is {value}, expected a finite number")
    if isinstance(value, Mapping):
        tables = [member for member in _members(annotation) if _is_table(member)]
        if len(tables) > 1:
            raise TypeError(
                f"the option {'.'.join(key)} can be several kinds of table, expected at most one: {annotation}"
            )
        cls = tables[0] if tables else dict[str, Any]
        for name, item in value.items():
            inner = (*key, str(name))
            _check_keys(_field_type(cls, str(name), inner, where), item, inner, where)
    elif isinstance(value, (list, tuple)):
        lists = [member for member in _members(annotation) if typing.get_origin(member) in (list, tuple, Sequence)]
        inside = tuple(part for member in lists for part in typing.get_args(member) if part is not ...)
        for index, item in enumerate(value):
            _check_keys(typing.Union[inside] if inside else Any, item, (*key, str(index)), where)  # noqa: UP007


def _field_type(cls: Any, name: str, key: Key, where: str) -> Any:
    """The type of the field ``name`` of a dataclass, or of any value of a ``dict[str, X]``."""
    if not dataclasses.is_dataclass(cls):
        return (typing.get_args(cls) or (Any, Any))[1]
    valid = [field.name for field in dataclasses.fields(cls) if field.init]
    if name not in valid:
        raise ConfigError(f"{where}: unknown key {'.'.join(key)}{_did_you_mean(name, valid)}")
    return typing.get_type_hints(cls, include_extras=True)[name]


def _members(annotation: Any) -> list[Any]:
    """The types of a union, without ``Annotated``; one type alone is a union of one."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _members(parts[0])
    if origin in (typing.Union, types.UnionType):
        return [member for part in parts for member in _members(part)]
    return [annotation]


def _is_table(annotation: Any) -> bool:
    return dataclasses.is_dataclass(annotation) or (typing.get_origin(annotation) or annotation) in (dict, Mapping)


def _did_you_mean(name: str, valid: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    return (f"; did you mean {close[0]}?" if close else ";") + f" valid keys: {', '.join(valid) or 'none'}"


def _explain(errors: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> str:
    """One line for the first failing key; a union reports one error for each of its members."""
    key, given = _locate(errors[0], data)
    name = ".".join(key) or "the options"
    if errors[0]["type"] == "missing":
        return f"{'.'.join(map(str, errors[0]['loc']))} is missing and has no default"
    if errors[0]["type"] == "value_error":  # raised by a dataclass's own check, in its own words
        return f"{name}: {errors[0]['ctx']['error']}"
    expected = dict.fromkeys(_expectation(error["msg"]) for error in errors if _locate(error, data)[0] == key)
    return f"{name} is {_show(given)}, expected {' or '.join(expected)}"


def _locate(error: Mapping[str, Any], data: Any) -> tuple[Key, Any]:
    """The key and the value that ``error`` is about; pydantic ends a location with names of union members."""
    key: Key = ()
    for part in error["loc"]:
        inside = (
            part in data if isinstance(data, Mapping) else isinstance(data, (list, tuple)) and isinstance(part, int)
        )
        if not inside:
            break
        key, data = (*key, str(part)), data[part]
    return key, data


def _expectation(message: str) -> str:
    text = message.removeprefix("Input should be ")
    return _WORDS.get(text, text)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _copy(value: Any) -> Any:
    """Tables copied, everything else shared."""
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value

"""Every setting of every kind of experiment: key, default, range and meaning, read from the options themselves."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, NamedTuple

from metarl.config import to_plain
from metarl.data.recall import RECALL_TASKS
from metarl.envs.table import FAMILIES
from metarl.experiments.recall.candidates import candidates
from metarl.memory.registry import ACCESSES, CONTROLLERS, NATIVE, STORES
from metarl.presets.names import GIVEN, KINDS, OTHER
from metarl.tasks.family.env_family import EnvFamily
from metarl.tasks.trial.layout import TrialInputs

NAMES = {
    "memory.controller": tuple(CONTROLLERS),
    "memory.store": ("none", *STORES),
    "memory.access": ("none", *ACCESSES, NATIVE),
}
"""What the names of parts of a memory may be."""
PARTS = {"controller": CONTROLLERS, "store": STORES, "access": ACCESSES}
SPLITS = {
    "train": "options that replace those of the family for training tasks, or the levels alone",
    "validation": "the same for validation tasks",
    "test": "the same for test tasks",
    "import": "modules to import first, because they register the ids",
    "id": "a family of this package, or an environment of Gymnasium's or your own; several: a list",
}
"""Settings of ``env`` that no class has as a field."""


class Setting(NamedTuple):
    """One key that ``--set`` and presets take.

    Args:
        kind: of the experiment.
        key: with its sections.
        default: None: left out.
        range: what values there are, in words.
        about: what it means.
        where: the key and the value of another setting without which this one has no meaning; None: always.
        required: whether it must be given.
    """

    kind: str
    key: str
    default: Any
    range: str
    about: str
    where: tuple[str, str] | None = None
    required: bool = False


def all_settings() -> list[Setting]:
    """The settings of every kind of experiment, in the order of its fields."""
    return [one for kind, name in KINDS.items() for one in _table(kind, resolve_name(name), "", None)]


def _table(kind: str, cls: type, prefix: str, where: tuple[str, str] | None) -> Iterator[Setting]:
    """The settings of a dataclass whose key begins with ``prefix``."""
    hints, meanings = typing.get_type_hints(cls, include_extras=True), documented(cls)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        key, hint = prefix + field.name, hints[field.name]
        table, optional = _dataclass(hint)
        if key == "env":
            yield from _env(kind)
        elif table is not None:
            yield from _table(kind, table, f"{key}.", (key, GIVEN) if optional else where)
        elif field.name.endswith("_options") and prefix.endswith("memory."):
            part = field.name.removesuffix("_options")
            for name, entry in PARTS[part].items():
                yield from _table(kind, entry.load()[1], f"{key}.", (f"{prefix}{part}", name))
        else:
            values = _names(key) or shown(hint)
            if least := getattr(cls, "counts", {}).get(field.name):  # of a family of tasks
                values = f"{values} ≥ {least}"
            needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            about = meanings.get(field.name, "")
            yield Setting(kind, key, _default(field), values, about, where, required=needed)


def _env(kind: str) -> Iterator[Setting]:
    """The settings of ``env``: of the trial, of each family of this package, and of any other environment."""
    yield Setting(kind, "env.id", None, "text or list of text", SPLITS["id"], required=True)
    yield Setting(kind, "env.import", None, "text or list of text", SPLITS["import"])
    yield from _table(kind, TrialInputs, "env.", None)
    for name, cls in {**{name: resolve_name(place) for name, place in FAMILIES.items()}, OTHER: EnvFamily}.items():
        for one in _table(kind, cls, "env.", ("env.id", name)):
            if one.key not in ("env.split", "env.env", "env.imports"):  # the first isn't set, others are id and import
                yield one
    for split in ("train", "validation", "test"):
        yield Setting(kind, f"env.{split}", None, "table or text", SPLITS[split], ("env.id", OTHER))


def _dataclass(hint: Any) -> tuple[Any, bool]:
    """The dataclass that a field holds, if it does, and whether it may be left out."""
    parts = (
        typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else ()
    )
    found = next((part for part in (parts or (hint,)) if dataclasses.is_dataclass(part)), None)
    return found, type(None) in parts


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return to_plain(field.default)
    return None if field.default_factory is dataclasses.MISSING else to_plain(field.default_factory())


def _names(key: str) -> str | None:
    """The names of parts that a setting may have."""
    own = {"task": tuple(RECALL_TASKS), "memory": tuple(candidates())}
    known = next((names for end, names in NAMES.items() if key == end or key.endswith(f".{end}")), own.get(key))
    return None if known is None else ", ".join(known)


WORDS = {bool: "true or false", int: "integer", float: "number", str: "text"}


def shown(hint: Any) -> str:
    """The values of a type in words.

    >>> from annotated_types import Ge, Le
    >>> shown(typing.Annotated[int, Ge(1), Le(9)] | None), shown(typing.Literal["a", "b"])
    ('integer from 1 to 9', 'a, b')
    """
    if hint in WORDS:
        return WORDS[hint]
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return shown(parts[0]) + _bounds(parts[1:])
    if origin is typing.Literal:
        return ", ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        said = [shown(part) for part in parts if part is not type(None) and typing.get_origin(part) is not Callable]
        return " or ".join(dict.fromkeys(said))
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        inner = [shown(part) for part in parts if part is not Ellipsis]
        return f"list of {inner[0]}" if Ellipsis in parts or len(inner) == 1 else f"list [{', '.join(inner)}]"
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "table"
    return "text, list or table"


def _bounds(bounds: tuple[Any, ...]) -> str:
    said = {name: getattr(bound, name) for bound in bounds for name in ("ge", "gt", "le", "lt") if hasattr(bound, name)}
    if set(said) == {"ge", "le"}:
        return f" from {said['ge']:g} to {said['le']:g}"
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return " " + " and ".join(f"{signs[name]} {value:g}" for name, value in said.items()) if said else ""


def documented(cls: type) -> dict[str, str]:
    """What the docstring of a class, or of one that it inherits from or refers to, says of each argument."""
    found: dict[str, str] = {}
    inherited: set[str] = set()
    for base in reversed(cls.__mro__):
        text = inspect.cleandoc(base.__doc__ or "") if base is not object else ""
        if referred := re.search(r"see :class:`([\w.]+)`", text.partition("Args:")[0]):
            found |= _arguments(inspect.cleandoc(resolve_name(referred[1]).__doc__ or ""))
        for name, about in _arguments(text).items():
            found[name] = f"{found[name]}; {about}" if name in inherited else about
        inherited = set(found)
    return found


def _arguments(text: str) -> dict[str, str]:
    """The section ``Args`` of a docstring."""
    section = re.search(r"^Args:\n((?:(?: +.*)?\n?)*)", text, re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: plain(about) for name, about in entries}


def plain(text: str) -> str:
    """Without what only Sphinx reads."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", " ".join(text.split()))
    return text.replace("``", "").rstrip(".")

"""Code that is named as text: modules that register environments, and what lies in a module.

Whoever runs a command may name any code. A run folder may come from somebody else: what it names is used only where its
module is allowed, see :func:`not_allowed`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

import gymnasium as gym

from metarl.config import InputError
from metarl.types import SPLITS

CODE = (
    "id",
    "env",
    "wrap",
    "apply",
    "encoder",
)  # options whose text is an id or code: "module:Id-v0", "module:function"
IMPORTS = ("import", "imports")
RANGES = ("log:", "int:", "normal:")  # ranges that are written with a colon too


def import_modules(names: Iterable[str]) -> None:
    """Import modules that register environments.

    Raises:
        ValueError: one cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"cannot import {name!r}: {error}; install it, or start in the folder that it lies in"
            ) from None
        except Exception as error:  # whatever the code of a user's module may raise
            raise ValueError(f"cannot import {name!r}: {type(error).__name__}: {error}; correct the module") from error


def module_of(text: str) -> str:
    """The module before the colon; empty where there is none."""
    return text.rpartition(":")[0]


def lookup(text: str) -> Callable[..., Any] | None:
    """The callable that ``"module:name"`` names; None where there is none. The module is imported.

    Raises:
        ValueError: the module cannot be imported.
    """
    module, _, name = text.rpartition(":")
    import_modules([module] if module else [])
    found = getattr(sys.modules[module], name, None) if module else None
    return found if callable(found) else None


def as_callable(key: str, given: Any) -> Callable[..., Any]:
    """``given`` itself, or what it names as ``"module:name"``.

    Args:
        key: the name of the option, for the error.
        given: a callable, or text.

    Raises:
        InputError: it is neither, or the module has no callable of this name.
    """
    found = lookup(given) if isinstance(given, str) else given
    if not callable(found):
        raise InputError(key=key, given=given, expected='a callable, or text "module:name" that names one')
    return found


def not_allowed(table: Mapping[str, Any], allowed: Container[str] = ()) -> list[str]:
    """The modules of code that an ``[env]`` or ``[policy]`` table of a run folder names, and that it may not use.

    Allowed are the modules in ``allowed``, and ids that modules imported before have registered: with other code of any
    module, even one of Python's own, a file could do what it likes. Nothing is imported here. Besides the options that
    are code, any text in the table counts that reads like ``package.module:name`` or ``package.module.name`` of a
    package that could be imported: some environments import what their arguments name.
    """
    named = []
    for text in _named(table, CODE):
        module, name = module_of(text), text.rpartition(":")[2]
        if module and not (module in sys.modules and name in gym.registry):
            named.append(module)
    named += [*(name for name in _named(table, IMPORTS) if name not in sys.modules), *_meant(table)]
    return [name for name in dict.fromkeys(named) if name not in allowed]


def named_modules(table: Mapping[str, Any]) -> Iterator[str]:
    """The modules that the options of an ``[env]`` or ``[policy]`` table name."""
    yield from _named(table, IMPORTS)
    yield from filter(None, map(module_of, _named(table, CODE)))


def _named(table: Mapping[str, Any], options: Container[str]) -> Iterator[str]:
    """The texts of some options, in the tables of splits too."""
    for key, value in table.items():
        if key in SPLITS and isinstance(value, Mapping):
            yield from _named(value, options)
        elif key in options:
            yield from _texts(value)


def _meant(table: Mapping[str, Any]) -> Iterator[str]:
    """The packages that any other text may mean."""
    for key, value in table.items():
        if key in SPLITS and isinstance(value, Mapping):
            yield from _meant(value)
        elif key not in (*IMPORTS, *CODE):
            for text in _texts(list(value.values()) if isinstance(value, Mapping) else value):
                yield from (_packages(text) if not (key == "vary" and text.startswith(RANGES)) else ())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in [*value, *value.values()] if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _packages(text: str) -> Iterator[str]:
    for part in text.split(","):
        path, colon, _ = part.strip().partition(":")
        package, dot, _ = path.partition(".")
        named = (colon or dot) and all(word.isidentifier() for word in path.split("."))
        if named and package not in sys.modules and importlib.util.find_spec(package) is not None:
            yield package

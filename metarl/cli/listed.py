"""What is listed without importing it: every setting, and every memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from metarl.cli.table import Rows
from metarl.config import load_toml
from metarl.presets.names import GIVEN, OTHER, kind_of, preset_path

LISTED = "listed.json"
"""What can be listed without importing it: made by ``make reference`` from the code, which a test compares."""


@cache
def listed() -> dict[str, Rows]:
    """The settings of all kinds and the memories, as plain data."""
    text = (resources.files("metarl.cli") / LISTED).read_text(encoding="utf-8")
    data: dict[str, Rows] = json.loads(text)
    return data


def of_preset(preset: str) -> Rows:
    """The settings that have a meaning in a preset, each with the ``value`` that it has there.

    Raises:
        ConfigError: there is no such preset, or its file can't be read.
    """
    path = preset_path(preset)
    config = {"name": path.stem, **load_toml(path)}
    kind = kind_of(config, path.stem)
    own = [one for one in listed()["settings"] if one["kind"] == kind]
    optional = {one["where"][0] for one in own if one["where"] and one["where"][1] == GIVEN}
    left_out = tuple(f"{table}." for table in optional if value_of(config, table) is None)
    defaults = {one["key"]: one["default"] for one in own}
    families = {one["where"][1] for one in own if one["where"] and one["where"][0] == "env.id"} - {OTHER}

    def applies(where: list[str] | None) -> bool:
        if where is None or where[1] == GIVEN:
            return True
        at = value_of(config, where[0], defaults.get(where[0]))
        return at not in families if where[1] == OTHER else at == where[1]

    chosen = [one for one in own if not one["key"].startswith(left_out) and applies(one["where"])]
    return [{**one, "value": value_of(config, one["key"], one["default"])} for one in chosen]


def value_of(config: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """What nested tables hold at a key.

    Args:
        config: the tables.
        key: with dots.
        default: where they hold nothing there.
    """
    at: Any = config
    for part in key.split("."):
        if not isinstance(at, Mapping) or part not in at:
            return default
        at = at[part]
    return at


def keys(preset: str | None) -> list[str]:
    """The keys of a preset; of none, or of one that can't be read, all there are."""
    try:
        rows = listed()["settings"] if preset is None else of_preset(preset)
    except ValueError:
        rows = listed()["settings"]
    return list(dict.fromkeys(one["key"] for one in rows))

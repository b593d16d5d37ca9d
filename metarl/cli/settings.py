"""``metarl settings``: every key that presets and ``--set`` take."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from metarl.cli.completion import complete_presets, completed_by
from metarl.cli.table import Rows, print_table
from metarl.cli.terminal import OK, add_command, checked

LISTED = "listed.json"
"""What can be listed without importing it: made by ``make reference`` from the code, which a test compares."""
GIVEN, OTHER = "given", "of Gymnasium or your own"  # as in metarl.experiments.settings


def add_settings_command(commands: Any) -> None:
    """``metarl settings`` and its options."""
    settings = add_command(
        commands,
        "settings",
        "list the settings of a preset, or all: key, default, range and meaning",
        """
        metarl settings bandit
        metarl settings prototypical --json
        metarl train bandit --set train.n_envs=64     # how one is changed
        """,
        "Presets are TOML files with these keys; --set KEY=VALUE changes one.",
    )
    preset = settings.add_argument(
        "preset", nargs="?", help="name of a preset, or path of a TOML file; left out: the settings of all kinds"
    )
    completed_by(preset, complete_presets)
    settings.add_argument("--json", action="store_true", help="print JSON instead of a table")
    settings.set_defaults(act=run_settings)


def run_settings(args: argparse.Namespace) -> int:
    """``metarl settings``."""
    rows = listed()["settings"] if args.preset is None else checked(lambda: of_preset(args.preset))
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table([row_of(one) for one in rows])
    return OK


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
    from metarl.config import load_toml
    from metarl.presets.names import kind_of, preset_path

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
    """What nested tables hold at a dotted key."""
    at: Any = config
    for part in key.split("."):
        if not isinstance(at, Mapping) or part not in at:
            return default
        at = at[part]
    return at


def row_of(setting: Mapping[str, Any]) -> dict[str, str]:
    """A setting as a row of a table; without a preset it says what it is a setting of."""
    default = "required" if setting["required"] else shown(setting["default"])
    row = {"key": setting["key"]}
    if "value" in setting:
        row |= {"value": shown(setting["value"]), "default": default}
    else:
        row |= {"of": of(setting), "default": default}
    return row | {"range": setting["range"], "meaning": setting["about"]}


def of(setting: Mapping[str, Any]) -> str:
    """The kind of experiment, and the other setting without which this one has no meaning."""
    if not setting["where"]:
        return str(setting["kind"])
    key, value = setting["where"]
    return f"{setting['kind']}, {f'a table {key}' if value == GIVEN else f'{key} {value}'}"


def shown(value: Any) -> str:
    """A value as in TOML; a dash for one that is left out."""
    if value is None:
        return "–"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def keys(preset: str | None) -> list[str]:
    """The keys of a preset; of none, or of one that can't be read, all there are."""
    try:
        rows = listed()["settings"] if preset is None else of_preset(preset)
    except ValueError:
        rows = listed()["settings"]
    return list(dict.fromkeys(one["key"] for one in rows))

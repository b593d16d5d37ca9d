"""``metarl settings``: every key that presets and ``--set`` take."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from metarl.cli.completion import complete_presets, completed_by
from metarl.cli.listed import listed, of_preset
from metarl.cli.table import print_table
from metarl.cli.terminal import OK, add_command, checked
from metarl.presets.names import GIVEN


def add_settings_command(commands: Any) -> None:
    """``metarl settings`` and its options."""
    settings = add_command(
        commands,
        "settings",
        "list the settings of a preset, or all settings, with default, range and meaning",
        """
        metarl settings bandit
        metarl settings prototypical --json
        metarl train bandit --set train.n_envs=64     # how one is changed
        """,
        "Presets are TOML files that use these keys; --set KEY=VALUE changes a single value.",
    )
    preset = settings.add_argument(
        "preset",
        nargs="?",
        help="name of a preset or path of a TOML file; if left out, all settings are listed",
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

"""What a shell is told where it asks how a word goes on; argcomplete talks to it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

LATEST = "latest"
RUNS = Path("runs")
"""Where ``metarl train`` puts runs that were given no folder."""


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process, where it asks for completions."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


def completed_by(argument: argparse.Action, completer: Callable[..., list[str]]) -> None:
    """Let the values of an argument be completed by a function."""
    vars(argument)["completer"] = completer  # where argcomplete looks for it


def complete_presets(prefix: str, **_: Any) -> list[str]:
    """The presets that begin so."""
    from metarl.presets.names import presets

    return [name for name in presets() if name.startswith(prefix)]


def complete_settings(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The settings of the preset that begin so; of a run and without a preset, all of them."""
    from metarl.cli.listed import keys

    return [f"{key}=" for key in keys(getattr(parsed_args, "preset", None)) if key.startswith(prefix)]


def complete_runs(prefix: str, **_: Any) -> list[str]:
    """The folders of runs, and entries of the zoo, that begin so."""
    from metarl.runs.entries import PREFIX, entries

    found = [LATEST, *(str(path.parent) for path in RUNS.glob("*/config.json")), *(PREFIX + name for name in entries())]
    return [name for name in found if name.startswith(prefix)]

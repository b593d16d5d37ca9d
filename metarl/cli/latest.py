"""The word ``latest`` in place of a run folder."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from metarl.cli.completion import LATEST, RUNS, complete_runs, completed_by
from metarl.config import InputError
from metarl.files import read_json
from metarl.runs.entries import PREFIX


def add_run(command: argparse.ArgumentParser, about: str, *, several: bool = False) -> None:
    """The argument of a command that takes a run folder, or several.

    Args:
        command: of the command line.
        about: what the help says of it.
        several: whether it takes more than one.
    """
    told = f"{about}; '{LATEST}' is the most recent run in {RUNS}/"
    if several:
        argument = command.add_argument("runs", type=Path, metavar="RUN", nargs="+", help=told)
    else:
        told = f"{told}, and {PREFIX}NAME is a model from the zoo"
        argument = command.add_argument("run", type=Path, metavar="RUN", help=told)
    completed_by(argument, complete_runs)


def found(args: argparse.Namespace) -> None:
    """Put the path of the latest run where the arguments of a command say so.

    Raises:
        InputError: there is none.
    """
    for name in ("run", "resume"):
        if getattr(args, name, None) == Path(LATEST):
            setattr(args, name, latest())
    if hasattr(args, "runs"):
        args.runs = [latest() if path == Path(LATEST) else path for path in args.runs]


def latest() -> Path:
    """The run that was begun last in :data:`RUNS`.

    Raises:
        InputError: there is none.
    """
    begun = {path: when for path in folders(RUNS) if (when := started(path)) is not None}
    if not begun:
        raise InputError(f"there is no run in {RUNS}/ yet, so there is no {LATEST} one", key="RUN")
    return max(begun, key=lambda path: (begun[path], path.name))


def folders(root: Path) -> list[Path]:
    """The run folders in ``root``, by name."""
    return sorted(path.parent for path in root.glob("*/config.json"))


def started(run: Path) -> datetime | None:
    """When a run was begun; None where it doesn't say."""
    try:
        return datetime.fromisoformat(read_json(run / "meta.json")["started"]).astimezone()
    except (OSError, ValueError, KeyError, TypeError):  # an InputError is a ValueError
        return None

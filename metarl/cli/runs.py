"""``metarl runs``: the runs there are."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from metarl.cli.completion import RUNS
from metarl.cli.latest import folders, started
from metarl.cli.table import print_table
from metarl.cli.terminal import OK, add_command
from metarl.config import InputError

TAIL = 2**16  # bytes at the end of a metrics.jsonl that are searched for its last row
AXES = ("env_steps", "episodes", "sequences")
LEARNED = {"rollout/ep_rew_mean": "return", "validation/accuracy": "accuracy", "train/accuracy": "accuracy"}
"""What metrics tell of a run that isn't evaluated yet, and what it is called."""


def add_runs(commands: Any) -> None:
    """``metarl runs`` and its options."""
    runs = add_command(
        commands,
        "runs",
        "list the runs in a folder, newest first",
        """
        metarl runs
        metarl runs FOLDER --json
        metarl eval latest               # the most recent run in runs/
        """,
        "The status 'cut off' means that the process was killed; metarl train --resume continues such a run.",
    )
    runs.add_argument(
        "folder", type=Path, nargs="?", default=RUNS, help=f"folder that holds the run folders (default {RUNS})"
    )
    runs.add_argument("--json", action="store_true", help="print JSON instead of a table")
    runs.set_defaults(act=run_runs)


def run_runs(args: argparse.Namespace) -> int:
    """``metarl runs``."""
    found = [(started(path), path) for path in folders(args.folder)]
    found.sort(key=lambda one: (one[0].timestamp() if one[0] else 0.0, one[1].name), reverse=True)
    rows = [row(path) for _, path in found]
    if args.json:
        times = [None if when is None else when.isoformat() for when, _ in found]
        print(json.dumps([{**one, "started": when} for one, when in zip(rows, times, strict=True)], indent=2))
    elif rows:
        ages = ["" if when is None else age(when) for when, _ in found]
        print_table([{**one, "age": old} for one, old in zip(rows, ages, strict=True)])
    else:
        print(f"there are no runs in {args.folder}; metarl train bandit makes one in {RUNS}/")
    return OK


def row(path: Path) -> dict[str, Any]:
    """What is listed of a run; of a damaged one as much as can be read."""
    from metarl.evaluation.results import read_evaluation
    from metarl.report.score import score
    from metarl.runs.folder import RunFolder
    from metarl.runs.status import PRUNED

    folder = RunFolder(path)
    told: dict[str, Any] = {"name": path.name, "preset": "", "status": "damaged", "steps": None, "result": ""}
    try:
        config, status = folder.config, folder.status
        last = {} if status.get("trained") else last_row(path / "metrics.jsonl")
        evaluation = read_evaluation(folder)
    except (InputError, OSError):
        return told
    told["preset"] = config.get("name") or config.get("kind", "")
    told["status"] = "cut off" if status["status"] == "running" and not folder.held else status["status"]
    told["status"] = PRUNED if status.get("ended") == PRUNED else told["status"]
    told["steps"] = status.get("train_steps") or next((int(last[axis]) for axis in AXES if axis in last), 0)
    learned = [f"{word} {last[name]:.4g} in training" for name, word in LEARNED.items() if last.get(name) is not None]
    told["result"] = str(score(evaluation)) if evaluation is not None else "".join(learned[:1])
    return told


def last_row(path: Path) -> Mapping[str, Any]:
    """The last whole row of a ``metrics.jsonl``; empty where there is none, or it is damaged."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().split(b"\n")[:-1]  # what follows the last newline is unfinished
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, int | float)} if isinstance(found, dict) else {}


def age(begun: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0.0, (datetime.now().astimezone() - begun).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"

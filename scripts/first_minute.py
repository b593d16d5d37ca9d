"""How soon a newcomer sees something: ``python scripts/first_minute.py`` on an idle machine, from a clean checkout.

It clones this checkout, installs the clone in a new environment (pip's cache should hold the wheels: run it twice), and
lets an agent of the zoo be watched. Rows go into docs/results/first_minute.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from results.rows import ROOT, Row, commit, upsert

RESULTS = ROOT / "docs" / "results" / "first_minute.json"
COMMAND = "python scripts/first_minute.py"
WATCH = ("watch", "zoo:bandit", "--steps", "48", "--out", "trial.gif")
FRAMES = 48  # of the picture
CLONE, INSTALL, PICTURE = "git clone", "pip install -e ., wheels cached", f"metarl {' '.join(WATCH)}"


def seconds(command: Sequence[str], folder: Path) -> float:
    """How long a command takes.

    Args:
        command: and its arguments; it must succeed.
        folder: where it runs.
    """
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=without_ours(), capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return took


def without_ours() -> dict[str, str]:
    """The environment of a newcomer, in which no path leads to this checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def measured(base: Path, pip: Sequence[str]) -> dict[str, float]:
    """Seconds of each step by its name, and that the picture is there.

    Args:
        base: an empty folder.
        pip: further arguments of ``pip install``.
    """
    clone, tools = base / "clone", base / "clone" / ".venv" / "bin"
    took = {CLONE: seconds(["git", "clone", "--quiet", str(ROOT), str(clone)], base)}
    took[INSTALL] = seconds([sys.executable, "-m", "venv", ".venv"], clone)
    install = [str(tools / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pip]
    took[INSTALL] += seconds([*install, "-c", "constraints.txt", "-e", "."], clone)
    took[PICTURE] = seconds([str(tools / "metarl"), *WATCH], clone)
    with Image.open(clone / "trial.gif") as picture:
        if (found := getattr(picture, "n_frames", 1)) != FRAMES:
            raise SystemExit(f"trial.gif has {found} frames, expected {FRAMES}")
    return took


def rows(took: dict[str, float], started: str) -> list[Row]:
    """Rows of the results.

    Args:
        took: seconds of each step.
        started: the commit that was cloned.
    """
    goals = {PICTURE: 20.0}
    whole = "clone, install, watch: to an animation of an agent that adapts"
    each = {**took, whole: sum(took.values())}
    goals[whole] = 240.0
    return [
        Row(
            setting=f"a clean clone, {os.cpu_count()} cores",
            method=name,
            metric="seconds",
            ours=round(value, 1),
            se=None,
            n_tasks=0,
            seeds=(0,),
            goal=(None, goals.get(name)),
            references={},
            command=COMMAND,
            train_seconds=0.0,
            train_steps=0,
            commit=started,
        )
        for name, value in each.items()
    ]


def main() -> None:
    """Measure and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pip", default="", metavar="ARGS", help="further arguments of pip install")
    args = parser.parse_args()
    started = commit()
    with tempfile.TemporaryDirectory() as base:
        took = measured(Path(base), args.pip.split())
    for made in rows(took, started):
        upsert(RESULTS, made)
        print(f"{made.method}: {made.ours:.1f} s")


if __name__ == "__main__":
    main()

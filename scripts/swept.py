"""A sweep on two processes, one of which is killed: ``python scripts/swept.py [--rounds N]``.

Each round sweeps 20 trials on two processes that were started alike, kills one of them with SIGKILL in the middle of a
trial, and compares the table with that of one process that was never killed. Rows go into docs/results/scaling.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from killing import metarl, process
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

from metarl.runs.folder import RunFolder

COMMAND = "python scripts/swept.py"
RESULTS = ROOT / "docs" / "results" / "scaling.json"
TRIALS = 20
SETTINGS = [
    *("env.arms=3", "env.pulls=10", "memory.key_size=12", "memory.value_size=12", "train.n_envs=8"),
    *("memory.controller_options.hidden_size=8", "train.total_timesteps=800", "checkpoint_seconds=0"),
    *("ppo.n_epochs=1", "eval.validation_trials=20"),
]
SWEEP = ["sweep", "bandit", "--set", *SETTINGS, "--random", "ppo.learning_rate=1e-4..1e-1:log", "--json"]
SWEEP += ["--trials", str(TRIALS), "--seed"]


def table(seed: int, folder: Path) -> list[dict[str, Any]]:
    """The rows that one process prints in the end."""
    status, out, err = metarl(*SWEEP, str(seed), "--out", folder)
    if status:
        raise RuntimeError(err)
    rows: list[dict[str, Any]] = json.loads(out)["results"]
    return rows


def under_way(folder: Path) -> list[Path]:
    """The runs that a process trains now."""
    return [path for path in sorted(folder.glob("trial-*")) if RunFolder(path).held]


def finished(folder: Path) -> int:
    """How many runs are finished."""
    return sum('"finished"' in path.read_text() for path in folder.glob("trial-*/status.json"))


def killed(seed: int, folder: Path, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The rows of two processes, the first of which is killed once both train and some trials are done."""
    first = process(*SWEEP, str(seed), "--out", folder)
    other = None
    try:
        while not (folder / "sweep.json").exists():
            time.sleep(0.05)
        other = process(*SWEEP, str(seed), "--out", folder)
        after = int(rng.integers(2, TRIALS - 5))
        while finished(folder) < after or len(under_way(folder)) < 2:
            if first.poll() is not None:
                raise RuntimeError(f"the first process ended before it was killed: {first.communicate()[1]}")
            time.sleep(0.02)
        first.kill()
        first.communicate()
        _, err = other.communicate(timeout=3600)
        if other.returncode:
            raise RuntimeError(err)
    finally:
        for one in (first, other):
            if one is not None and one.poll() is None:
                one.kill()
                one.communicate()
    return table(seed, folder)  # as anybody sees it who asks again


def twice(rows: list[dict[str, Any]], folder: Path) -> int:
    """Trials that are in the table more than once, and runs that are there more than once."""
    counted = Counter(row["trial"] for row in rows)
    return sum(count - 1 for count in counted.values()) + len(list(folder.glob("trial-*"))) - len(counted)


def main() -> None:
    """Sweep, kill, compare, and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="sweeps in which a process is killed")
    args = parser.parse_args()
    version, rng, start = commit(), np.random.default_rng(0), time.monotonic()
    there, again, other, resumed = [], 0, 0, 0
    for seed in range(args.rounds):
        with tempfile.TemporaryDirectory() as place:
            two, one = Path(place) / "two", Path(place) / "one"
            rows, alone = killed(seed, two, rng), table(seed, one)
            there.append(len({row["trial"] for row in rows if row["state"] == "done"}))
            again += twice(rows, two)
            other += sum(
                (row["trial"], row["values"]) not in [(a["trial"], a["values"]) for a in alone] for row in rows
            )
            resumed += sum(bool(RunFolder.open(run).meta.resumed) for row in rows for run in row["runs"])
        print(
            f"round {seed}: {there[-1]} of {TRIALS} trials in the table, {again} twice, {other} other values",
            flush=True,
        )
    found = (
        (f"trials done and in the table, of {TRIALS} (the fewest of all sweeps)", min(there), (TRIALS, None)),
        ("trials or runs that are there twice", again, (None, 0.0)),
        ("trials with another value than where no process is killed", other, (None, 0.0)),
    )
    for metric, ours, goal in found:
        row = Row(
            setting=f"sweep of {TRIALS} trials on 2 processes, one killed (SIGKILL) in the middle of a trial",
            method="metarl sweep, journal file",
            metric=metric,
            ours=float(ours),
            se=None,
            n_tasks=0,
            seeds=tuple(range(args.rounds)),
            goal=goal,
            references={"sweeps": args.rounds, "runs that another process went on with": resumed},
            command=COMMAND,
            train_seconds=0.0,
            train_steps=0,
            commit=version,
        )
        upsert(RESULTS, row)
    write_markdown(ROOT / "docs")
    print(f"{args.rounds} sweeps in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"a process hangs: {error}") from None

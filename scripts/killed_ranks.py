"""Processes that train together, of which one is killed: ``python scripts/killed_ranks.py [--kills N] [--seed N]``.

A toy training in two processes is carried out once as it is. Then, N times, one of the two is killed (-9) at a random
instant from when the run folder is there, in turn the first and the second; ``torchrun --max-restarts`` starts both
again. The run must end by itself as the one that was never cut off: weights, metrics, records and evaluation, and no
row of metrics twice. The count goes into docs/results/scaling.json. Linux only; about five minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from killed_runs import BANDIT, leftovers
from killing import differences, left, members
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

from metarl.runs.folder import RunFolder

ROWS = ROOT / "docs" / "results" / "scaling.json"
COMMAND = "python scripts/killed_ranks.py"
PROCESSES = 2
PRESET = BANDIT + "train = { total_timesteps = 9600, n_envs = 16 }\nppo = { n_minibatches = 4 }\n"
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
LAUNCH += ["--max-restarts=3", "--monitor-interval=0.1", "-m", "metarl", "train"]


def job(preset: Path, folder: Path) -> subprocess.Popen[str]:
    """A training by two processes in a session of their own."""
    given = [*LAUNCH, str(preset), "--quiet", "--out", str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = open(folder.with_suffix(".log"), "w")  # noqa: SIM115 (the job writes to it until it ends)
    started = subprocess.Popen(given, stdout=log, stderr=log, text=True, env=env, start_new_session=True)
    log.close()
    return started


def process_of(leader: int, rank: int) -> int | None:
    """The process of a rank, by what ``torchrun`` told it; None where it has ended."""
    for one in members(leader):
        with contextlib.suppress(OSError):  # it has just ended
            told = Path(f"/proc/{one}/environ").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{one}/stat").read_text().rpartition(") ")[2].split()[1])
            if f"RANK={rank}".encode() in told and parent == leader:
                return one
    return None


def began(started: subprocess.Popen[str], folder: Path) -> float:
    """When the run folder is there."""
    while not folder.exists() and started.poll() is None:
        time.sleep(0.001)
    return time.monotonic()


def killed(preset: Path, folder: Path, rank: int, seconds: float, whole: RunFolder) -> dict[str, Any] | None:
    """Kill a rank so many seconds after the folder is there: where that was, and what was wrong afterwards.

    None where the process had ended before.
    """
    started = job(preset, folder)
    try:
        began(started, folder)
        time.sleep(seconds)
        if (victim := process_of(started.pid, rank)) is None:
            return None
        os.kill(victim, signal.SIGKILL)
        rows = folder / "metrics.jsonl"
        at = rows.read_bytes().count(b"\n") if rows.exists() else 0
        status = started.wait(300)
        alive = left(started.pid)
    finally:
        for one in members(started.pid):
            os.kill(one, signal.SIGKILL)
        started.wait()
    if status:
        return {"wrong": [f"status {status}: {folder.with_suffix('.log').read_text()[-2000:]}"], "rows": at}
    run = RunFolder.open(folder)
    steps = [row["env_steps"] for row in run.metrics()]
    wrong = [f"{name} differs" for name in differences(run, whole)] + leftovers(folder)
    wrong += ["a row is there twice"] if len(set(steps)) < len(steps) else []
    wrong += [f"{len(alive)} processes are left"] if alive else []
    wrong += [f"status {run.status}"] if run.status["status"] != "finished" else []
    return {"wrong": wrong, "rows": at, "resumed": len(run.meta.resumed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10, help="jobs (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default 0)")
    parser.add_argument("--rows", type=Path, default=ROWS, help=f"file of rows (default {ROWS.relative_to(ROOT)})")
    args = parser.parse_args()
    version, rng = commit(), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        preset = work / "toy.toml"
        preset.write_text(PRESET)
        started = job(preset, work / "whole")
        since = began(started, work / "whole")
        if started.wait(300):
            sys.exit((work / "whole.log").read_text())
        seconds, whole = time.monotonic() - since, RunFolder.open(work / "whole")
        print(f"never cut off: {len(whole.metrics())} rows in {seconds:.1f} s", flush=True)
        tries: list[dict[str, Any]] = []
        attempt = 0
        while len(tries) < args.kills:
            attempt, rank = attempt + 1, len(tries) % PROCESSES
            when = rng.uniform(0, seconds)
            made = killed(preset, work / f"killed{attempt}", rank, when, whole)
            if made is not None:  # else it had ended before
                tries.append(made)
                print(f"process {rank} killed after {when:.1f} s, {made['rows']} rows: {made['wrong'] or 'equal'}")
    resumed = Counter("resumed" if one.get("resumed") else "begun anew" for one in tries)
    upsert(
        args.rows,
        Row(
            setting=f"kill -9 of one of {PROCESSES} processes at {args.kills} random instants, torchrun --max-restarts",
            method="an agent in a family of this package",
            metric=f"jobs of {args.kills} that ended as if never killed, with no row twice, and no process left",
            ours=float(sum(not one["wrong"] for one in tries)),
            se=None,
            n_tasks=0,
            seeds=(args.seed,),
            goal=(float(args.kills), float(args.kills)),
            references={name: float(number) for name, number in resumed.items()},
            command=COMMAND,
            train_seconds=0.0,
            train_steps=0,
            commit=version,
        ),
        alone=True,
    )
    if args.rows == ROWS:
        write_markdown(ROOT / "docs")
    sys.exit(any(one["wrong"] for one in tries))


if __name__ == "__main__":
    main()

"""Processes that train together, of which one is killed: ``python scripts/killed_ranks.py [--kills N] [--seed N]``.

A toy training in two processes is carried out once as it is. Then, N times, one of the two is killed (-9) at a random
instant from when the run folder is there until training ends, in turn the first and the second, and
``torchrun --max-restarts`` starts both again. The run must end by itself as the one that was never cut off: weights,
metrics, records and evaluation, and no row of metrics twice. The count goes into docs/results/scaling.json. Linux only;
a few minutes.
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

from killed_runs import leftovers
from killing import differences
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

from metarl.runs.folder import RunFolder

ROWS = ROOT / "docs" / "results" / "scaling.json"
COMMAND = "python scripts/killed_ranks.py"
PROCESSES = 2
PRESET = """kind = "rl2"
threads = 1
checkpoint_steps = 300
env = { id = "metarl/BernoulliBandit-v0", arms = 3, pulls = 12 }
memory = { key_size = 8, value_size = 8, controller_options = { hidden_size = 8 } }
ppo = { n_minibatches = 2, n_epochs = 2 }
train = { total_timesteps = 9600, n_envs = 16 }
eval = { trials = 20, tuning_trials = 5, rows = 20 }
"""
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
LAUNCH += ["--max-restarts=3", "--monitor-interval=0.1", "-m", "metarl", "train"]


def job(preset: Path, folder: Path) -> subprocess.Popen[str]:
    """A training by two processes in a session of their own."""
    given = [*LAUNCH, str(preset), "--quiet", "--out", str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with folder.with_suffix(".log").open("w") as log:  # of which the job has a copy of its own
        return subprocess.Popen(given, stdout=log, stderr=log, text=True, env=env, start_new_session=True)


def ranks_of(launcher: int) -> dict[int, int]:
    """The processes that ``torchrun`` started, by their rank as it told them; those that have ended are left out."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):  # each is in a session of its own
        with contextlib.suppress(OSError, StopIteration):  # it has just ended
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
            if int(parent) == launcher and state != "Z":
                told = (stat.parent / "environ").read_bytes().split(b"\0")
                rank = next(one for one in told if one.startswith(b"RANK="))
                found[int(rank.removeprefix(b"RANK="))] = int(stat.parent.name)
    return found


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
    seen: set[int] = set()
    try:
        began(started, folder)
        time.sleep(seconds)
        if rank not in (victims := ranks_of(started.pid)):
            return None
        os.kill(victims[rank], signal.SIGKILL)
        rows = folder / "metrics.jsonl"
        at = rows.read_bytes().count(b"\n") if rows.exists() else 0
        while started.poll() is None:
            seen |= {*ranks_of(started.pid).values()}
            time.sleep(0.05)
        status, alive = started.returncode, [one for one in seen if Path(f"/proc/{one}").exists()]
    finally:
        ranks = ranks_of(started.pid)
        started.terminate()  # which ends the ranks
        started.wait()
        for one in ranks.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
    if status:
        return {"wrong": [f"status {status}: {folder.with_suffix('.log').read_text()[-2000:]}"], "rows": at}
    run = RunFolder.open(folder)
    steps = [row["env_steps"] for row in run.metrics()]
    wrong = [f"{name} differs" for name in differences(run, whole)] + leftovers(folder)
    wrong += ["a row is there twice"] if len(set(steps)) < len(steps) else []
    wrong += [f"{len(alive)} processes are left"] if alive else []
    wrong += [f"status {run.status}"] if run.status["status"] != "finished" else []
    return {"wrong": wrong, "rows": at, "resumed": bool(run.meta.resumed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10, help="jobs (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default 0)")
    parser.add_argument("--rows", type=Path, default=ROWS, help=f"file of rows (default {ROWS.relative_to(ROOT)})")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that no process is left
    version, rng = commit(), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        preset = work / "toy.toml"
        preset.write_text(PRESET)
        started = job(preset, work / "whole")
        since = began(started, work / "whole")
        while not (work / "whole" / "checkpoint.zip").exists() and started.poll() is None:
            time.sleep(0.01)
        seconds = time.monotonic() - since
        if started.wait(300):
            sys.exit((work / "whole.log").read_text())
        whole = RunFolder.open(work / "whole")
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

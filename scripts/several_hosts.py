"""One training on two hosts whose link is slow or cut, or that fail: ``python scripts/several_hosts.py [--case NAME]``.

The hosts are network namespaces of this machine (scripts/hosts.py). A toy agent is trained on them by
``torchrun --nnodes 2``, one process on each, and must end as the same training by two processes of one host does:
weights, metrics, records and evaluation. Rows go into docs/results/scaling.json. Linux, as root; a few minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hosts import Hosts, unavailable
from killed_ranks import PRESET, ranks_of
from killed_runs import leftovers
from killing import differences
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

from metarl.runs.folder import RunFolder

ROWS = ROOT / "docs" / "results" / "scaling.json"
COMMAND = "python scripts/several_hosts.py"
PORT = 29400
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


class Job:
    """One training on all hosts, a process on each; the first host has the run folder."""

    def __init__(self, hosts: Hosts, preset: Path, folder: Path, restarts: int = 0) -> None:
        self.hosts, self.folder = hosts, folder
        self._given = [*(str(word) for word in (preset, "--quiet", "--out", folder))]
        self._restarts = restarts
        self.launchers = [self.launch(number) for number in range(hosts.number)]

    def launch(self, host: int) -> subprocess.Popen[str]:
        """``torchrun`` on a host, as docs/scaling.md says."""
        words = [f"--nnodes={self.hosts.number}", "--nproc-per-node=1", f"--max-restarts={self._restarts}"]
        words += ["--rdzv-backend=c10d", f"--rdzv-endpoint={self.hosts.address(0)}:{PORT}", "--rdzv-id=metarl"]
        words += [f"--local-addr={self.hosts.address(host)}", f"--rdzv-conf=is_host={int(host == 0)}"]
        words += ["--monitor-interval=0.1"]
        command = [sys.executable, "-m", "torch.distributed.run", *words, "-m", "metarl", "train", *self._given]
        with open(f"{self.folder}-{host}.log", "a") as log:
            return self.hosts.start(host, command, ONE_THREAD, stdout=log, stderr=log)

    def wait(self, seconds: float) -> list[int]:
        """The exit status of each launcher.

        Raises:
            subprocess.TimeoutExpired: one has not ended in time.
        """
        end = time.monotonic() + seconds
        return [one.wait(max(0.0, end - time.monotonic())) for one in self.launchers]

    def rows(self) -> int:
        """Of metrics so far."""
        path = self.folder / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def until(self, rows: int) -> None:
        """Wait for so many rows of metrics."""
        while self.rows() < rows:
            if any(one.poll() is not None for one in self.launchers):
                raise RuntimeError(self.log())
            time.sleep(0.005)

    def log(self) -> str:
        """What the launchers and processes said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.parent.glob(f"{self.folder.name}-*.log")))

    def kill(self, host: int) -> None:
        """End all that runs on a host, at once."""
        launcher = self.launchers[host]
        for one in (launcher.pid, *ranks_of(launcher.pid).values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        launcher.wait()


@contextlib.contextmanager
def job(hosts: Hosts, preset: Path, folder: Path, restarts: int = 0) -> Iterator[Job]:
    """A job, of which nothing is left afterwards."""
    made = Job(hosts, preset, folder, restarts)
    try:
        yield made
    finally:
        for host in range(hosts.number):
            made.kill(host)


def nothing(made: Job) -> None:
    """Leave the link as it is."""


def cut(made: Job) -> None:
    """Cut the link in the middle of the training, for five seconds."""
    made.until(20)
    made.hosts.up = False
    time.sleep(5)
    made.hosts.up = True


def lose(made: Job) -> None:
    """Kill all that runs on the second host in the middle of the training, and start it there anew.

    torchrun then ends with an error on both hosts, so the same command is given again on both.
    """
    made.until(20)
    made.kill(1)
    made.launchers[1] = made.launch(1)
    if not all(made.wait(300)):
        raise RuntimeError("torchrun has found the new host by itself")
    made.launchers = [made.launch(host) for host in range(made.hosts.number)]


def end(made: Job) -> None:
    """Cut the link and end the job with it, as a scheduler would; start it anew when the link is there again."""
    made.until(20)
    made.hosts.up = False
    time.sleep(1)
    for host in range(made.hosts.number):
        made.kill(host)
    made.hosts.up = True
    made.launchers = [made.launch(host) for host in range(made.hosts.number)]


class Case(NamedTuple):
    """What happens to the link, and the delay of each packet in seconds."""

    setting: str
    happens: Callable[[Job], None]
    delay: float = 0.0


CASES = {
    "plain": Case("two hosts", nothing),
    "delay": Case("two hosts, 50 ms from one to the other", nothing, 0.05),
    "cut": Case("two hosts, the link cut for 5 s in training", cut),
    "lost": Case("two hosts, one lost in training; torchrun ends, and the same command given again", lose),
    "ended": Case("two hosts, the link cut, the job ended and the same command given again", end),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--case", choices=CASES, action="append", help="these alone")
    parser.add_argument("--rows", type=Path, default=ROWS, help=f"file of rows (default {ROWS.relative_to(ROOT)})")
    args = parser.parse_args()
    if reason := unavailable():
        parser.error(reason)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that no process or host is left
    version = commit()
    with tempfile.TemporaryDirectory() as temporary:
        preset = Path(temporary) / "toy.toml"
        preset.write_text(PRESET)
        whole = RunFolder(Path(temporary) / "whole")
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        given = [*launch, "-m", "metarl", "train", str(preset), "--quiet", "--out", str(whole.path)]
        subprocess.run(given, check=True, env={**os.environ, **ONE_THREAD})
        for name in args.case or CASES:
            case = CASES[name]
            began = time.monotonic()
            with Hosts(2, case.delay) as hosts, job(hosts, preset, Path(temporary) / name, restarts=3) as made:
                case.happens(made)
                statuses = made.wait(300)
                took, carried = time.monotonic() - began, hosts.carried
                if any(statuses):
                    print(made.log()[-3000:], file=sys.stderr)
            run = RunFolder(made.folder)
            facts = {} if any(statuses) else run.status
            wrong = [f"status {status}" for status in statuses if status]
            wrong += leftovers(run.path) + ([] if wrong else [f"{one} differs" for one in differences(run, whole)])
            print(f"{name}: {wrong or 'equal'} in {took:.0f} s, {carried:,} bytes", flush=True)
            row = Row(
                setting=case.setting,
                method="2 processes, gloo",
                metric="ended as on one host, bit for bit (1), or not (0)",
                ours=float(not wrong),
                se=None,
                n_tasks=0,
                seeds=(0,),
                goal=(1.0, 1.0),
                references={
                    "bytes between them": float(carried),
                    "times it was resumed": float(len(run.meta.resumed)) if not wrong else 0.0,
                },
                command=COMMAND,
                train_seconds=float(facts.get("train_seconds", 0.0)),
                train_steps=int(facts.get("train_steps", 0)),
                commit=version,
            )
            upsert(args.rows, row)
    if args.rows == ROWS:
        write_markdown(ROOT / "docs")


if __name__ == "__main__":
    main()

"""What long runs cost: ``python scripts/benchmark_report.py report`` or ``slope``.

``report`` draws runs of up to a million rows of metrics, ``slope`` trains small agents for 2,000 updates; each is
measured in a process of its own. Rows go into docs/results/reliability.json. Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from results.rows import Row, commit, upsert

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "reliability.json"
LENGTHS = (1_000, 100_000, 1_000_000)
MEMORIES = ("feedforward+episodic+attention", "gru", "feedforward+delta+native", "feedforward+dnc+native")
UPDATES, WARM, EVERY = 2_000, 500, 50
NAMES = (
    *("rollout/ep_rew_mean", "rollout/ep_len_mean", "train/entropy", "train/explained_variance", "train/loss"),
    *("train/value_loss", "train/policy_loss", "train/clip_fraction", "train/approx_kl", "train/learning_rate"),
    *("train/grad_norm", "train/ratio_error", "time/steps_per_second", "memory/entropy", "memory/read"),
)
"""About as many as an agent logs."""


def report() -> list[Row]:
    """Seconds and memory of ``metarl report`` by the number of rows."""
    rows = []
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as base:
            folder = made_run(Path(base) / "run", length)
            start = time.perf_counter()
            process = subprocess.Popen([sys.executable, "-m", "metarl", "report", str(folder)])
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        assert status == 0
        shared: dict[str, Any] = {"setting": f"a run with {length:,} rows of metrics", "method": "metarl report"}
        shared["command"] = "python scripts/benchmark_report.py report"
        rows.append(row(**shared, metric="seconds", ours=seconds, goal=(None, 10.0)))
        rows.append(row(**shared, metric="MiB at the most", ours=used.ru_maxrss / 2**10, goal=(None, 1024.0)))
    return rows


def made_run(path: Path, length: int) -> Path:
    """A folder as of a training with this many rows of metrics."""
    from metarl.config import to_plain
    from metarl.experiments.presets import load_experiment
    from metarl.runs.folder import RunFolder

    folder = RunFolder.create_at(path)
    folder.start({"kind": "rl2", **to_plain(load_experiment("bandit"))})
    rng = np.random.default_rng(0)
    with (path / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for i in range(length):
            numbers = dict(zip(NAMES, rng.random(len(NAMES)).tolist(), strict=True))
            file.write(json.dumps({"env_steps": 100 * i, "time": 0.1 * i, **numbers}) + "\n")
    return path


class Growth(NamedTuple):
    """What 1,000 updates of training leave behind."""

    mib: float
    files: int
    threads: int


def slope() -> list[Row]:
    """What training adds to the memory, the open files and the threads of its process."""
    rows = []
    for memory in MEMORIES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process for each
            found = pool.apply(growth, (memory,))
        shared: dict[str, Any] = {"setting": f"Bernoulli bandit k=5, n=10, 4 environments, {UPDATES:,} updates"}
        shared |= {"method": memory, "command": "python scripts/benchmark_report.py slope"}
        metric = f"MiB of memory that 1,000 updates add, by a line through all after the first {WARM}"
        rows.append(row(**shared, metric=metric, ours=found.mib, goal=(None, 1.0)))
        rows.append(row(**shared, metric="open files that were added", ours=found.files, goal=(None, 0.0)))
        rows.append(row(**shared, metric="threads that were added", ours=found.threads, goal=(None, 0.0)))
    return rows


def growth(memory: str) -> Growth:
    """Train in this process."""
    import torch
    from stable_baselines3.common.callbacks import BaseCallback

    from metarl import TrialVectorEnv
    from metarl.agents.rl2 import RL2PPO
    from metarl.envs.bernoulli_bandit import BernoulliBandit
    from metarl.memory.registry import runnable

    torch.set_num_threads(1)

    class Watch(BaseCallback):
        seen: list[tuple[int, ...]] = []  # noqa: RUF012 (one instance)

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            self.updates = getattr(self, "updates", -1) + 1
            if self.updates >= WARM and self.updates % EVERY == 0:
                pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
                counts = (len(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task"))
                self.seen.append((self.updates, pages * resource.getpagesize(), *counts))

    agent = RL2PPO(
        "MemoryPolicy",
        TrialVectorEnv(BernoulliBandit(arms=5, pulls=10), 4),
        memory=dict(runnable())[memory],
        n_epochs=1,
        n_minibatches=1,
        device="cpu",
    )
    watch = Watch()
    agent.learn(4 * 10 * (UPDATES + 1), callback=watch)
    seen = np.array(watch.seen)
    bytes_each = np.polyfit(seen[:, 0], seen[:, 1], 1)[0]
    return Growth(float(bytes_each * 1000 / 2**20), *(int(part) for part in seen[-1, 2:] - seen[0, 2:]))


def row(**values: Any) -> Row:
    """A row of the results without a statistic over tasks."""
    empty: dict[str, Any] = {"se": None, "n_tasks": 0, "seeds": (0,), "references": {}}
    empty |= {"train_seconds": 0.0, "train_steps": 0}
    return Row(**{**empty, **values, "commit": commit()})


def main() -> None:
    """Measure what is named and keep it."""
    measures = {"report": report, "slope": slope}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=measures)
    for made in measures[parser.parse_args().what]():
        upsert(RESULTS, made)
        print(f"{made.setting}: {made.method}: {made.ours:.4g} {made.metric}")


if __name__ == "__main__":
    main()

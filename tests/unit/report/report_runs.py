"""Run folders with made-up results."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from report_evaluations import bandit

from metarl.report import trials
from metarl.runs.folder import RunFolder

CONFIG: dict[str, Any] = {
    "env": {"id": "metarl/BernoulliBandit-v0", "arms": 10, "pulls": 100},
    "train": {"total_timesteps": 1000, "n_envs": 4, "threads": None},
    "memory": {"store": "episodic", "horizon": "trial", "access_options": {}},
    "eval": {"trials": 100},
    "about": "made up",
}


def made(
    path: Path,
    seed: int = 0,
    evaluation: dict[str, Any] | None = None,
    *,
    evaluated: bool = True,
    played: bool = True,
    learned: bool = True,
    **config: Any,
) -> RunFolder:
    """A run whose options differ from ``CONFIG`` in the sections given."""
    run = RunFolder.create_at(path)
    options = {
        name: {**part, **config.get(name, {})} if isinstance(part, dict) else part for name, part in CONFIG.items()
    }
    run.start({**options, "seed": seed}, ["metarl", "train", "bandit", "--set", "a=<b>&"])
    run.set_status("finished")
    if evaluated:
        run.evaluation.write_text(json.dumps({**(evaluation or bandit()), "seed": seed}))
    if learned:
        rows = [{"env_steps": 100 * i, "time": float(i), "rollout/ep_rew_mean": seed + i / 2} for i in range(1, 11)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if played:
        n = 20
        arrays = {
            "obs": np.ones((2, n, 1), np.float32),
            "actions": np.arange(2 * n).reshape(2, n) % 3,
            "rewards": np.ones((2, n), np.float32),
            "ends": np.ones((2, n), bool),
            "lengths": np.array([n, n]),
            "weights": np.tril(np.full((n, n - 1), 0.05, np.float16), -1),
        }
        trials.save(trials.path_of(run), arrays)
    return run

"""Peak memory of training in long trials, rows of docs/results/long.json: ``python scripts/benchmark_long.py``.

A preset is trained for one update of one epoch in a process of its own, once with minibatches computed as a whole and
once in parts (``ppo.steps_at_once``), and the most memory that the process held is kept; see docs/long-trials.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

from metarl.training.ppo import PPOOptions

COMMAND = "python scripts/benchmark_long.py"
WHOLE = 10**9  # steps: more than any minibatch has
GOAL = 2.0  # GB


class Trial(NamedTuple):
    """Long trials of a preset.

    Args:
        setting: of the row.
        preset: that trains.
        settings: of the family.
        steps: of a trial.
    """

    setting: str
    preset: str
    settings: tuple[str, ...]
    steps: int


TRIALS = {
    "bandit-500": Trial("Bernoulli bandit, 50 arms, 500 pulls", "bandit", ("env.arms=50", "env.pulls=500"), 500),
    "bandit-1000": Trial("Bernoulli bandit, 50 arms, 1000 pulls", "bandit", ("env.arms=50", "env.pulls=1000"), 1000),
    "mdp-1000": Trial("tabular MDP, 100 episodes x 10 steps", "mdp", ("env.episodes=100",), 1000),
}


def main() -> None:
    """Train each, whole and in parts, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TRIALS, nargs="+", default=list(TRIALS), help="these trials alone")
    parser.add_argument("--envs", type=int, default=128, help="environments; a quarter of them is a minibatch")
    args = parser.parse_args()
    version, default = commit(), PPOOptions.steps_at_once
    assert default is not None  # else there are no parts to compare with
    for name in args.only:
        trial = TRIALS[name]
        whole, seconds = peak(trial, args.envs, WHOLE)
        for method, size in (("minibatch as a whole", WHOLE), (f"parts of at most {default:,} steps", default)):
            ours, took = (whole, seconds) if size == WHOLE else peak(trial, args.envs, size)
            row = Row(
                setting=f"{trial.setting}, preset {trial.preset}, minibatches of {args.envs // 4} trials, one update",
                method=method,
                metric="GB that the process held at most",
                ours=ours,
                se=None,
                n_tasks=0,
                seeds=(0,),
                goal=(None, None) if size == WHOLE else (None, GOAL),
                references={"seconds": round(took, 1)},
                command=COMMAND,
                train_seconds=took,
                train_steps=args.envs * trial.steps,
                commit=version,
            )
            upsert(ROOT / "docs" / "results" / "long.json", row)
            write_markdown(ROOT / "docs")
            print(f"{name}, {method}: {ours:.2f} GB, {took:.0f} s")


def peak(trial: Trial, envs: int, steps_at_once: int) -> tuple[float, float]:
    """The most memory in GB that one update takes, with what the process takes anyway; and its seconds."""
    settings = [*trial.settings, f"train.n_envs={envs}", f"train.total_timesteps={envs * trial.steps}"]
    settings += ["ppo.n_epochs=1", "ppo.n_minibatches=4", f"ppo.steps_at_once={steps_at_once}", "threads=1"]
    settings += ["eval.trials=1", "eval.tuning_trials=1"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "metarl", "train", trial.preset, "--out", str(out)]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        status = json.loads((out / "status.json").read_text(encoding="utf-8"))
    return status["train_peak_bytes"] / 1e9, status["train_seconds"]


if __name__ == "__main__":
    main()

"""What workers add where environments are slow: ``python scripts/benchmark_workers.py [--rounds N]``.

Experience of an agent is collected in environments that take two milliseconds of waiting a step, as a simulator in
another program does: one after the other in this process, and in 1, 2 and 4 worker processes (``train.workers``). A row
goes into docs/results/scaling.json. About a minute.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import gymnasium as gym
import torch
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

import metarl
from metarl.agents.rl2 import RL2PPO
from metarl.agents.rl2_env import Watch
from metarl.tasks.vector.env import TrialVectorEnv

ROWS = ROOT / "docs" / "results" / "scaling.json"
COMMAND = "python scripts/benchmark_workers.py"
WORKERS = (0, 1, 2, 4)
ENVS, STEPS, ROLLOUTS = 16, 25, 3
PAUSE = 0.002
GOAL = 3.0


class Slow(gym.Wrapper[Any, Any, Any, Any]):
    """Waits in each step."""

    def step(self, action: Any) -> Any:
        """Wait, and step."""
        time.sleep(PAUSE)
        return self.env.step(action)


def rate(workers: int) -> float:
    """Environment steps a second of collecting, after a first rollout that starts the workers."""
    family = metarl.from_env("CartPole-v1", vary={"length": "0.3..1"}, wrap=Slow, steps=STEPS)
    env = TrialVectorEnv(family, ENVS, workers=workers)
    memory = {"store": "none", "access": "none"}
    agent = RL2PPO("MemoryPolicy", env, memory=memory, device="cpu", n_minibatches=2, n_epochs=1)
    began: list[float] = []
    spent: list[float] = []
    watch = Watch(
        between=lambda: began.append(time.perf_counter()),
        collected=lambda: spent.append(time.perf_counter() - began[-1]),
    )
    agent.learn((ROLLOUTS + 1) * ENVS * STEPS, watch, log_interval=None)
    env.close()
    return ENVS * STEPS / statistics.median(spent[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="of measuring, of which the median counts (default 1)")
    args = parser.parse_args()
    version = commit()
    torch.set_num_threads(1)
    rounds = [{workers: rate(workers) for workers in WORKERS} for _ in range(args.rounds)]
    rates = {workers: statistics.median(one[workers] for one in rounds) for workers in WORKERS}
    print(", ".join(f"{workers} workers: {found:,.0f} steps/s" for workers, found in rates.items()))
    row = Row(
        setting=f"{ENVS} environments of {1000 * PAUSE:g} ms a step",
        method="4 workers",
        metric="steps/s of collecting, times those without workers",
        ours=rates[4] / rates[0],
        se=None,
        n_tasks=0,
        seeds=(0,),
        goal=(GOAL, None),
        references={f"{workers} workers, steps/s": round(found) for workers, found in rates.items()},
        command=COMMAND,
        train_seconds=0.0,
        train_steps=0,
        commit=version,
    )
    upsert(ROWS, row)
    write_markdown(ROOT / "docs")


if __name__ == "__main__":
    main()

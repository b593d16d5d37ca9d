"""Speed, measured as ratios side by side: ``python scripts/benchmark.py NAME``.

NAME is envs, trials, import or evaluation. Each figure goes into docs/results/speed.json with the command
that gave it. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from results.rows import Row, commit, upsert

import metarl  # noqa: F401  (registers the ids)
from metarl.tasks.family.ranges import Uniform
from metarl.tasks.family.split_family import from_env
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.env import TrialVectorEnv

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "speed.json"
BANDIT = "metarl/BernoulliBandit-v0"


def envs() -> Row:
    """Steps a second of 1024 natively batched bandits under actions drawn beforehand."""
    env, trials = gym.make_vec(BANDIT, num_envs=1024), 50
    rng = np.random.default_rng(0)
    actions = rng.integers(10, size=(100, 1024))
    rates = []
    env.reset(seed=0)
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(trials):
            for chosen in actions:
                env.step(chosen)
        rates.append(trials * 100 * 1024 / (time.perf_counter() - start) / 1e6)
    return row(
        setting="Bernoulli bandit k=10, n=100, 1024 rows, one process",
        method="native vector environment",
        metric="million steps/s (median of 5)",
        ours=statistics.median(rates),
        goal=(10.0, None),
        command="python scripts/benchmark.py envs",
    )


def trials() -> list[Row]:
    """What trials cost beyond stepping 256 CartPoles in Gymnasium's sync vector environment, in turn, one process.

    The second row is what they cost where each row is a TrialEnv of its own.
    """
    from metarl.tasks.vector.sb3 import as_vec_env

    n, steps, rounds = 256, 100, 15
    actions = np.random.default_rng(0).integers(2, size=(steps, n))
    family = from_env("CartPole-v1", vary={"length": Uniform(0.3, 1.0)}, episodes=5, steps=1000)
    sync: Callable[..., Any] = lambda make: SyncVectorEnv([make] * n, autoreset_mode=AutoresetMode.SAME_STEP)  # noqa: E731
    envs: dict[str, Any] = {
        "bare": sync(lambda: gym.make("CartPole-v1")),
        "arrays": as_vec_env(TrialVectorEnv(family, n)),
        "singles": as_vec_env(sync(lambda: TrialEnv(family))),
    }
    for env in envs.values():
        env.reset()
        for chosen in actions:  # until rows are at different places in their episodes and trials
            env.step(chosen)
    seconds: dict[str, list[float]] = {name: [] for name in envs}
    for _ in range(rounds):
        for name, env in envs.items():
            start = time.perf_counter()
            for chosen in actions:
                env.step(chosen)
            seconds[name].append(time.perf_counter() - start)

    def overhead(name: str) -> float:
        ratios = [a / b for a, b in zip(seconds[name], seconds["bare"], strict=True)]
        return 100 * (statistics.median(ratios) - 1)

    shared: dict[str, Any] = {
        "setting": "CartPole-v1, 256 rows, trials of 5 episodes or 1,000 steps, random actions, one process",
        "metric": f"% beyond the time of Gymnasium's SyncVectorEnv (median of {rounds} rounds of {steps} steps)",
        "references": {"SyncVectorEnv, microseconds a step and row": 1e6 * min(seconds["bare"]) / steps / n},
        "command": "python scripts/benchmark.py trials",
    }
    singles = "SyncVectorEnv of TrialEnvs, and TrialVecEnv"
    return [
        row(**shared, method="TrialVectorEnv and TrialVecEnv", ours=overhead("arrays"), goal=(None, 15.0)),
        row(**shared, method=singles, ours=overhead("singles"), goal=(None, None)),
    ]


def imports() -> Row:
    """Seconds that ``import metarl`` takes beyond ``import gymnasium``, in fresh processes in turn."""

    def seconds(module: str) -> float:
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)

    extra = statistics.median(seconds("metarl") - seconds("gymnasium") for _ in range(15))
    return row(
        setting="fresh process",
        method="import metarl",
        metric="seconds beyond import gymnasium (median of 15 pairs)",
        ours=extra,
        goal=(None, 0.1),
        command="python scripts/benchmark.py import",
    )


def evaluation() -> Row:
    """Seconds that an agent with attention over the trial takes for 10,000 held-out trials of 100 steps, one thread."""
    from metarl.agents.rl2 import RL2PPO
    from metarl.evaluation.play import rollout_trials
    from metarl.experiments.presets import load_experiment
    from metarl.experiments.rl.experiment import RL2Experiment

    torch.set_num_threads(1)
    experiment = load_experiment("bandit")
    assert isinstance(experiment, RL2Experiment)
    agent = RL2PPO("MemoryPolicy", experiment.make_env("train", 4), memory=experiment.memory, device="cpu")
    start = time.perf_counter()
    rollout_trials(agent.actor(), lambda n: experiment.make_env("validation", n), 10_000, rows=experiment.eval.rows)
    return row(
        setting="Bernoulli bandit k=10, n=100, 10,000 paired trials, one thread",
        method="evaluation of one actor",
        metric="seconds",
        ours=time.perf_counter() - start,
        goal=(None, 30.0),
        command="python scripts/benchmark.py evaluation",
    )


def row(**values: Any) -> Row:
    """A row of the results without a statistic over tasks."""
    empty: dict[str, Any] = {"se": None, "n_tasks": 0, "seeds": (0,), "references": {}}
    empty |= {"train_seconds": 0.0, "train_steps": 0}
    return Row(**{**empty, **values, "commit": commit()})


def main() -> None:
    """Measure what is named and keep it."""
    measures: dict[str, Callable[[], Row | list[Row]]] = {
        "envs": envs,
        "trials": trials,
        "import": imports,
        "evaluation": evaluation,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=measures)
    result = measures[parser.parse_args().what]()
    for made in result if isinstance(result, list) else [result]:
        upsert(RESULTS, made)
        print(f"{made.setting}: {made.method}: {made.ours:.4g} {made.metric}")


if __name__ == "__main__":
    main()

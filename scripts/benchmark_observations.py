"""Whether observations of other kinds are learned from: ``python scripts/benchmark_observations.py NAME``.

NAME is symbols (a picture of whole numbers that name things), scale (one input of another size) or overhead, to be run
on an idle machine. Each figure goes into docs/results/any_env.json with the command that gave it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from results.rows import ROOT, Row, commit, upsert

from metarl import RL2PPO, TrialVectorEnv, from_env, rollout_trials
from metarl.functional.stats import standard_error
from metarl.tasks.family.distribution import TaskDistribution

RESULTS = ROOT / "docs" / "results" / "any_env.json"
SEEDS = (0, 1, 2)
TRIALS = 5_000
EPISODES = 10  # of one step, so that a trial pays at most 10, and 9.5 or less where the first guess is blind


class Guess(gym.Env[Any, Any], ABC):
    """One step: what is seen says which action pays, but for a shift that differs from task to task.

    Args:
        shift: added to the symbol that is seen.
        choices: how many symbols and actions there are.
    """

    def __init__(self, shift: int, choices: int) -> None:
        self.shift, self.choices, self.action_space = shift, choices, spaces.Discrete(choices)
        self.symbol = 0

    @abstractmethod
    def look(self) -> Any:
        """What is seen; sets ``symbol``."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        return self.look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Guess."""
        reward = float(action == (self.symbol + self.shift) % self.choices)
        return self.look(), reward, True, False, {}


class Look(Guess):
    """The colour of the one odd cell of a grid, coded as MiniGrid does, is the symbol."""

    observation_space = spaces.Box(0, 255, (7, 7, 3), np.uint8)

    def __init__(self, goal: int = 0) -> None:
        super().__init__(goal, 4)

    def look(self) -> Any:
        """See :class:`Guess`."""
        seen = np.ones((7, 7, 3), np.uint8)
        self.symbol = int(self.np_random.integers(4))
        row, column = self.np_random.integers(7, size=2)
        seen[row, column] = 5, self.symbol, 2
        return seen


class Sign(Guess):
    """The sign of the second number is the symbol; the first is noise of the size ``scale``."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, flip: int = 0, scale: float = 1.0) -> None:
        super().__init__(flip, 2)
        self.scale = scale

    def look(self) -> Any:
        """See :class:`Guess`."""
        seen = self.np_random.standard_normal(2)
        self.symbol = int(seen[1] > 0)
        return (seen * [self.scale, 1]).astype(np.float32)


def trained(family: TaskDistribution, steps: int, seed: int) -> tuple[np.ndarray, float]:
    """The returns of an agent after ``steps`` steps, and how many seconds these took."""
    agent = RL2PPO("MemoryPolicy", family, n_envs=64, memory={"controller": "gru"}, seed=seed)
    began = time.perf_counter()
    agent.learn(steps)
    seconds = time.perf_counter() - began
    played = rollout_trials(
        agent.actor(), lambda rows: TrialVectorEnv(family.with_split("validation"), rows), TRIALS, seed=seed
    )
    return played.returns, seconds


def learning(setting: str, make: Callable[[], TaskDistribution], steps: int, goal: float, references: Any) -> Row:
    """A row of returns after training, over all seeds."""
    runs = [trained(make(), steps, seed) for seed in SEEDS]
    means = [float(returns.mean()) for returns, _ in runs]
    print(setting, steps, [round(mean, 3) for mean in means], flush=True)
    return Row(
        setting=setting,
        method="RL2PPO, GRU, 64 environments, all else as it is",
        metric=f"return of a trial of {EPISODES} guesses after {steps:,} steps",
        ours=statistics.mean(means),
        se=float(standard_error(np.concatenate([returns for returns, _ in runs]))),
        n_tasks=TRIALS,
        seeds=SEEDS,
        goal=(goal, None),
        references=references | {f"seed {seed}": mean for seed, mean in zip(SEEDS, means, strict=True)},
        command="",
        train_seconds=statistics.mean(seconds for _, seconds in runs),
        train_steps=steps,
        commit=commit(),
    )


def symbols() -> list[Row]:
    """The one-look task with its symbols declared, after a short and a long training."""
    options = {"vary": {"goal": [0, 1]}, "episodes": EPISODES, "steps": EPISODES, "observe": {"obs": "symbols"}}
    made = partial(from_env, Look, **options)
    setting = "one odd cell in a 7 by 7 grid of symbols, four colours, two tasks"
    known = {"chance": 2.5, "ceiling": 9.5}
    return [learning(setting, made, 60_000, 9.0, known), learning(setting, made, 200_000, 8.0, known)]


def scale() -> list[Row]:
    """An input that says nothing, of size 1 and of size 10,000: the return with the second as a share of the first."""
    rows: list[Row] = []
    for size in (1.0, 1e4):
        trials = {"kwargs": {"scale": size}, "episodes": EPISODES, "steps": EPISODES}
        made = partial(from_env, Sign, vary={"flip": [0, 1]}, **trials)
        low = 0.97 * rows[0].ours if rows else 9.0
        known = {"chance": 5.0, "ceiling": 9.5}
        rows.append(learning(f"the sign of a number beside noise of the size {size:g}", made, 40_000, low, known))
    return rows


def overhead() -> list[Row]:
    """Training steps a second on 256 CartPoles with normalisation and infos, over those without, in turn."""
    rounds = 15
    rates: dict[bool, list[float]] = {True: [], False: []}
    agents = {}
    for on in rates:
        made = from_env("CartPole-v1", vary={"length": "0.3..1.0"}, steps=1000, infos=("success",) if on else ())
        agents[on] = RL2PPO("MemoryPolicy", made, n_envs=256, n_steps=50, memory={"controller": "gru"}, normalise=on)
        agents[on].learn(256 * 50)
    for _ in range(rounds):
        for on, agent in agents.items():
            began = time.perf_counter()
            agent.learn(256 * 50, reset_num_timesteps=False)
            rates[on].append(256 * 50 / (time.perf_counter() - began))
    ratio = statistics.median(a / b for a, b in zip(rates[True], rates[False], strict=True))
    return [
        Row(
            setting="CartPole-v1, 256 rows, one process",
            method="normalised observations and infos that are looked for, over neither",
            metric=f"ratio of training steps/s (median of {rounds} turns)",
            ours=ratio,
            se=None,
            n_tasks=0,
            seeds=(0,),
            goal=(0.95, None),
            references={"steps/s without": statistics.median(rates[False])},
            command="",
            train_seconds=0,
            train_steps=0,
            commit=commit(),
        )
    ]


MEASURED = {"symbols": symbols, "scale": scale, "overhead": overhead}


def main() -> None:
    """Measure what is named on the command line."""
    from dataclasses import replace

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="+", choices=MEASURED)
    torch.set_num_threads(1)
    for name in parser.parse_args().names:
        rows = MEASURED[name]()
        upsert(RESULTS, *(replace(row, command=f"python scripts/benchmark_observations.py {name}") for row in rows))
        for row in rows:
            print(f"{row.where}: {row.ours:.4g} {row.metric}")


if __name__ == "__main__":
    main()

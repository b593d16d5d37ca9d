"""Inner environments of any Gymnasium kind as rows of a batch, stepped by Gymnasium's own vector environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.tasks.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.trial import inner_seeds
from metarl.types import Array, Bools, Ints, Observations


class SyncRows(BatchedEnv):
    """``n`` inner environments of a family in one process, in Gymnasium's ``SyncVectorEnv``.

    An environment is seeded once, where its trial begins. An error that one raises goes on its way with the task and
    the seed noted on it.
    """

    def __init__(self, distribution: TaskDistribution, n: int) -> None:
        self._distribution = distribution
        self._rows = np.arange(n)
        self._envs: SyncVectorEnv | None = None

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Observations:
        """Make the environments of ``tasks``, or turn those at hand into them, and reset them."""
        rows = self._rows if rows is None else rows
        return self.start_seeded(tasks, inner_seeds(rng, len(rows)), rows)

    def start_seeded(self, tasks: TaskBatch, seeds: Ints, rows: Ints) -> Observations:
        """As :meth:`start`, with the seed ``[m]`` of each row given."""
        each = [{name: values[j] for name, values in tasks.items()} for j in range(len(rows))]
        if self._envs is None:
            made = [Told(self._distribution.make(task)) for task in each]
            self._envs = SyncVectorEnv([partial(made.__getitem__, row) for row in range(len(made))], autoreset_mode=AutoresetMode.SAME_STEP)
        else:
            for row, task in zip(rows, each, strict=True):
                env = self._envs.envs[row]
                env.env = self._distribution.remake(env.env, task)
        observations = []
        for row, task, seed in zip(rows, each, seeds, strict=True):
            env = self._envs.envs[row]
            env.told = {"row": int(row), "task": task, "seed": int(seed)}
            observations.append(env.reset(seed=int(seed))[0])
        return stack(self._distribution.observation_space, observations)

    def step(self, actions: Array, rng: np.random.Generator) -> tuple[Observations, Array, Bools]:
        """Step every row; ``rng`` is not used, each environment has a generator of its own."""
        assert self._envs is not None
        obs, rewards, terminated, truncated, _ = self._envs.step(actions)
        return obs, rewards, terminated | truncated

    def close(self) -> None:
        """Close the environments."""
        if self._envs is not None:
            self._envs.close()


class Told(gym.Wrapper[Any, Any, Any, Any]):
    """Notes on an error of the environment in which row, task and seed it happened."""

    told: Mapping[str, Any]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        try:
            return self.env.reset(seed=seed, options=options)
        except Exception as error:
            error.add_note(str(self))
            raise

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a step."""
        try:
            return self.env.step(action)
        except Exception as error:
            error.add_note(str(self))
            raise

    def __str__(self) -> str:
        values = ", ".join(f"{name}={np.asarray(value).tolist()}" for name, value in self.told["task"].items())
        return f"in row {self.told['row']}, task {{{values}}}, seed {self.told['seed']}"


def stack(space: spaces.Space[Any], observations: Sequence[Any]) -> Observations:
    """Observations of single environments as arrays ``[n, ...]``."""
    if isinstance(space, spaces.Dict):
        return {name: np.stack([np.asarray(one[name]) for one in observations]) for name in space.spaces}
    return np.stack([np.asarray(one) for one in observations])

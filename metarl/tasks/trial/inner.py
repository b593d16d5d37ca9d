"""The inner environment of one row; errors in it name the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from metarl.tasks.family.checks import check_shape
from metarl.tasks.family.distribution import TaskDistribution
from metarl.types import Array, Ints


class InnerRow(gym.Env[Any, Any]):
    """The inner environment of one row, trial after trial; an error it raises carries a note of its task and seed.

    Args:
        distribution: the family that tasks come from.
        row: the row to name in notes; None where there is only one.
    """

    env: gym.Env[Any, Any] | None = None
    """The environment of the task under way; None before the first."""

    def __init__(self, distribution: TaskDistribution, row: int | None = None) -> None:
        self.observation_space: gym.Space[Any] = distribution.observation_space
        self.action_space = distribution.action_space
        self._distribution = distribution
        self._where = "" if row is None else f"row {row}, "

    def begin(self, task: Mapping[str, Array], seed: int) -> tuple[Any, dict[str, Any]]:
        """Begin a trial: put the environment into a task, seed it once and reset it.

        Args:
            task: one array for each parameter, without a batch axis.
            seed: of the environment.
        """
        self._task, self._seed = task, seed
        try:
            made = self._distribution
            self.env = made.make(task) if self.env is None else made.remake(self.env, task)
            obs, info = self.env.reset(seed=seed)
            check_shape(self.observation_space, obs)
            return obs, info
        except Exception as error:
            error.add_note(self._note())
            raise

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of the trial."""
        assert self.env is not None
        try:
            return self.env.reset(seed=seed, options=options)
        except Exception as error:
            error.add_note(self._note())
            raise

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a step."""
        try:
            return self.env.step(action)  # type: ignore[union-attr]  # begun before; checked in no step, for speed
        except Exception as error:
            error.add_note(self._note())
            raise

    def close(self) -> None:
        """Close the environment."""
        if self.env is not None:
            self.env.close()

    def _note(self) -> str:
        return f"in {self._where}{describe_trial(self._task, self._seed)}"


def describe_trial(task: Mapping[str, Array], seed: int) -> str:
    """A task (arrays ``[...]`` by name) and the seed of its trial, for messages; long arrays are abbreviated."""
    values = (f"{name}={np.array2string(np.asarray(v), threshold=16, separator=', ')}" for name, v in task.items())
    return f"task {{{', '.join(values)}}}, seed {seed}"


def inner_seeds(rng: np.random.Generator, n: int) -> Ints:
    """``[n]`` seeds of inner environments, each given once, at the start of a trial."""
    return rng.integers(2**31, size=n)

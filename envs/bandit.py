"""What bandits without contexts share: arms whose worth is drawn anew for each task, one pull an episode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from metarl.tasks.family.checks import whole_number
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.types import Array, Bools, Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Bandit(TaskDistribution, ABC):
    """``arms`` arms, pulled ``pulls`` times; every pull is an inner episode of its own.

    The observation is a constant. What an arm is worth is one number, the task's only parameter :attr:`worth`.

    Raises:
        ValueError: fewer than 2 arms or than 1 pull.
    """

    arms: int = 10
    pulls: int = 100

    worth: ClassVar[str]
    """The name of the parameter of the task: one number for each arm."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("arms", self.arms, at_least=2)
        whole_number("pulls", self.pulls, at_least=1)

    @property
    def trial_steps(self) -> int:
        """The pulls."""
        return self.pulls

    @property
    def episodes(self) -> int:
        """Inner episodes in a trial."""
        return self.pulls

    @property
    def observation_space(self) -> spaces.Discrete:
        """One state."""
        return spaces.Discrete(1)

    @property
    def action_space(self) -> spaces.Discrete:
        """Which arm to pull."""
        return spaces.Discrete(self.arms)

    @abstractmethod
    def pay(self, worth: Floats, rng: np.random.Generator) -> Array:
        """The rewards ``[n]`` of arms worth ``[n]`` (float32)."""

    def make(self, task: Mapping[str, Array]) -> BanditEnv:
        """One bandit."""
        return BanditEnv(self, task[self.worth])

    def batched(self, n: int) -> BatchedBandit:
        """``n`` bandits as arrays."""
        return BatchedBandit(self, n)


class BanditEnv(gym.Env[np.int64, np.int64]):
    """One pull of a bandit with arms worth ``worth`` ``[arms]``: the episode ends with it."""

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, family: Bandit, worth: Array) -> None:
        self._family = family
        self._worth = worth.astype(np.float32)
        self.observation_space, self.action_space = family.observation_space, family.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Get ready for a pull."""
        super().reset(seed=seed)
        return np.int64(0), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Pull an arm."""
        reward = self._family.pay(self._worth[[action]], self.np_random)[0]
        return np.int64(0), float(reward), True, False, {}


class BatchedBandit(BatchedEnv):
    """``n`` bandits, one pull each a step."""

    def __init__(self, family: Bandit, n: int) -> None:
        self._family = family
        self._offsets: Ints = np.arange(n) * family.arms
        self._zeros = np.zeros(n, np.int64)
        self._done = np.ones(n, np.bool_)
        self._worth: Floats = np.zeros(n * family.arms, np.float32)

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """Take what the arms are worth ``[n, arms]``."""
        self._worth = tasks[self._family.worth].ravel().astype(np.float32)
        return self._zeros

    def step(self, actions: Any, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Pull one arm a row."""
        return self._zeros, self._family.pay(self._worth.take(self._offsets + actions), rng), self._done

    def state_dict(self) -> dict[str, Any]:
        """What the arms are worth."""
        return {self._family.worth: self._worth.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what the arms were worth."""
        self._worth = np.array(state[self._family.worth], dtype=np.float32)

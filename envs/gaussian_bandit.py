"""The Gaussian bandit: arms with unknown mean rewards under noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from metarl.tasks.checks import whole_number
from metarl.tasks.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.priors import GaussianPrior
from metarl.types import Array, Bools, Floats, Ints


@dataclass(frozen=True, kw_only=True)
class GaussianBandit(TaskDistribution):
    """``arms`` arms with mean rewards drawn from N(0, 1), which pay their mean plus N(0, ``noise``²).

    A trial is ``pulls`` pulls of one bandit, every one an inner episode of its own; the observation is a constant.

    Raises:
        ValueError: fewer than 2 arms or than 1 pull, or a negative ``noise``.
    """

    arms: int = 10
    pulls: int = 100
    noise: float = 1.0
    """Standard deviation of a reward around its mean."""

    family: ClassVar[str] = "GaussianBandit"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("arms", self.arms, at_least=2)
        whole_number("pulls", self.pulls, at_least=1)
        if not isinstance(self.noise, int | float) or not 0 <= self.noise < np.inf:
            raise ValueError(f"noise must be a standard deviation of at least 0, not {self.noise!r}")

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

    @property
    def task_space(self) -> spaces.Dict:
        """``means``: the mean reward of each arm."""
        return spaces.Dict({"means": spaces.Box(-np.inf, np.inf, (self.arms,), np.float32)})

    @property
    def prior(self) -> GaussianPrior:
        """Independent N(0, 1) means."""
        return GaussianPrior(arms=self.arms, pulls=self.pulls, noise=self.noise)

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """``means`` ``[n, arms]``, independent and standard normal."""
        return {"means": rng.standard_normal((n, self.arms), dtype=np.float32)}

    def make(self, task: Mapping[str, Array]) -> GaussianEnv:
        """One bandit."""
        return GaussianEnv(task["means"], self.noise)

    def batched(self, n: int) -> BatchedGaussian:
        """``n`` bandits as arrays."""
        return BatchedGaussian(self, n)


class GaussianEnv(gym.Env[np.int64, np.int64]):
    """One pull of a bandit with mean rewards ``means`` ``[arms]``: the episode ends with it."""

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, means: Array, noise: float) -> None:
        self.means, self.noise = [float(mean) for mean in means], noise
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(len(self.means))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Get ready for a pull."""
        super().reset(seed=seed)
        return np.int64(0), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Pull an arm: its mean plus noise."""
        reward = self.means[action] + self.noise * self.np_random.standard_normal()
        return np.int64(0), float(reward), True, False, {}


class BatchedGaussian(BatchedEnv):
    """``n`` bandits, one pull each a step."""

    def __init__(self, family: GaussianBandit, n: int) -> None:
        self._n, self._noise = n, np.float32(family.noise)
        self._offsets: Ints = np.arange(n) * family.arms
        self._zeros = np.zeros(n, np.int64)
        self._done = np.ones(n, np.bool_)
        self._means: Floats = np.zeros(n * family.arms, np.float32)

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """Take the means ``[n, arms]``."""
        self._means = tasks["means"].ravel().astype(np.float32)
        return self._zeros

    def step(self, actions: Any, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Pull one arm a row."""
        noise = rng.standard_normal(self._n, dtype=np.float32)
        return self._zeros, self._means.take(self._offsets + actions) + self._noise * noise, self._done

    def state_dict(self) -> dict[str, Any]:
        """The means."""
        return {"means": self._means.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the saved means."""
        self._means = np.array(state["means"], dtype=np.float32)

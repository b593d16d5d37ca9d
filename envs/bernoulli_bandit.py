"""The Bernoulli bandit of RL² (Duan et al. 2016, section 3.1): arms with unknown success rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from metarl.tasks.checks import whole_number
from metarl.tasks.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.priors import BernoulliPrior
from metarl.types import Array, Bools, Floats, Ints


@dataclass(frozen=True, kw_only=True)
class BernoulliBandit(TaskDistribution):
    """``arms`` arms with success rates drawn uniformly from [0, 1]; every pull is an inner episode of its own.

    A trial is ``pulls`` pulls of one bandit; the observation is a constant.

    Raises:
        ValueError: fewer than 2 arms or than 1 pull.
    """

    arms: int = 10
    pulls: int = 100

    family: ClassVar[str] = "BernoulliBandit"

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

    @property
    def task_space(self) -> spaces.Dict:
        """``rates``: the success rate of each arm."""
        return spaces.Dict({"rates": spaces.Box(0.0, 1.0, (self.arms,), np.float32)})

    @property
    def prior(self) -> BernoulliPrior:
        """Independent Beta(1, 1) rates."""
        return BernoulliPrior(arms=self.arms, pulls=self.pulls)

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """``rates`` ``[n, arms]``, independent and uniform."""
        return {"rates": rng.random((n, self.arms), dtype=np.float32)}

    def make(self, task: Mapping[str, Array]) -> BernoulliEnv:
        """One bandit."""
        return BernoulliEnv(task["rates"])

    def batched(self, n: int) -> BatchedBernoulli:
        """``n`` bandits as arrays."""
        return BatchedBernoulli(n, self.arms)


class BernoulliEnv(gym.Env[np.int64, np.int64]):
    """One pull of a bandit with success rates ``rates`` ``[arms]``: the episode ends with it."""

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, rates: Array) -> None:
        self.rates = [float(rate) for rate in rates]
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(len(self.rates))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Get ready for a pull."""
        super().reset(seed=seed)
        return np.int64(0), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Pull an arm: reward 1 with its rate, else 0."""
        return np.int64(0), float(self.np_random.random() < self.rates[action]), True, False, {}


class BatchedBernoulli(BatchedEnv):
    """``n`` bandits, one pull each a step."""

    def __init__(self, n: int, arms: int) -> None:
        self._n = n
        self._offsets: Ints = np.arange(n) * arms
        self._zeros = np.zeros(n, np.int64)
        self._done = np.ones(n, np.bool_)
        self._rates: Floats = np.zeros(n * arms, np.float32)

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """Take the rates ``[n, arms]``."""
        self._rates = tasks["rates"].ravel().astype(np.float32)
        return self._zeros

    def step(self, actions: Any, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Pull one arm a row."""
        rates = self._rates.take(self._offsets + actions)
        return self._zeros, rng.random(self._n, dtype=np.float32) < rates, self._done

    def state_dict(self) -> dict[str, Any]:
        """The rates."""
        return {"rates": self._rates.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the saved rates."""
        self._rates = np.array(state["rates"], dtype=np.float32)

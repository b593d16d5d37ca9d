"""The Bernoulli bandit of RL² (Duan et al. 2016, section 3.1): arms with unknown success rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces

from metarl.envs.bandit import Bandit
from metarl.tasks.family.distribution import TaskBatch
from metarl.tasks.family.priors import BernoulliPrior
from metarl.types import Array, Floats


@dataclass(frozen=True, kw_only=True)
class BernoulliBandit(Bandit):
    """``arms`` arms with success rates drawn uniformly from [0, 1]; every pull is an inner episode of its own.

    A trial is ``pulls`` pulls of one bandit; the observation is a constant.

    Raises:
        ValueError: fewer than 2 arms or than 1 pull.
    """

    family: ClassVar[str] = "BernoulliBandit"
    worth: ClassVar[str] = "rates"

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

    def pay(self, worth: Floats, rng: np.random.Generator) -> Array:
        """``[n]``: 1 with the success rate ``worth`` ``[n]`` of the arm, else 0."""
        return rng.random(len(worth), dtype=np.float32) < worth

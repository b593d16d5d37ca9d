"""The Gaussian bandit: arms with unknown mean rewards under noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces

from metarl.envs.bandit import Bandit
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.distribution import TaskBatch
from metarl.tasks.family.priors import GaussianPrior
from metarl.types import Array, Floats


@dataclass(frozen=True, kw_only=True)
class GaussianBandit(Bandit):
    """``arms`` arms with mean rewards drawn from N(0, 1), which pay their mean plus N(0, ``noise``²).

    A trial is ``pulls`` pulls of one bandit, every one an inner episode of its own; the observation is a constant.

    Args:
        noise: standard deviation of a reward around its mean.

    Raises:
        ValueError: fewer than 2 arms or than 1 pull, or a negative ``noise``.
    """

    noise: float = 1.0

    family: ClassVar[str] = "GaussianBandit"
    worth: ClassVar[str] = "means"

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("noise", self.noise, at_least=0)

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

    def pay(self, worth: Floats, rng: np.random.Generator) -> Array:
        """``[n]``: the mean ``worth`` ``[n]`` of the arm plus noise."""
        return worth + np.float32(self.noise) * rng.standard_normal(len(worth), dtype=np.float32)

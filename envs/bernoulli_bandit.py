"""Bernoulli bandits: the arms of RL² (Duan et al. 2016, section 3.1), and the dependent ones of Wang et al. (2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces

from metarl.config import InputError, choice
from metarl.envs.bandit import Bandit
from metarl.tasks.family.distribution import TaskBatch
from metarl.tasks.family.priors import DEPENDENCES, LOWER_RATES, BernoulliPrior
from metarl.types import Array, Floats


@dataclass(frozen=True, kw_only=True)
class BernoulliBandit(Bandit):
    """``arms`` arms with success rates drawn uniformly from [0, 1]; every pull is an inner episode of its own.

    A trial is ``pulls`` pulls of one bandit; the observation is a constant.

    Args:
        dependence: "none", or how the rates of two arms that add up to one are drawn (Wang et al. 2016): the first is
            "uniform" in [0, 1], or, with equal chances, .1 or .9 ("easy"), .25 or .75 ("medium"), .4 or .6 ("hard").
            The last three have two tasks alone, in all splits.

    Raises:
        ValueError: fewer than 2 arms or than 1 pull, an unknown dependence, or more than 2 arms with one.
    """

    dependence: str = "none"

    family: ClassVar[str] = "BernoulliBandit"
    worth: ClassVar[str] = "rates"
    counted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.dependence, DEPENDENCES, "dependence")
        if self.dependence != "none" and self.arms != 2:
            raise InputError(key="arms", given=self.arms, expected=f"2 with dependence {self.dependence!r}")

    @property
    def in_distribution(self) -> bool:
        """Whether there are two tasks alone."""
        return self.dependence in LOWER_RATES

    @property
    def task_space(self) -> spaces.Dict:
        """``rates``: the success rate of each arm."""
        return spaces.Dict({"rates": spaces.Box(0.0, 1.0, (self.arms,), np.float32)})

    @property
    def prior(self) -> BernoulliPrior:
        """How the rates are drawn."""
        return BernoulliPrior(arms=self.arms, pulls=self.pulls, dependence=self.dependence)

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """``rates`` ``[n, arms]``."""
        if self.dependence == "none":
            return {"rates": rng.random((n, self.arms), dtype=np.float32)}
        first = rng.random((n, 1), dtype=np.float32)
        if self.dependence != "uniform":
            lower = np.float32(LOWER_RATES[self.dependence])
            first = np.where(first < 0.5, lower, 1 - lower)
        return {"rates": np.concatenate((first, 1 - first), axis=1)}

    def pay(self, worth: Floats, rng: np.random.Generator) -> Array:
        """``[n]``: 1 with the success rate ``worth`` ``[n]`` of the arm, else 0."""
        return rng.random(len(worth), dtype=np.float32) < worth

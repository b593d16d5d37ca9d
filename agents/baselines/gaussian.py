"""Hand-made strategies for the Gaussian bandit.

Each keeps the exact posterior of every arm's mean, a normal distribution, read from ``prev_action`` and
``prev_reward`` alone, and pulls the arm with the largest score; ties are broken uniformly at random.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial

import numpy as np
from scipy.special import ndtr

from metarl.agents.baselines.common import TENTHS, Strategy, Tunable, feedback, normal_posterior, random_argmax
from metarl.tasks.family.priors import GaussianPrior
from metarl.types import Array, Boundary, Floats, Ints, TrialObservation


class GaussianStrategy(ABC):
    """Adds up every arm's pulls and rewards, and pulls the arm with the largest score."""

    def __init__(self, prior: GaussianPrior) -> None:
        self.prior = prior
        self.reset(0, np.random.default_rng(0))

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Forget everything and prepare to play ``n`` trials."""
        self._rng = rng
        self._pulls = np.zeros((n, self.prior.arms))
        self._total = np.zeros_like(self._pulls)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose arms ``[n]``; a row whose ``boundary`` is TRIAL starts from the prior."""
        action, reward = feedback(obs, *self._pulls.shape)
        self._pulls += action
        self._total += action * reward[:, None]
        starts = boundary == Boundary.TRIAL
        self._pulls[starts] = 0
        self._total[starts] = 0
        return random_argmax(self._scores(*normal_posterior(self._total, self._pulls, self.prior.noise)), self._rng)

    @abstractmethod
    def _scores(self, mean: Floats, sd: Floats) -> Floats:
        """What each arm is worth ``[n, arms]``, given the posterior's means and standard deviations."""


class GaussianGreedy(GaussianStrategy):
    """Pulls the arm with the largest posterior mean."""

    def _scores(self, mean: Floats, sd: Floats) -> Floats:
        return mean


class GaussianUCB(GaussianStrategy):
    """Adds ``c sqrt(2 ln t)`` posterior standard deviations to the posterior mean, at the ``t``-th pull.

    UCB1 (Auer et al. 2002) with the posterior in place of the mean of the rewards.
    """

    def __init__(self, prior: GaussianPrior, c: float) -> None:
        if not c >= 0:
            raise ValueError(f"c is {c}, expected a number of at least 0")
        super().__init__(prior)
        self.c = c

    def _scores(self, mean: Floats, sd: Floats) -> Floats:
        t = 1 + self._pulls.sum(axis=1, keepdims=True)
        return mean + self.c * np.sqrt(2 * np.log(t)) * sd


class GaussianThompson(GaussianStrategy):
    """Pulls the best arm of a sample from the posterior."""

    def _scores(self, mean: Floats, sd: Floats) -> Floats:
        return self._rng.normal(mean, sd)


def strategies(prior: GaussianPrior) -> Mapping[str, Strategy]:
    """The actors for the Gaussian bandit, by name."""
    return {
        "greedy": partial(GaussianGreedy, prior),
        "UCB": Tunable(partial(GaussianUCB, prior), TENTHS, 0.5),
        "Thompson": partial(GaussianThompson, prior),
    }


def ceilings(prior: GaussianPrior) -> dict[str, float]:
    """Reward a trial of one who knows the best arm: its expected mean, that of the largest of ``arms`` N(0, 1)."""
    # The rule of trapezes is as good as exact here: the density of the largest is smooth and vanishes at both ends.
    x, dx = np.linspace(-12, 12, 4001, retstep=True)
    density = prior.arms * ndtr(x) ** (prior.arms - 1) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return {"best arm known": prior.pulls * float((x * density).sum() * dx)}

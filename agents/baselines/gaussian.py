"""Hand-made strategies for the Gaussian bandit.

Each keeps the exact posterior of every arm's mean, a normal distribution, read from ``prev_action`` and
``prev_reward`` alone, and pulls the arm with the largest score; ties are broken uniformly at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from scipy.special import ndtr

from metarl.agents.baselines.common import TENTHS, IndexStrategy, Strategy, Tunable, normal_posterior
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.priors import GaussianPrior
from metarl.types import Floats


class GaussianStrategy(IndexStrategy):
    """Keeps the posterior of every arm's mean reward."""

    def __init__(self, prior: GaussianPrior) -> None:
        super().__init__(prior)
        self.noise = prior.noise

    def _posterior(self) -> tuple[Floats, Floats]:
        """Means and standard deviations, ``[n, arms]`` each."""
        return normal_posterior(self._total, self._pulls, self.noise)


class GaussianGreedy(GaussianStrategy):
    """Pulls the arm with the largest posterior mean."""

    def _scores(self) -> Floats:
        return self._posterior()[0]


class GaussianUCB(GaussianStrategy):
    """Adds ``c sqrt(2 ln t)`` posterior standard deviations to the posterior mean, at the ``t``-th pull.

    UCB1 (Auer et al. 2002) with the posterior in place of the mean of the rewards.
    """

    def __init__(self, prior: GaussianPrior, c: float) -> None:
        super().__init__(prior)
        self.c = real_number("c", c, at_least=0)

    def _scores(self) -> Floats:
        mean, sd = self._posterior()
        t = 1 + self._pulls.sum(axis=1, keepdims=True)
        return mean + self.c * np.sqrt(2 * np.log(t)) * sd


class GaussianThompson(GaussianStrategy):
    """Pulls the best arm of a sample from the posterior."""

    def _scores(self) -> Floats:
        return self._rng.normal(*self._posterior())


def strategies(prior: GaussianPrior) -> Mapping[str, Strategy]:
    """The actors for the Gaussian bandit, by name."""
    return {
        "greedy": partial(GaussianGreedy, prior),
        "UCB": Tunable(partial(GaussianUCB, prior), TENTHS, 0.5),
        "Thompson": partial(GaussianThompson, prior),
    }


def ceilings(prior: GaussianPrior) -> dict[str, float]:
    """Reward a trial of an agent that knows the best arm: the expected largest of ``arms`` draws from N(0, 1)."""
    # The trapezoidal rule is as good as exact here: the density of the largest is smooth and vanishes at both ends.
    x, dx = np.linspace(-12, 12, 4001, retstep=True)
    density = prior.arms * ndtr(x) ** (prior.arms - 1) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return {"best arm known": prior.pulls * float((x * density).sum() * dx)}

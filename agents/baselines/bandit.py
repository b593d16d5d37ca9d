"""Hand-made strategies for the Bernoulli bandit, as defined in RL² (Duan et al. 2016, section 3.1).

Each keeps, per row and arm, the successes and pulls of the trial so far, read from ``prev_action`` and
``prev_reward`` alone, and pulls the arm with the largest score; ties are broken uniformly at random.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial

import numpy as np

from metarl.agents.baselines.bayes import bayes_optimal_value, is_small
from metarl.agents.baselines.common import TENTHS, Strategy, Tunable, feedback, random_argmax
from metarl.agents.baselines.gittins import LONGEST, gittins_table
from metarl.tasks.family.priors import BernoulliPrior
from metarl.types import Array, Boundary, Floats, Ints, TrialObservation


class IndexStrategy(ABC):
    """Counts every arm's successes and pulls, and pulls the arm with the largest score."""

    def __init__(self, prior: BernoulliPrior) -> None:
        self.prior = prior
        self.reset(0, np.random.default_rng(0))

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Forget everything and prepare to play ``n`` trials."""
        self._rng = rng
        self._successes = np.zeros((n, self.prior.arms), dtype=np.int32)
        self._pulls = np.zeros_like(self._successes)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose arms ``[n]``; a row whose ``boundary`` is TRIAL starts from empty counts."""
        action, reward = feedback(obs, *self._pulls.shape)
        pulled = action > 0.5
        self._pulls += pulled
        self._successes += pulled & (reward > 0.5)[:, None]
        starts = boundary == Boundary.TRIAL
        self._pulls[starts] = 0
        self._successes[starts] = 0
        return random_argmax(self._scores(), self._rng)

    def _means(self) -> Floats:
        """Posterior means ``[n, arms]`` under Beta(1, 1): every arm starts with one success and one failure."""
        return (1 + self._successes) / (2 + self._pulls)

    @abstractmethod
    def _scores(self) -> Floats:
        """What each arm is worth ``[n, arms]``."""


class Greedy(IndexStrategy):
    """Pulls the arm with the largest posterior mean."""

    def _scores(self) -> Floats:
        return self._means()


class EpsilonGreedy(Greedy):
    """Pulls a uniformly random arm with probability ``epsilon``, else the one with the largest posterior mean."""

    def __init__(self, prior: BernoulliPrior, epsilon: float) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is {epsilon}, expected a probability in [0, 1]")
        super().__init__(prior)
        self.epsilon = epsilon

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose arms ``[n]``."""
        greedy = super().act(obs, boundary)
        explores = self._rng.random(len(greedy)) < self.epsilon
        return np.where(explores, self._rng.integers(self.prior.arms, size=len(greedy)), greedy)


class UCB1(IndexStrategy):
    """Adds ``c sqrt(2 ln t / pulls)`` to the posterior mean (Auer et al. 2002; scaled by ``c`` as in RL²).

    ``t`` is the number of the coming pull in the trial; an arm's pulls count its initial success and failure.
    """

    def __init__(self, prior: BernoulliPrior, c: float) -> None:
        if not c >= 0:
            raise ValueError(f"c is {c}, expected a number of at least 0")
        super().__init__(prior)
        self.c = c

    def _scores(self) -> Floats:
        t = 1 + self._pulls.sum(axis=1, keepdims=True)
        return self._means() + self.c * np.sqrt(2 * np.log(t) / (2 + self._pulls))


class Thompson(IndexStrategy):
    """Pulls the best arm of a sample from the posterior, Beta(1 + successes, 1 + failures) for each arm."""

    def _scores(self) -> Floats:
        return self._rng.beta(1 + self._successes, 1 + self._pulls - self._successes)


class FiniteHorizonGittins(IndexStrategy):
    """Pulls the arm with the largest finite-horizon Gittins index for the pulls left in the trial.

    The index is optimal for one unknown arm against a sure reward. With several unknown arms and a finite horizon it
    need not be, but simulated returns agree with the exact optimum where that is known (10 pulls; 2 arms x 100).
    """

    def __init__(self, prior: BernoulliPrior) -> None:
        super().__init__(prior)
        self._table = gittins_table(prior.pulls)

    def _scores(self) -> Floats:
        left = self.prior.pulls - self._pulls.sum(axis=1, keepdims=True)
        if left.size and left.min() < 1:
            raise ValueError(f"the trial goes on after {self.prior.pulls} pulls, the horizon that the prior gives")
        return self._table.index(self._successes, self._pulls - self._successes, left)


def strategies(prior: BernoulliPrior) -> Mapping[str, Strategy]:
    """The actors for the Bernoulli bandit, by name; Gittins where its table is long enough for the trial."""
    gittins: dict[str, Strategy] = {"Gittins": partial(FiniteHorizonGittins, prior)} if prior.pulls <= LONGEST else {}
    return {
        "greedy": partial(Greedy, prior),
        "epsilon-greedy": Tunable(partial(EpsilonGreedy, prior), TENTHS, 0.1),
        "UCB1": Tunable(partial(UCB1, prior), TENTHS, 0.2),
        "Thompson": partial(Thompson, prior),
        **gittins,
    }


def ceilings(prior: BernoulliPrior) -> dict[str, float]:
    """Reward a trial: the Bayes-optimal one where the bandit is small enough, and that of the best arm."""
    arms, pulls = prior.arms, prior.pulls
    optimal = {"Bayes-optimal": bayes_optimal_value(arms, pulls)} if is_small(arms, pulls) else {}
    return {**optimal, "best arm known": pulls * arms / (arms + 1)}

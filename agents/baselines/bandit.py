"""Hand-made strategies for the Bernoulli bandit, as defined in RL² (Duan et al. 2016, section 3.1).

Each keeps, per row and arm, the successes and pulls of the trial so far, read from ``prev_action`` and
``prev_reward`` alone, and pulls the arm with the largest score; ties are broken uniformly at random. All but
:class:`DependentArms` take the arms to be independent, whatever the prior says of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from metarl.agents.baselines.bayes import bayes_optimal_value, dependent_value, is_small
from metarl.agents.baselines.common import TENTHS, IndexStrategy, Strategy, Tunable, count, probability
from metarl.agents.baselines.gittins import LONGEST, gittins_table
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.priors import LOWER_RATES, BernoulliPrior
from metarl.types import Array, Floats, Ints, TrialObservation


class BernoulliStrategy(IndexStrategy):
    """Counts every arm's successes and pulls."""

    def __init__(self, prior: BernoulliPrior) -> None:
        super().__init__(prior)
        self.prior = prior

    def _worth(self, reward: Floats) -> Floats:
        return (reward > 0.5).astype(np.float32)

    def _means(self) -> Floats:
        """Posterior means ``[n, arms]`` under Beta(1, 1): every arm starts with one success and one failure."""
        return (1 + self._total) / (2 + self._pulls)


class Greedy(BernoulliStrategy):
    """Pulls the arm with the largest posterior mean."""

    def _scores(self) -> Floats:
        return self._means()


class EpsilonGreedy(Greedy):
    """Pulls a uniformly random arm with probability ``epsilon``, else the one with the largest posterior mean."""

    def __init__(self, prior: BernoulliPrior, epsilon: float) -> None:
        super().__init__(prior)
        self.epsilon = probability("epsilon", epsilon)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose arms ``[n]``."""
        greedy = super().act(obs, boundary)
        explores = self._rng.random(len(greedy)) < self.epsilon
        return np.where(explores, self._rng.integers(self.prior.arms, size=len(greedy)), greedy)


class UCB1(BernoulliStrategy):
    """Adds ``c sqrt(2 ln t / pulls)`` to the posterior mean (Auer et al. 2002; scaled by ``c`` as in RL²).

    ``t`` is the number of the coming pull in the trial; an arm's pulls count its initial success and failure.
    """

    def __init__(self, prior: BernoulliPrior, c: float) -> None:
        super().__init__(prior)
        self.c = real_number("c", c, at_least=0)

    def _scores(self) -> Floats:
        t = 1 + self._pulls.sum(axis=1, keepdims=True)
        return self._means() + self.c * np.sqrt(2 * np.log(t) / (2 + self._pulls))


class Thompson(BernoulliStrategy):
    """Pulls the best arm of a sample from the posterior, Beta(1 + successes, 1 + failures) for each arm."""

    def _scores(self) -> Floats:
        return self._rng.beta(1 + self._total, 1 + self._pulls - self._total)


class OptimisticThompson(BernoulliStrategy):
    """Pulls the best arm of the most probable of ``samples`` samples from the posterior (OTS in RL²).

    Probable is what has the largest posterior density; with one sample it is Thompson sampling, and the more samples,
    the nearer it comes to the posterior's mode.
    """

    def __init__(self, prior: BernoulliPrior, samples: float) -> None:
        super().__init__(prior)
        self.samples = count("samples", samples)

    def _scores(self) -> Floats:
        wins, losses = self._total, self._pulls - self._total
        best = self._rng.beta(1 + wins, 1 + losses)
        density = _log_density(best, wins, losses)
        for _ in range(self.samples - 1):
            drawn = self._rng.beta(1 + wins, 1 + losses)
            of_drawn = _log_density(drawn, wins, losses)
            better = of_drawn > density
            density[better], best[better] = of_drawn[better], drawn[better]
        return best


def _log_density(rates: Floats, wins: Floats, losses: Floats) -> Floats:
    """Of rates ``[n, arms]``, up to what is the same for all rates: ``[n]``."""
    tiny = np.finfo(float).tiny  # a rate that was drawn as 0 or 1
    return (wins * np.log(np.maximum(rates, tiny)) + losses * np.log(np.maximum(1 - rates, tiny))).sum(axis=1)


class DependentArms(BernoulliStrategy):
    """Optimal for two arms whose rates add up to one: pulls the arm with the larger posterior mean.

    A failure of one arm speaks for the other. All pulls tell as much, so that nothing is gained by exploring; which arm
    is better does not depend on how the first rate is drawn, as long as it is drawn alike about 1/2.

    Raises:
        ValueError: not two arms.
    """

    def __init__(self, prior: BernoulliPrior) -> None:
        super().__init__(prior)
        if prior.arms != 2:
            raise ValueError(f"the prior has {prior.arms} arms, expected 2 that depend on each other")

    def _scores(self) -> Floats:
        spoke = 2 * self._total - self._pulls  # successes less failures
        return spoke - spoke[:, ::-1]


class FiniteHorizonGittins(BernoulliStrategy):
    """Pulls the arm with the largest finite-horizon Gittins index for the pulls left in the trial.

    The index is optimal for one unknown arm against a sure reward. With several unknown arms and a finite horizon it
    need not be, but simulated returns agree with the exact optimum where that is known (10 pulls; 2 arms x 100).
    """

    def __init__(self, prior: BernoulliPrior) -> None:
        super().__init__(prior)
        self._table = gittins_table(prior.pulls)

    def _scores(self) -> Floats:
        pulls, successes = self._pulls.astype(np.intp), self._total.astype(np.intp)
        left = self.prior.pulls - pulls.sum(axis=1, keepdims=True)
        if left.size and left.min() < 1:
            raise ValueError(f"the trial goes on after {self.prior.pulls} pulls, the horizon that the prior gives")
        return self._table.index(successes, pulls - successes, left)


def strategies(prior: BernoulliPrior) -> Mapping[str, Strategy]:
    """The actors for the Bernoulli bandit, by name; Gittins where its table is long enough for the trial.

    Where arms depend on each other the last is optimal, and the others don't know it.
    """
    gittins: dict[str, Strategy] = {"Gittins": partial(FiniteHorizonGittins, prior)} if prior.pulls <= LONGEST else {}
    optimal: dict[str, Strategy] = (
        {} if prior.dependence == "none" else {"Bayes-optimal": partial(DependentArms, prior)}
    )
    return {
        "greedy": partial(Greedy, prior),
        "epsilon-greedy": Tunable(partial(EpsilonGreedy, prior), TENTHS, 0.1),
        "UCB1": Tunable(partial(UCB1, prior), TENTHS, 0.2),
        "Thompson": partial(Thompson, prior),
        **gittins,
        **optimal,
    }


def published(prior: BernoulliPrior) -> Mapping[str, Strategy]:
    """The actors that RL² (Duan et al. 2016, table 1) was compared with beside those of :func:`strategies`, by name."""
    return {"OTS": Tunable(partial(OptimisticThompson, prior), (2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0), 7.0)}


def ceilings(prior: BernoulliPrior) -> dict[str, float]:
    """Reward a trial: the Bayes-optimal one where the bandit is small enough, and that of the best arm."""
    arms, pulls = prior.arms, prior.pulls
    if prior.dependence != "none":
        best = 1 - LOWER_RATES.get(prior.dependence, 0.25)  # the larger of u and 1 - u is 3/4 on average
        return {"Bayes-optimal": dependent_value(prior.dependence, pulls), "best arm known": pulls * best}
    optimal = {"Bayes-optimal": bayes_optimal_value(arms, pulls)} if is_small(arms, pulls) else {}
    return {**optimal, "best arm known": pulls * arms / (arms + 1)}

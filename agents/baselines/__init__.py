"""Hand-made strategies and exact values to hold trained agents against.

:func:`references` makes the actors for a prior, :func:`tune` sets their parameters on validation tasks, and
:func:`ceilings` says what is attainable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from metarl.agents.baselines.bandit import UCB1, EpsilonGreedy, FiniteHorizonGittins, Greedy, Thompson
from metarl.agents.baselines.barcode import IdealMemory, WithinEpisode, episode_value, exposure_values
from metarl.agents.baselines.bayes import bayes_optimal_value, is_small
from metarl.agents.baselines.common import Random
from metarl.agents.baselines.gittins import LONGEST
from metarl.tasks.priors import BarcodePrior, BernoulliPrior, Prior
from metarl.types import Actor

__all__ = ["ceilings", "episode_value", "exposure_values", "references", "tune"]

UNTUNED = {"epsilon-greedy": 0.1, "UCB1": 0.2}
"""The parameters of strategies that have one, where nothing was tuned."""
_GRID = tuple(i / 10 for i in range(11))


def references(prior: Prior, tuned: Mapping[str, float] | None = None) -> dict[str, Callable[[], Actor]]:
    """The actors to compare with, by name and in the order of display; each value makes a new actor.

    Gittins is left out where the trial is longer than its longest table.

    Args:
        prior: what the actors know of the family.
        tuned: parameters from :func:`tune`; those not given are :data:`UNTUNED`.

    Raises:
        ValueError: ``tuned`` names a strategy without a parameter.
    """
    if unknown := sorted(set(tuned or {}) - set(UNTUNED)):
        raise ValueError(f"{', '.join(unknown)} cannot be tuned; what can is {', '.join(UNTUNED)}")
    parameters = {**UNTUNED, **(tuned or {})}
    actors: dict[str, Callable[[], Actor]] = {"random": partial(Random, prior.arms)}
    match prior:
        case BernoulliPrior():
            actors["greedy"] = partial(Greedy, prior)
            actors["epsilon-greedy"] = partial(EpsilonGreedy, prior, parameters["epsilon-greedy"])
            actors["UCB1"] = partial(UCB1, prior, parameters["UCB1"])
            actors["Thompson"] = partial(Thompson, prior)
            if prior.pulls <= LONGEST:
                actors["Gittins"] = partial(FiniteHorizonGittins, prior)
        case BarcodePrior():
            actors["within episode"] = partial(WithinEpisode, prior)
            actors["ideal memory"] = partial(IdealMemory, prior)
    return actors


def tune(prior: Prior, evaluate: Callable[[Actor], float]) -> dict[str, float]:
    """The best of 0, .1, ..., 1 for ε-greedy's ε and UCB1's c; empty for a prior without such strategies.

    Args:
        prior: what the actors know of the family.
        evaluate: the mean return of an actor, on the same validation tasks each time.
    """
    if not isinstance(prior, BernoulliPrior):
        return {}
    makers: dict[str, Callable[[BernoulliPrior, float], Actor]] = {"epsilon-greedy": EpsilonGreedy, "UCB1": UCB1}
    best: dict[str, float] = {}
    for name, make in makers.items():
        returns = [evaluate(make(prior, value)) for value in _GRID]
        best[name] = _GRID[returns.index(max(returns))]
    return best


def ceilings(prior: Prior) -> dict[str, float]:
    """Known expected values by name: reward a trial for a Bernoulli bandit, reward an episode for a barcode bandit.

    Entries that need exact dynamic programming are left out where the bandit is too large for it.

    Raises:
        ValueError: a barcode bandit with ``each_arm_best_once``, for which no ceiling is known.
    """
    match prior:
        case BernoulliPrior(arms, pulls):
            optimal = {"Bayes-optimal": bayes_optimal_value(arms, pulls)} if is_small(arms, pulls) else {}
            return {**optimal, "best arm known": pulls * arms / (arms + 1)}
        case BarcodePrior(arms=arms, pulls=pulls, high=high, low=low):
            remembered = float(exposure_values(prior).mean())
            return {
                "random": pulls * (high + (arms - 1) * low) / arms,
                **({"within episode": episode_value(prior)} if is_small(arms, pulls) else {}),
                "ideal memory": remembered,
                "oracle": pulls * high,
            }

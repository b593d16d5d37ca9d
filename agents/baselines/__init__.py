"""Hand-made strategies and exact values to hold trained agents against.

:func:`references` makes the actors for a prior, :func:`tune` sets their parameters on validation tasks, and
:func:`ceilings` says what is attainable. What there is for a kind of prior is one row of the table below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from metarl.agents.baselines import bandit, barcode, gaussian, mdp
from metarl.agents.baselines.barcode import episode_value, exposure_values
from metarl.agents.baselines.common import Random, Strategy, Tunable
from metarl.agents.baselines.planning import known_mdp_value
from metarl.tasks.family.priors import BarcodePrior, BernoulliPrior, GaussianPrior, Prior, TabularPrior
from metarl.types import Actor

__all__ = ["Random", "ceilings", "episode_value", "exposure_values", "known_mdp_value", "references", "tune"]


_MODULES: dict[type[Prior], ModuleType] = {
    BernoulliPrior: bandit,
    GaussianPrior: gaussian,
    BarcodePrior: barcode,
    TabularPrior: mdp,
}
"""Each has the functions ``strategies`` and ``ceilings`` of a prior."""


_PUBLISHED: dict[type[Prior], Callable[[Any], Mapping[str, Strategy]]] = {
    BernoulliPrior: bandit.published,
    TabularPrior: mdp.published,
}


def references(
    prior: Prior, tuned: Mapping[str, float] | None = None, *, published: bool = False
) -> dict[str, Callable[[], Actor]]:
    """The actors to compare with beside :class:`Random`, by name and in the order of display, each made anew.

    Args:
        prior: what the actors know of the family.
        tuned: parameters from :func:`tune`; those not given have the value of :attr:`common.Tunable.untuned`.
        published: further ones, those that RL² was compared with in its tables; they take longer.

    Raises:
        ValueError: ``tuned`` names what cannot be tuned for this prior, or nothing was published for it.
    """
    tuned = tuned or {}
    strategies = _strategies(prior, published)
    tunable = [name for name, entry in strategies.items() if isinstance(entry, Tunable)]
    if unknown := sorted(set(tuned) - set(tunable)):
        raise ValueError(f"{', '.join(unknown)} cannot be tuned; what can is {', '.join(tunable) or 'nothing'}")
    actors: dict[str, Callable[[], Actor]] = {}
    for name, entry in strategies.items():
        actors[name] = partial(entry.make, tuned.get(name, entry.untuned)) if isinstance(entry, Tunable) else entry
    return actors


def tune(prior: Prior, evaluate: Callable[[Actor], float], *, published: bool = False) -> dict[str, float]:
    """The best parameter of every strategy that has one, each of its own grid; empty where none has.

    Args:
        prior: what the actors know of the family.
        evaluate: the mean return of an actor, on the same validation tasks each time.
        published: those of :func:`references` with ``published``.

    Raises:
        ValueError: ``published``, and nothing was published for this prior.
    """
    best: dict[str, float] = {}
    for name, entry in _strategies(prior, published).items():
        if isinstance(entry, Tunable):
            returns = [evaluate(entry.make(value)) for value in entry.grid]
            best[name] = entry.grid[returns.index(max(returns))]
    return best


def _strategies(prior: Prior, published: bool) -> Mapping[str, Strategy]:
    known: Mapping[str, Strategy] = _MODULES[type(prior)].strategies(prior)
    if not published:
        return known
    if type(prior) not in _PUBLISHED:
        raise ValueError(f"no strategies were published for a {type(prior).__name__}: leave published out")
    return {**known, **_PUBLISHED[type(prior)](prior)}


def ceilings(prior: Prior) -> dict[str, float]:
    """Known expected values by name: reward a trial where an episode is one pull of a bandit, else an episode.

    Entries that need exact dynamic programming are left out where the bandit is too large for it.

    Raises:
        ValueError: a barcode bandit with ``each_arm_best_once``, for which no ceiling is known.
    """
    return _MODULES[type(prior)].ceilings(prior)

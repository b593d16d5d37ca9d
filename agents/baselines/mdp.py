"""What there is to compare with in random tabular MDPs; the actors are in ``planners`` and ``optimistic``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from metarl.agents.baselines.common import TENTHS, Strategy, Tunable
from metarl.agents.baselines.optimistic import BEB, LOG_GRID, OPSRL, SAMPLES, UCRL2, NoPrior
from metarl.agents.baselines.planners import PSRL, BayesBonus, FixedTies, PosteriorGreedy
from metarl.agents.baselines.planning import known_mdp_value
from metarl.tasks.family.priors import TabularPrior

BONUSES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def strategies(prior: TabularPrior) -> Mapping[str, Strategy]:
    """The actors for random MDPs, by name."""
    return {
        "greedy": partial(PosteriorGreedy, prior),
        "greedy, fixed ties": partial(FixedTies, prior),
        "PSRL": partial(PSRL, prior),
        "Bayes bonus": Tunable(partial(BayesBonus, prior), BONUSES, 0.5),
        "Bayes bonus, replanned": Tunable(partial(BayesBonus, prior, replans=True), BONUSES, 0.75),
    }


def published(prior: TabularPrior) -> Mapping[str, Strategy]:
    """The actors that RL² (Duan et al. 2016, table 2) was compared with, by name; they take minutes.

    Those of "prior 0" take mean rewards to be drawn from N(0, 1) whatever the family says, and those of "no prior"
    know nothing of them: so did the code that the published figures come from. OPSRL and BEB come with the right prior
    as well.
    """
    wrong = replace(prior, reward_mean=0.0)
    return {
        "greedy, no prior": partial(NoPrior, prior),
        "epsilon-greedy, no prior": Tunable(partial(NoPrior, prior), TENTHS[1:], 0.1),
        "PSRL, prior 0": partial(PSRL, wrong),
        "OPSRL": Tunable(partial(OPSRL, prior), SAMPLES, 5.0),
        "OPSRL, prior 0": Tunable(partial(OPSRL, wrong), SAMPLES, 5.0),
        "BEB": Tunable(partial(BEB, prior), LOG_GRID, LOG_GRID[10]),
        "BEB, prior 0": Tunable(partial(BEB, wrong), LOG_GRID, LOG_GRID[10]),
        "UCRL2": Tunable(partial(UCRL2, prior), LOG_GRID, LOG_GRID[10]),
    }


def ceilings(prior: TabularPrior) -> dict[str, float]:
    """Reward an episode of an agent that knows the MDP."""
    return {"known MDP": known_mdp_value(prior)}

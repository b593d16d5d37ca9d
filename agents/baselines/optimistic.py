"""The planners that RL² (Duan et al. 2016, section 3.2) is compared with: optimistic ones, and those without a prior.

Their published results come from the code of TabulaRL (Osband), whose constants and grids are kept here.
"""

from __future__ import annotations

from math import log

import numpy as np

from metarl.agents.baselines.common import count, probability
from metarl.agents.baselines.planners import PSRL, Planner, PosteriorGreedy
from metarl.agents.baselines.planning import action_values, extended_values
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.priors import TabularPrior
from metarl.types import Array, Floats, Ints, TrialObservation

LOG_GRID = tuple(10 ** (i / 5) for i in range(-20, 1))
"""1e-4 to 1 in 21 steps of equal ratio: the scales that UCRL2 and BEB are tuned over."""
SAMPLES = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)
"""The numbers of samples that OPSRL is tuned over, out of the 1 to 20 of the source."""
DELTA = 0.05
_NO_PRIOR = np.float32(1e-4)  # the weight of a prior that is meant to have none


class OPSRL(PSRL):
    """Optimistic PSRL: of the action values of ``samples`` MDPs drawn from the posterior, the largest of each.

    The best of several samples for each step, state and action (Osband & Van Roy 2016); with one it is PSRL.
    """

    def __init__(self, prior: TabularPrior, samples: float) -> None:
        super().__init__(prior)
        self.samples = count("samples", samples)

    def _plan(self, rows: Ints, steps: int) -> Floats:
        values = super()._plan(rows, steps)
        for _ in range(self.samples - 1):
            np.maximum(values, super()._plan(rows, steps), out=values)
        return values


class BEB(Planner):
    """Bayesian exploration bonus (Kolter & Ng 2009), as in the source of RL²'s figures.

    Plans in the posterior mean. Mean rewards get a bonus of ``1 / (1 + w_r)``, and every step that follows one of
    ``2 H³ scale / (1 + w_p)``, with ``w`` the weights of the posteriors, prior included, and ``H`` the horizon.
    """

    def __init__(self, prior: TabularPrior, scale: float) -> None:
        super().__init__(prior)
        self.scale = real_number("scale", scale, at_least=0)

    def _plan(self, rows: Ints, steps: int) -> Floats:
        rewards = self._rewards(rows)[0] + 1 / (2 + self._visits[rows])
        weight = self.prior.states + self._moves[rows].sum(axis=3)
        bonus = np.float32(2 * self.prior.horizon**3 * self.scale) / (1 + weight)
        return action_values(rewards, self._transitions(rows), steps, bonus)


class NoPrior(PosteriorGreedy):
    """Plans in the averages of what was seen: rewards of 0 and next states all alike where nothing was.

    Args:
        prior: its sizes; what it says of rewards is not used.
        epsilon: the probability of a random action at each step.
    """

    def __init__(self, prior: TabularPrior, epsilon: float = 0.0) -> None:
        super().__init__(prior)
        self.epsilon = probability("epsilon", epsilon)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose actions ``[n]``."""
        greedy = super().act(obs, boundary)
        if self.epsilon == 0:
            return greedy
        explores = self._rng.random(len(greedy)) < self.epsilon
        return np.where(explores, self._rng.integers(self.prior.actions, size=len(greedy)), greedy)

    def _rewards(self, rows: Ints) -> tuple[Floats, Floats]:
        weight = _NO_PRIOR + self._visits[rows]
        return self._total[rows] / weight, 1 / np.sqrt(weight)

    def _transitions(self, rows: Ints) -> Floats:
        weights = _NO_PRIOR + self._moves[rows]
        return weights / weights.sum(axis=3, keepdims=True)


class UCRL2(NoPrior):
    """Plans in the best of all MDPs within confidence sets about the averages (Jaksch, Ortner & Auer 2010).

    In its episode ``k`` of a trial the sets are ``scale sqrt(4 L / n)`` wide for mean rewards and
    ``scale sqrt(4 S L / n)`` in L1 for transitions, with ``L = ln(2 S A (k + 1) / .05)`` and ``n`` what was seen of
    the pair, at least 1.
    """

    def __init__(self, prior: TabularPrior, scale: float) -> None:
        super().__init__(prior)
        self.scale = real_number("scale", scale, at_least=0)

    def _plan(self, rows: Ints, steps: int) -> Floats:
        visits = self._visits[rows]
        episode = 1 + visits.sum(axis=(1, 2)) // self.prior.horizon  # all episodes have as many steps
        pairs = self.prior.states * self.prior.actions
        width = np.float32(2 * self.scale) * np.sqrt(log(2 * pairs / DELTA) + np.log1p(episode))[:, None, None]
        rewards = self._rewards(rows)[0] + width / np.sqrt(np.maximum(visits, 1))
        moves = np.maximum(self._moves[rows].sum(axis=3), 1)
        return extended_values(rewards, self._transitions(rows), width * np.sqrt(self.prior.states / moves), steps)

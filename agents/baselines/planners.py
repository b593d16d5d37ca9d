"""Actors for random tabular MDPs that plan in what they believe of the MDP.

The belief after any number of steps is exact: Dirichlet for transitions (1 + the moves seen), normal for mean rewards.
As in RL² (Duan et al. 2016, section 3.2) it is made one MDP at the start of every episode, and the actor plays
that MDP's optimal policy for the episode, found by value iteration backwards from its last step. Among equal actions
it takes a random one at every step: in a trial of few episodes this explores, and is worth more than a fixed choice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from metarl.agents.baselines.common import feedback, normal_posterior, random_argmax
from metarl.agents.baselines.planning import action_values
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.priors import TabularPrior
from metarl.types import Array, Boundary, Floats, Ints, TrialObservation


class Planner(ABC):
    """Keeps the posterior of every row's MDP, and plays the optimal policy of what is drawn up from it.

    States and actions are read from ``obs`` and ``prev_action`` alone. The observation that follows an episode's last
    step is the first of the next episode: that step's reward is counted, its transition was never seen.

    Args:
        prior: of the family that it plays.
        replans: plan anew at every step for the rest of the episode, not once an episode.
    """

    def __init__(self, prior: TabularPrior, *, replans: bool = False) -> None:
        self.prior, self.replans = prior, replans
        self.reset(0, np.random.default_rng(0))

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Forget everything and prepare to play ``n`` trials."""
        states, actions, horizon = self.prior.states, self.prior.actions, self.prior.horizon
        self._rng, self._rows = rng, np.arange(n)
        self._moves = np.zeros((n, states, actions, states), np.float32)
        self._visits = np.zeros((n, states, actions), np.float32)
        self._total = np.zeros_like(self._visits)
        self._values = np.zeros((n, horizon, states, actions), np.float32)
        self._state: Ints = np.zeros(n, np.intp)
        self._step = np.full(n, horizon)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose actions ``[n]``; a row whose ``boundary`` is TRIAL starts from the prior.

        Raises:
            ValueError: the observation is not that of the prior's family, or an episode exceeds its horizon.
        """
        state = self._observed(obs)
        if (self._step[boundary == Boundary.INSIDE] >= self.prior.horizon).any():
            raise ValueError(
                f"an episode goes on after {self.prior.horizon} steps, the horizon that the prior gives: give the "
                "actor the prior of the family that it plays"
            )
        self._learn(obs, state, boundary)
        starts = boundary != Boundary.INSIDE
        self._step[starts] = 0
        fresh = self._rows if self.replans else np.flatnonzero(starts)
        if len(fresh):
            done = int(self._step[fresh].min())  # what a step is worth depends on the steps left alone
            self._values[fresh, done:] = self._plan(fresh, self.prior.horizon - done)
        values = self._values[self._rows, self._step, state]
        self._state = state
        self._step += 1
        return self._best(values)

    def _best(self, values: Floats) -> Ints:
        """The actions ``[n]`` to take, given what each is worth ``[n, A]``."""
        return random_argmax(values, self._rng)

    def _observed(self, obs: TrialObservation) -> Ints:
        """The states ``[n]`` that ``obs`` shows."""
        shape = len(self._rows), self.prior.states
        if "obs" not in obs or obs["obs"].shape != shape:
            got = obs["obs"].shape if "obs" in obs else "none"
            raise ValueError(f"expected one-hot states 'obs' of shape {shape}, got {got}: call reset(n, rng) before")
        return obs["obs"].argmax(axis=1)

    def _learn(self, obs: TrialObservation, state: Ints, boundary: Ints) -> None:
        """Add what the last step showed."""
        one_hot, reward = feedback(obs, len(self._rows), self.prior.actions)
        action = one_hot.argmax(axis=1)
        for count in (self._moves, self._visits, self._total):
            count[boundary == Boundary.TRIAL] = 0
        paid = np.flatnonzero(boundary != Boundary.TRIAL)
        self._visits[paid, self._state[paid], action[paid]] += 1
        self._total[paid, self._state[paid], action[paid]] += reward[paid]
        moved = np.flatnonzero(boundary == Boundary.INSIDE)
        self._moves[moved, self._state[moved], action[moved], state[moved]] += 1

    def _rewards(self, rows: Ints) -> tuple[Floats, Floats]:
        """Posterior mean and standard deviation of the mean rewards of some rows, ``[m, S, A]`` each."""
        return normal_posterior(self._total[rows], self._visits[rows], self.prior.noise, self.prior.reward_mean)

    def _transitions(self, rows: Ints) -> Floats:
        """Posterior mean of the transitions of some rows, ``[m, S, A, S]``."""
        weights = 1 + self._moves[rows]
        return weights / weights.sum(axis=3, keepdims=True)

    @abstractmethod
    def _plan(self, rows: Ints, steps: int) -> Floats:
        """What actions are worth to some rows in the last ``steps`` steps of an episode, ``[m, steps, S, A]``."""


class OneModel(Planner):
    """Plans in one MDP."""

    def _plan(self, rows: Ints, steps: int) -> Floats:
        return action_values(*self._model(rows), steps)

    @abstractmethod
    def _model(self, rows: Ints) -> tuple[Floats, Floats]:
        """Rewards ``[m, S, A]`` and transitions ``[m, S, A, S]`` of the MDPs to plan in."""


class PosteriorGreedy(OneModel):
    """Plans in the posterior mean."""

    def _model(self, rows: Ints) -> tuple[Floats, Floats]:
        return self._rewards(rows)[0], self._transitions(rows)


class FixedTies(PosteriorGreedy):
    """Plans in the posterior mean, and always takes the first of equal actions: a weaker variant."""

    def _best(self, values: Floats) -> Ints:
        return values.argmax(axis=1)


class BayesBonus(OneModel):
    """Plans in the posterior mean, with ``bonus`` posterior standard deviations added to every mean reward."""

    def __init__(self, prior: TabularPrior, bonus: float, *, replans: bool = False) -> None:
        super().__init__(prior, replans=replans)
        self.bonus = real_number("bonus", bonus, at_least=0)

    def _model(self, rows: Ints) -> tuple[Floats, Floats]:
        mean, sd = self._rewards(rows)
        return mean + np.float32(self.bonus) * sd, self._transitions(rows)


class PSRL(OneModel):
    """Plans in a sample from the posterior (Strens 2000; Osband et al. 2013)."""

    def _model(self, rows: Ints) -> tuple[Floats, Floats]:
        mean, sd = self._rewards(rows)
        rewards = mean + sd * self._rng.standard_normal(mean.shape, dtype=np.float32)
        weights = self._rng.standard_gamma(1 + self._moves[rows], dtype=np.float32)
        return rewards, weights / weights.sum(axis=3, keepdims=True)

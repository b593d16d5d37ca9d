"""Random tabular MDPs: actors that plan in what they believe of the MDP, and the value of knowing it.

The belief after any number of steps is exact: Dirichlet for transitions (1 + the moves seen), normal for mean rewards.
As in RL² (Duan et al. 2016, section 3.2) it is made one MDP at the start of every episode, and the actor plays
that MDP's optimal policy for the episode, found by value iteration backwards from its last step. Among equal actions
it takes a random one at every step: in a trial of few episodes this explores, and is worth more than a fixed choice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from metarl.agents.baselines.cache import cached
from metarl.agents.baselines.common import Strategy, Tunable, feedback, normal_posterior, random_argmax
from metarl.seeding import numpy_rng
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.priors import TabularPrior
from metarl.types import Array, Boundary, Floats, Ints, TrialObservation

_MOST, _CELLS = 100_000, 50_000_000
_VERSION = 1


def action_values(rewards: Floats, transitions: Floats, horizon: int) -> Floats:
    """Undiscounted values of the actions at each step of an episode, by value iteration.

    ``Q_t(s, a) = r(s, a) + sum_s' p(s' | s, a) max_a' Q_{t+1}(s', a')``, with nothing to gain after the last step.

    Args:
        rewards: mean rewards ``[n, S, A]``.
        transitions: chances of the next states ``[n, S, A, S]``.
        horizon: steps in an episode.

    Returns:
        ``[n, horizon, S, A]``
    """
    values = np.empty((len(rewards), horizon, *rewards.shape[1:]), rewards.dtype)
    values[:, -1] = rewards
    for t in range(horizon - 2, -1, -1):
        # einsum sums every row alike, so that actions of which the same is known stay exactly equal.
        np.einsum("nsaz,nz->nsa", transitions, values[:, t + 1].max(axis=2), out=values[:, t])
        values[:, t] += rewards
    return values


class Planner(ABC):
    """Keeps the posterior of every row's MDP, and plays the optimal policy of one MDP drawn up from it an episode.

    States and actions are read from ``obs`` and ``prev_action`` alone. The observation that follows an episode's last
    step is the first of the next episode: that step's reward is counted, its transition was never seen.
    """

    def __init__(self, prior: TabularPrior) -> None:
        self.prior = prior
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
        fresh = np.flatnonzero(boundary != Boundary.INSIDE)
        if len(fresh):
            self._values[fresh] = action_values(*self._model(fresh), self.prior.horizon)
            self._step[fresh] = 0
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
    def _model(self, rows: Ints) -> tuple[Floats, Floats]:
        """Rewards ``[m, S, A]`` and transitions ``[m, S, A, S]`` of the MDPs to plan in."""


class PosteriorGreedy(Planner):
    """Plans in the posterior mean."""

    def _model(self, rows: Ints) -> tuple[Floats, Floats]:
        return self._rewards(rows)[0], self._transitions(rows)


class FixedTies(PosteriorGreedy):
    """Plans in the posterior mean, and always takes the first of equal actions: a weaker variant."""

    def _best(self, values: Floats) -> Ints:
        return values.argmax(axis=1)


class BayesBonus(Planner):
    """Plans in the posterior mean, with ``bonus`` posterior standard deviations added to every mean reward."""

    def __init__(self, prior: TabularPrior, bonus: float) -> None:
        super().__init__(prior)
        self.bonus = real_number("bonus", bonus, at_least=0)

    def _model(self, rows: Ints) -> tuple[Floats, Floats]:
        mean, sd = self._rewards(rows)
        return mean + np.float32(self.bonus) * sd, self._transitions(rows)


class PSRL(Planner):
    """Plans in a sample from the posterior (Strens 2000; Osband et al. 2013)."""

    def _model(self, rows: Ints) -> tuple[Floats, Floats]:
        mean, sd = self._rewards(rows)
        rewards = mean + sd * self._rng.standard_normal(mean.shape, dtype=np.float32)
        weights = self._rng.standard_gamma(1 + self._moves[rows], dtype=np.float32)
        return rewards, weights / weights.sum(axis=3, keepdims=True)


def strategies(prior: TabularPrior) -> Mapping[str, Strategy]:
    """The actors for random MDPs, by name.

    Those of "prior 0" take mean rewards to be drawn from N(0, 1) whatever the family says, as the code did that RL²'s
    published baselines come from.
    """
    wrong = replace(prior, reward_mean=0.0)
    return {
        "greedy": partial(PosteriorGreedy, prior),
        "greedy, fixed ties": partial(FixedTies, prior),
        "greedy, prior 0": partial(PosteriorGreedy, wrong),
        "PSRL": partial(PSRL, prior),
        "PSRL, prior 0": partial(PSRL, wrong),
        "Bayes bonus": Tunable(partial(BayesBonus, prior), (0.5, 1.0, 1.5, 2.0), 0.5),
    }


def ceilings(prior: TabularPrior) -> dict[str, float]:
    """Reward an episode of an agent that knows the MDP."""
    return {"known MDP": known_mdp_value(prior)}


def known_mdp_value(prior: TabularPrior) -> float:
    """The expected reward of an episode when the MDP is known, undiscounted.

    By value iteration in MDPs drawn from the prior with a fixed seed, few enough to take seconds: 100,000 of up to
    10 states and 5 actions, for which it is 21.83 with 10 steps an episode, at a standard error of .007.
    """
    name = f"mdp-{prior.states}-{prior.actions}-{prior.horizon}-{prior.reward_mean!r}-v{_VERSION}"
    return float(cached(name, (), lambda: _simulate(prior)))


def _simulate(prior: TabularPrior) -> Floats:
    rng = numpy_rng(0, "baseline")
    pairs = prior.states, prior.actions
    cells = prior.states**2 * prior.actions
    parts = 100  # few enough MDPs at a time for the processor's cache
    n = max(1, min(_MOST, _CELLS // cells) // parts)
    total = 0.0
    for _ in range(parts):
        rewards = prior.reward_mean + rng.standard_normal((n, *pairs), dtype=np.float32)
        weights = rng.standard_exponential((n, *pairs, prior.states), dtype=np.float32)
        weights /= weights.sum(axis=3, keepdims=True)
        total += float(action_values(rewards, weights, prior.horizon)[:, 0, 0].max(axis=1).mean())
    return np.array(total / parts)

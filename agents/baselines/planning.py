"""Value iteration in tabular MDPs with a finite horizon: exact, optimistic, and the value of knowing the MDP."""

from __future__ import annotations

import numpy as np

from metarl.agents.baselines.cache import cached
from metarl.seeding import numpy_rng
from metarl.tasks.family.priors import TabularPrior
from metarl.types import Floats

_MOST, _CELLS = 100_000, 50_000_000
_VERSION = 1


def action_values(rewards: Floats, transitions: Floats, horizon: int, bonus: Floats | None = None) -> Floats:
    """Undiscounted values of the actions at each step of an episode, by value iteration.

    ``Q_t(s, a) = r(s, a) + sum_s' p(s' | s, a) max_a' Q_{t+1}(s', a')``, with nothing to gain after the last step.

    Args:
        rewards: mean rewards ``[n, S, A]``.
        transitions: chances of the next states ``[n, S, A, S]``.
        horizon: steps in an episode.
        bonus: ``[n, S, A]``, added once for each step that follows; None: nothing.

    Returns:
        ``[n, horizon, S, A]``
    """
    values = np.empty((len(rewards), horizon, *rewards.shape[1:]), rewards.dtype)
    values[:, -1] = rewards
    for t in range(horizon - 2, -1, -1):
        # einsum sums every row alike, so that actions of which the same is known stay exactly equal.
        np.einsum("nsaz,nz->nsa", transitions, values[:, t + 1].max(axis=2), out=values[:, t])
        values[:, t] += rewards
        if bonus is not None:
            values[:, t] += bonus * np.float32(horizon - 1 - t)
    return values


def extended_values(rewards: Floats, transitions: Floats, width: Floats, horizon: int) -> Floats:
    """Values of the actions where each leads to the best of the next-state distributions that are plausible.

    Extended value iteration (Jaksch, Ortner & Auer 2010, figure 2) with a finite horizon: as much probability as
    ``width`` allows, half of it, is moved to the next state of the highest value, from those of the lowest.

    Args:
        rewards: mean rewards ``[n, S, A]``, with what optimism adds to them.
        transitions: the chances ``[n, S, A, S]`` about which the plausible ones lie.
        width: the largest L1 distance from them, ``[n, S, A]``.
        horizon: steps in an episode.

    Returns:
        ``[n, horizon, S, A]``
    """
    values = np.empty((len(rewards), horizon, *rewards.shape[1:]), rewards.dtype)
    values[:, -1] = rewards
    for t in range(horizon - 2, -1, -1):
        after = values[:, t + 1].max(axis=2)
        order = after.argsort(axis=1)  # worst state first
        after = np.take_along_axis(after, order, 1)
        chances = np.take_along_axis(transitions, order[:, None, None, :], 3)
        moved = np.minimum(width / 2, 1 - chances[..., -1])
        # What stays among the worst state, the two worst and so on, once `moved` is taken from them in this order.
        stays = np.maximum(chances[..., :-1].cumsum(axis=3) - moved[..., None], 0)
        falls = np.append(after[:, :-2] - after[:, 1:-1], after[:, -2:-1], axis=1)
        np.einsum("nsaz,nz->nsa", stays, falls, out=values[:, t])
        values[:, t] += rewards + (chances[..., -1] + moved) * after[:, None, None, -1]
    return values


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

"""What the hand-written actors share: their entries in a table of strategies, feedback, posteriors, a fair argmax."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from metarl.tasks.family.checks import whole_number
from metarl.tasks.family.priors import BernoulliPrior, GaussianPrior
from metarl.types import MASK_KEY, Actor, Array, Boundary, Floats, Ints, TrialObservation

TENTHS = tuple(i / 10 for i in range(11))  # 0, .1, ..., 1: the values that RL²'s baselines are tuned over


class Tunable(NamedTuple):
    """A strategy with a parameter.

    Args:
        grid: the values that are tried in tuning.
        untuned: the value where nothing was tuned.
    """

    make: Callable[[float], Actor]
    grid: tuple[float, ...]
    untuned: float


def probability(name: str, given: float) -> float:
    """``given``, if it is one.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 <= given <= 1:
        raise ValueError(f"{name} is {given}, expected a probability in [0, 1]")
    return given


def count(name: str, value: float) -> int:
    """A whole number of at least 1 that comes from a grid of floats.

    Raises:
        InputError: it is anything else.
    """
    whole = int(value) if float(value).is_integer() else value
    whole_number(name, whole, at_least=1)
    return int(whole)


Strategy = Callable[[], Actor] | Tunable  # what makes a new actor, by itself or from its parameter


def feedback(obs: TrialObservation, n: int, arms: int) -> tuple[Floats, Floats]:
    """The previous pull of every row.

    Args:
        obs: observations of the trials.
        n: number of trials.
        arms: number of arms.

    Returns:
        The arm, one-hot ``[n, arms]`` (all zeros for none), and the reward ``[n]``.

    Raises:
        ValueError: a part is missing, or its shape is not that of ``n`` trials with ``arms`` arms.
    """
    for part, shape in (("prev_action", (n, arms)), ("prev_reward", (n, 1))):
        if part not in obs:
            raise ValueError(f"the observation lacks {part!r}, which baselines need: switch this part of the trial on")
        if obs[part].shape != shape:
            raise ValueError(
                f"{part!r} has shape {obs[part].shape}, expected {shape}: call reset(n, rng) with the number of "
                "trials, and give the actor the prior of the family that it plays"
            )
    return obs["prev_action"], obs["prev_reward"][:, 0]


def normal_posterior(total: Floats, count: Floats, noise: float, mean: float = 0.0) -> tuple[Floats, Floats]:
    """Posterior mean and standard deviation of unknown means, drawn from N(``mean``, 1) and seen under noise.

    Args:
        total: sums of what was seen ``[...]``.
        count: how often each was seen ``[...]``.
        noise: standard deviation of the noise; with 0 the mean is known once seen.
        mean: of the prior.
    """
    often = np.maximum(count, 1)
    trust = count / (often + noise**2)  # 0 where nothing was seen, without dividing by 0
    return mean + trust * (total / often - mean), np.sqrt(1 - trust)


def random_argmax(scores: Floats, rng: np.random.Generator) -> Ints:
    """The column ``[n]`` with the largest of ``scores`` ``[n, arms]``; among equals, ``rng`` draws one uniformly."""
    lottery = rng.random(scores.shape, dtype=np.float32)
    return np.where(scores == scores.max(axis=1, keepdims=True), lottery, -1).argmax(axis=1)


class IndexStrategy(ABC):
    """Counts every arm's pulls, adds up their rewards, and pulls the arm with the largest score.

    Args:
        prior: of the family that it plays.
    """

    def __init__(self, prior: BernoulliPrior | GaussianPrior) -> None:
        self.arms = prior.arms
        self.reset(0, np.random.default_rng(0))

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Forget everything and prepare to play ``n`` trials."""
        self._rng = rng
        self._pulls = np.zeros((n, self.arms))
        self._total = np.zeros_like(self._pulls)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose arms ``[n]``; a row whose ``boundary`` is TRIAL starts from the prior."""
        action, reward = feedback(obs, *self._pulls.shape)
        self._pulls += action
        self._total += action * self._worth(reward)[:, None]
        starts = boundary == Boundary.TRIAL
        self._pulls[starts] = self._total[starts] = 0
        return random_argmax(self._scores(), self._rng)

    def _worth(self, reward: Floats) -> Floats:
        """What is added up for rewards ``[n]``."""
        return reward

    @abstractmethod
    def _scores(self) -> Floats:
        """What each arm is worth ``[n, arms]``."""


class Random:
    """Takes every allowed action with equal probability; where a Box has no bounds, standard normal numbers.

    Raises:
        ValueError: a space that a trial's actions never have.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.Box):
            raise ValueError(f"expected actions in a Discrete, MultiDiscrete or Box, not {space}")
        self._space = space

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Prepare to play ``n`` trials."""
        self._n, self._rng = n, rng

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose actions ``[n, ...]``."""
        match self._space:
            case spaces.Box(low=low, high=high) as box:
                bounded = box.bounded_below & box.bounded_above
                uniform = self._rng.uniform(
                    np.where(bounded, low, 0), np.where(bounded, high, 1), (self._n, *box.shape)
                )
                normal = self._rng.standard_normal(uniform.shape).clip(low, high)
                return np.where(bounded, uniform, normal).astype(box.dtype)
            case spaces.Discrete(n=count, start=start) if MASK_KEY not in obs:
                return start + self._rng.integers(count, size=self._n)
            case spaces.Discrete(n=count, start=start):
                return start + self._allowed(obs[MASK_KEY])
            case spaces.MultiDiscrete(nvec=sizes, start=start):
                mask = obs.get(MASK_KEY, np.ones((self._n, sizes.sum()), np.float32))
                parts = np.split(mask, sizes.ravel().cumsum()[:-1], axis=1)
                return start + np.stack([self._allowed(part) for part in parts], 1).reshape(self._n, *sizes.shape)
        raise AssertionError(self._space)

    def _allowed(self, mask: Floats) -> Ints:
        return random_argmax(mask, self._rng)

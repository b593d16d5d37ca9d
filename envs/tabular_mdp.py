"""The random tabular MDP of RL² (Duan et al. 2016, section 3.2): unknown rewards and transitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces

from metarl.envs.single import SingleEnv
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.family.priors import TabularPrior
from metarl.types import Array, Bools, Floats, Ints

if TYPE_CHECKING:
    from metarl.envs.picture import Picture


@dataclass(frozen=True, kw_only=True)
class TabularMDP(TaskDistribution):
    """``states`` states with ``actions`` actions each; every episode has ``horizon`` steps and begins in state 0.

    The mean reward of a state and action is drawn from N(1, 1), where the action leads from Dirichlet(1, ..., 1);
    rewards are their mean plus N(0, ``noise``²). A trial is ``episodes`` episodes of one MDP.

    Args:
        states: of the MDP.
        actions: in every state.
        horizon: steps of an episode.
        episodes: inner episodes of a trial.
        noise: standard deviation of a reward around its mean.

    Raises:
        ValueError: a count below its least value, or a negative ``noise``.
    """

    states: int = 10
    actions: int = 5
    horizon: int = 10
    episodes: int = 10
    noise: float = 1.0

    family: ClassVar[str] = "TabularMDP"
    counts: ClassVar[Mapping[str, int]] = {"states": 2, "actions": 2, "horizon": 1, "episodes": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("noise", self.noise, at_least=0)

    @property
    def trial_steps(self) -> int:
        """The steps of all episodes."""
        return self.episodes * self.horizon

    @property
    def observation_space(self) -> spaces.Discrete:
        """The state."""
        return spaces.Discrete(self.states)

    @property
    def action_space(self) -> spaces.Discrete:
        """The actions, the same in every state."""
        return spaces.Discrete(self.actions)

    @property
    def task_space(self) -> spaces.Dict:
        """``rewards``: the mean reward of each state and action; ``transitions``: the chances of each next state."""
        pairs = (self.states, self.actions)
        return spaces.Dict(
            {
                "rewards": spaces.Box(-np.inf, np.inf, pairs, np.float32),
                "transitions": spaces.Box(0.0, 1.0, (*pairs, self.states), np.float32),
            }
        )

    @property
    def prior(self) -> TabularPrior:
        """N(1, 1) rewards and Dirichlet(1) transitions."""
        return TabularPrior(
            states=self.states, actions=self.actions, horizon=self.horizon, episodes=self.episodes, noise=self.noise
        )

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """``rewards`` ``[n, states, actions]`` and ``transitions`` ``[n, states, actions, states]``."""
        pairs = (n, self.states, self.actions)
        rewards = 1 + rng.standard_normal(pairs, dtype=np.float32)
        weights = rng.standard_exponential((*pairs, self.states), dtype=np.float32)  # normalised: Dirichlet(1, ..., 1)
        weights /= weights.sum(axis=3, keepdims=True)
        return {"rewards": rewards, "transitions": weights}

    def make(self, task: Mapping[str, Array]) -> TabularEnv:
        """The MDP of one task; ``task`` as :meth:`sample_batch` draws it, without the axis ``n``."""
        return TabularEnv(self, task)

    def batched(self, n: int) -> BatchedTabular:
        """``n`` MDPs as arrays."""
        return BatchedTabular(self, n)


def _thresholds(transitions: Array) -> Floats:
    """``[..., S - 1]``: a uniform number leads to the state of as many thresholds as it has reached.

    Raises:
        ValueError: the chances of next states do not sum to one.
    """
    sums = transitions.astype(np.float32).cumsum(axis=-1)
    off = np.abs(sums[..., -1] - 1).max()
    if not off < 1e-3:
        raise ValueError(f"transitions must sum to one over their last axis; some are {off:.3g} away from it")
    return sums[..., :-1]


class TabularEnv(SingleEnv[TabularMDP]):
    """Episodes in one MDP, with ``rewards`` ``[S, A]`` and ``transitions`` ``[S, A, S]`` as its task."""

    def __init__(self, family: TabularMDP, task: Mapping[str, Array]) -> None:
        super().__init__(family, task)
        self._rewards, self._thresholds = task["rewards"], _thresholds(task["transitions"])

    def begin(self) -> np.int64:
        """Go to state 0."""
        self._state = self._step = 0
        return np.int64(0)

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Take an action: its noisy reward, and a next state."""
        pair = self._state, int(action)
        reward = float(self._rewards[pair] + self._family.noise * self.np_random.standard_normal())
        self._state = int((self.np_random.random() >= self._thresholds[pair]).sum())
        self._note(*pair, reward)
        self._step += 1
        return np.int64(self._state), reward, self._step == self._family.horizon, False, {}

    def draw(self, picture: Picture) -> None:
        """The states as a ring, how often each was left, and the last transition."""
        from metarl.envs.frames import bars, facts, heading
        from metarl.envs.picture import BLUE, GREEN, INK, ORANGE, PAPER, RED, SOFT, mix

        family, moves, count = self._family, self._moves, self._family.states
        episode = min(len(moves) // family.horizon + 1, family.episodes)
        heading(picture, f"episode {episode} of {family.episodes}, step {self._step} of {family.horizon}", moves)
        angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
        places = np.stack([166 + 118 * np.cos(angles), 204 + 118 * np.sin(angles)], axis=1)
        radius = float(min(20, 0.38 * 2 * np.pi * 118 / count))
        visits = np.bincount([move.where for move in moves], minlength=count)
        last = moves[-1] if self._step else None
        for state, (x, y) in enumerate(places):
            here, left = state == self._state, last is not None and state == last.where
            shade = mix(PAPER, BLUE, 0.6 * visits[state] / max(1, visits.max()))
            picture.disc((x, y), radius, ORANGE if here else shade, INK if here or left else SOFT)
            if radius > 7:
                picture.text((x, y), str(state), 13, INK, "mm")
        if last is not None and last.where != self._state:
            a, b = places[last.where], places[self._state]
            along = (b - a) / np.linalg.norm(b - a)
            picture.arrow(tuple(a + (radius + 3) * along), tuple(b - (radius + 4) * along), ORANGE, 3)
        if last is not None:
            picture.text((166, 196), f"action {last.action}", 14, INK, "mm")
            picture.text((166, 216), f"{last.reward:+.2f}", 16, GREEN if last.reward > 0 else RED, "mm")
        if self.truth and family.actions <= 12:
            picture.text((332, 70), "what actions pay here", 11, SOFT)
            bars(picture, (332, 92), self._rewards[self._state].tolist())
        else:
            facts(picture, 332, 80, [("state", str(self._state)), ("blue", "often visited")])


class BatchedTabular(BatchedEnv):
    """``n`` MDPs, in step with each other."""

    saved = ("rewards", "thresholds", "state", "steps")

    def __init__(self, family: TabularMDP, n: int) -> None:
        self._family, self._n = family, n
        self._offsets: Ints = np.arange(n) * family.states

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`."""
        self.thresholds = _thresholds(tasks["transitions"]).reshape(-1, self._family.states - 1)
        self.rewards = tasks["rewards"].astype(np.float32).ravel()
        self.state: Ints = np.zeros(self._n, np.int64)
        self.steps = 0
        return self.state

    def step(self, actions: Any, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Take one action a row: ``[n]`` actions, states ``[n]``, rewards ``[n]``."""
        pairs = self._pairs(actions)
        noise = rng.standard_normal(self._n, dtype=np.float32)
        rewards = self.rewards.take(pairs) + np.float32(self._family.noise) * noise
        uniform = rng.random((self._n, 1), dtype=np.float32)
        self.steps += 1
        done = self.steps % self._family.horizon == 0
        if done:
            self.state = np.zeros(self._n, np.int64)
        else:
            self.state = (uniform >= self.thresholds.take(pairs, axis=0)).sum(axis=1)
        return self.state, rewards, np.full(self._n, done)

    def _pairs(self, actions: Any) -> Ints:
        """The numbers ``[n]`` of state and action among those of all rows."""
        pairs: Ints = (self._offsets + self.state) * self._family.actions + actions
        return pairs

"""What bandits without contexts share: arms whose worth is drawn anew for each task, one pull an episode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces

from metarl.envs.single import SingleEnv
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.types import Array, Bools, Floats, Ints

if TYPE_CHECKING:
    from metarl.envs.picture import Picture


@dataclass(frozen=True, kw_only=True)
class Bandit(TaskDistribution, ABC):
    """``arms`` arms, pulled ``pulls`` times; every pull is an inner episode of its own.

    The observation is a constant. What an arm is worth is one number, the mean of what it pays; these are the task's
    only parameter, called :attr:`worth`.

    Args:
        arms: the actions.
        pulls: steps of a trial.

    Raises:
        ValueError: fewer than 2 arms or than 1 pull.
    """

    arms: int = 10
    pulls: int = 100

    worth: ClassVar[str]
    """The name of the parameter of the task: one number for each arm."""
    counted: ClassVar[bool] = False
    """Whether each reward is 0 or 1."""
    counts: ClassVar[Mapping[str, int]] = {"arms": 2, "pulls": 1}

    @property
    def trial_steps(self) -> int:
        """The pulls."""
        return self.pulls

    @property
    def episodes(self) -> int:
        """Inner episodes in a trial."""
        return self.pulls

    @property
    def observation_space(self) -> spaces.Discrete:
        """One state."""
        return spaces.Discrete(1)

    @property
    def action_space(self) -> spaces.Discrete:
        """Which arm to pull."""
        return spaces.Discrete(self.arms)

    @abstractmethod
    def pay(self, worth: Floats, rng: np.random.Generator) -> Array:
        """The rewards of one pull in each row.

        Args:
            worth: of the arms that are pulled, ``[n]`` float32.
            rng: for what is random in a reward.

        Returns:
            ``[n]``
        """

    def make(self, task: Mapping[str, Array]) -> BanditEnv:
        """The bandit whose arms are worth ``task[self.worth]`` ``[arms]``."""
        return BanditEnv(self, task)

    def batched(self, n: int) -> BatchedBandit:
        """``n`` bandits as arrays."""
        return BatchedBandit(self, n)


class BanditEnv(SingleEnv[Bandit]):
    """One pull of a bandit of ``family``: the episode ends with it."""

    def __init__(self, family: Bandit, task: Mapping[str, Array]) -> None:
        super().__init__(family, task)
        self._worth = task[family.worth].astype(np.float32)

    def begin(self) -> np.int64:
        """Get ready for a pull."""
        return np.int64(0)

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Pull an arm."""
        reward = float(self._family.pay(self._worth[[action]], self.np_random)[0])
        self._note(0, int(action), reward)
        return np.int64(0), reward, True, False, {}

    def draw(self, picture: Picture) -> None:
        """The arms, with their pulls and what they paid."""
        from metarl.envs.frames import arms, heading

        moves, counted = self._moves, self._family.counted
        heading(picture, f"pull {len(moves)} of {self._family.pulls}", moves)
        worth, last = self._worth if self.truth else None, moves[-1] if moves else None
        arms(picture, moves, self._family.arms, worth, counted=counted, last=last)


class BatchedBandit(BatchedEnv):
    """``n`` bandits, one pull each a step."""

    saved = ("worth",)

    def __init__(self, family: Bandit, n: int) -> None:
        self._family = family
        self._offsets: Ints = np.arange(n) * family.arms
        self._zeros = np.zeros(n, np.int64)
        self._done = np.ones(n, np.bool_)

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`."""
        self.worth: Floats = tasks[self._family.worth].ravel().astype(np.float32)
        return self._zeros

    def step(self, actions: Any, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Pull one arm a row: ``[n]`` actions, constant observations ``[n]``, rewards ``[n]``."""
        return self._zeros, self._family.pay(self.worth.take(self._offsets + actions), rng), self._done

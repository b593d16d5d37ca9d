"""Inner environments of any Gymnasium kind as rows of a batch, stepped by Gymnasium's own vector environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.trial.inner import InnerRow, explained, inner_seeds
from metarl.tasks.trial.told import gather, numbers, reported_names
from metarl.types import Array, Bools, Floats, Ints, Observations


class SyncRows(BatchedEnv):
    """``n`` inner environments of a family in one process, in Gymnasium's ``SyncVectorEnv``.

    An environment is seeded once, where its trial begins. An error that one raises carries a note with
    its row, task and seed. Observations of a step are the same arrays at every step: copy what is kept.

    Args:
        distribution: the family that tasks come from.
        n: number of rows.
        first: the number of the first row in notes on errors.
    """

    def __init__(self, distribution: TaskDistribution, n: int, first: int = 0) -> None:
        self._space = distribution.observation_space
        self._rows = np.arange(n)
        self._heard: list[tuple[int, dict[str, float]]] = []  # row and numbers that were told in the step under way
        self._names = reported_names(distribution.infos)
        self._inner = [InnerRow(distribution, first + row, partial(self._hear, row)) for row in range(n)]
        self._envs = SyncVectorEnv(
            [partial(self._inner.__getitem__, row) for row in range(n)],
            copy=False,
            autoreset_mode=AutoresetMode.SAME_STEP,
        )

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Observations:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`."""
        rows = self._rows if rows is None else rows
        return self.start_seeded(tasks, inner_seeds(rng, len(rows)), rows)

    def start_seeded(self, tasks: TaskBatch, seeds: Ints, rows: Ints) -> Observations:
        """Put rows into tasks, with given seeds.

        Args:
            tasks: arrays ``[m, ...]``.
            seeds: of the rows, ``[m]``.
            rows: which rows, ``[m]``.

        Returns:
            Observations ``[m, ...]``.
        """
        return _stack(
            self._space,
            [
                self._inner[row].begin({name: values[j] for name, values in tasks.items()}, int(seeds[j]))[0]
                for j, row in enumerate(rows)
            ],
        )

    def step(self, actions: Array, rng: np.random.Generator | None) -> tuple[Observations, Array, Bools]:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.step`; each environment has its own generator."""
        self._heard.clear()
        with explained(*self._inner):
            obs, rewards, terminated, truncated, _ = self._envs.step(actions)
        self.told = gather(self._heard, len(self._rows)) if self._heard else None
        return obs, rewards, terminated | truncated

    def _hear(self, row: int, info: Mapping[str, Any]) -> None:
        """Note what a row tells; the rest of its info, which could be anything, goes no further."""
        if told := numbers(info, self._names):
            self._heard.append((row, told))

    def step_told(self, actions: Array) -> tuple[Observations, Array, Bools, Mapping[str, Floats] | None]:
        """:meth:`step` and what it told."""
        return *self.step(actions, None), self.told

    def render(self) -> tuple[Any, ...]:
        """A frame of each row."""
        return tuple(row.render() for row in self._inner)

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()


def _stack(space: spaces.Space[Any], observations: Sequence[Any]) -> Observations:
    """Observations of single environments as arrays ``[n, ...]``."""
    if isinstance(space, spaces.Dict):
        return {name: np.stack([np.asarray(one[name]) for one in observations]) for name in space.spaces}
    return np.stack([np.asarray(one) for one in observations])

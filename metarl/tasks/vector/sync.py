"""Inner environments of any Gymnasium kind as rows of a batch, stepped by Gymnasium's own vector environment."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.tasks.family.checks import SpacesError, whole_number
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.trial.inner import explained, inner_seeds
from metarl.tasks.trial.told import gather, numbers, reported_names
from metarl.tasks.vector.guard import GuardedRow
from metarl.types import Array, Bools, Floats, Ints, Observations, VoidTrialWarning


class SyncRows(BatchedEnv):
    """``n`` inner environments of a family in one process, in Gymnasium's ``SyncVectorEnv``.

    An environment is seeded once, where its trial begins. Observations of a step are the same arrays at every step:
    copy what is kept.

    An environment that raises, or returns what does not fit its space or is not finite, is made anew: its row is
    :attr:`broken` for that step (reward 0, end of the episode) and a VoidTrialWarning gives the cause with row, task,
    seed and step. After ``max_restarts`` of these the error itself is raised, with a note of the same.

    Args:
        distribution: the family that tasks come from.
        n: number of rows.
        first: the number of the first row in notes on errors.
        max_restarts: environments that may be made anew before an error ends all.
    """

    def __init__(self, distribution: TaskDistribution, n: int, first: int = 0, max_restarts: int = 0) -> None:
        whole_number("max_restarts", max_restarts, at_least=0)
        self._max_restarts, self._restarts = max_restarts, 0
        self._failed = np.zeros(n, np.bool_)  # rows without an environment until their next trial
        self._space = distribution.observation_space
        self._rows = np.arange(n)
        self._heard: list[tuple[int, dict[str, float]]] = []  # row and numbers that were told in the step under way
        self._names = reported_names(distribution.infos)
        self._inner = [GuardedRow(distribution, first + row, partial(self._hear, row)) for row in range(n)]
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
        begun = [
            self._inner[row].begin({name: values[j] for name, values in tasks.items()}, int(seeds[j]))[0]
            for j, row in enumerate(rows)
        ]
        self._failed[rows] = False
        self._note_failures()
        return _stack(self._space, begun)

    def step(self, actions: Array, rng: np.random.Generator | None) -> tuple[Observations, Array, Bools]:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.step`; each environment has its own generator."""
        self._heard.clear()
        with explained(*self._inner):
            obs, rewards, terminated, truncated, _ = self._envs.step(actions)
        self._check_finite(obs, rewards)
        self._note_failures()
        done = terminated | truncated
        self.broken = None
        if self._failed.any():
            self.broken = self._failed.copy()
            rewards[self.broken], done[self.broken] = 0.0, True
            self._heard = [(row, told) for row, told in self._heard if not self.broken[row]]
        self.told = gather(self._heard, len(self._rows)) if self._heard else None
        return obs, rewards, done

    def _check_finite(self, obs: Observations, rewards: Floats) -> None:
        """Rows with a number that is not finite have failed; their observations are replaced."""
        parts = obs if isinstance(obs, dict) else {"": obs}
        for name, part in {**parts, "the reward": rewards}.items():
            if part.dtype.kind != "f" or np.isfinite(part.sum()):  # the sum is fast, and rarely infinite by itself
                continue
            for row in np.flatnonzero(~np.isfinite(part.reshape(len(part), -1)).all(1)).tolist():
                inner, what = self._inner[row], name or "the observation"
                if inner.failure is None:
                    inner.fail(SpacesError(key=what, given=part[row].tolist(), expected="finite numbers"))
                for key, values in parts.items():
                    values[row] = inner.shown[key] if key else inner.shown

    def _note_failures(self) -> None:
        """Warn of rows that have failed since the last call.

        Raises:
            Exception: that of a row, where no other may be made anew, or in the first trial of a row as it begins.
        """
        for row, inner in enumerate(self._inner):
            error = inner.failure
            if error is None or self._failed[row]:
                continue
            if inner.shown is None or self._restarts == self._max_restarts:
                if inner.shown is not None and self._max_restarts:
                    error.add_note(f"of {self._max_restarts} restarts (max_restarts) none is left")
                raise error
            self._failed[row] = True
            self._restarts += 1
            what = "\n".join([f"{type(error).__name__}: {error}", *error.__notes__])
            warnings.warn(
                f"{what}\nits trial is void and a new one begins in a new environment "
                f"(restart {self._restarts} of {self._max_restarts})",
                VoidTrialWarning,
                stacklevel=4,
            )

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

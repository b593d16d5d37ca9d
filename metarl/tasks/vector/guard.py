"""The inner environment of one row among many: what goes wrong in it is kept, and the other rows go on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.tasks.family.checks import SpacesError, check_shape, check_step
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.inner import InnerRow
from metarl.types import Array


def _check_finite(obs: Any) -> None:
    for name, part in (obs if isinstance(obs, Mapping) else {"the observation": obs}).items():
        if not np.isfinite(part).all():
            raise SpacesError(key=name, given=np.asarray(part).tolist(), expected="finite numbers")


class GuardedRow(InnerRow):
    """An inner environment whose errors are kept in :attr:`failure` instead of being raised.

    From then on it shows the first observation of its last sound trial, with reward 0 and no end of the episode.
    The next :meth:`begin` makes the environment anew.
    """

    failure: Exception | None = None
    """What went wrong in the trial under way."""
    shown: Any = None
    """The first observation of the last trial that began; None before any has."""

    def __init__(self, distribution: TaskDistribution, row: int, hear: Callable[[dict[str, Any]], object]) -> None:
        super().__init__(distribution, row, hear)
        space = distribution.observation_space
        self._seen = (space.shape, space.dtype) if isinstance(space, spaces.Box) else None

    def begin(self, task: Mapping[str, Array], seed: int) -> tuple[Any, dict[str, Any]]:
        """See :meth:`metarl.tasks.trial.inner.InnerRow.begin`."""
        if self.failure is not None:
            with suppress(Exception):  # it is broken anyway
                self.close()
            self.env = self.failure = self._last = None
        try:
            obs, info = super().begin(task, seed)
            self.noted(_check_finite, obs)
        except Exception as error:  # whatever an environment raises
            self.failure = error
            return self.shown, {}
        self.shown = copy.deepcopy(obs)
        return obs, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See :meth:`metarl.tasks.trial.inner.InnerRow.reset`."""
        try:
            obs, info = super().reset(seed=seed, options=options)
            self.noted(check_shape, self.observation_space, obs)
        except Exception as error:  # whatever an environment raises
            self.failure = error
            return self.shown, {}
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """See :meth:`metarl.tasks.trial.inner.InnerRow.step`."""
        if self.failure is None:
            try:
                obs, reward, _, _, info = result = super().step(action)
                seen = (obs.shape, obs.dtype) if type(obs) is np.ndarray else ()
                if not (seen == self._seen and isinstance(reward, float) and type(info) is dict):
                    self.noted(check_step, self.observation_space, result)  # slower, and exact
                return result
            except Exception as error:  # whatever an environment raises
                self.failure = self._reason(error)
        return self.shown, 0.0, False, False, {}

    def fail(self, error: Exception) -> None:
        """Something else is wrong with what the last step returned."""
        error.add_note(self._note())
        self.failure = error

    def _reason(self, error: Exception) -> Exception:
        """What was wrong with the last result, if something was: it says more than what failed because of it."""
        try:
            self.check_last()
        except Exception as reason:
            return reason
        return error

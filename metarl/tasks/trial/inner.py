"""The inner environment of one row; errors in it name the task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from metarl.config import InputError
from metarl.tasks.family.checks import check_reset, check_shape, check_step
from metarl.tasks.family.distribution import TaskDistribution
from metarl.types import Array, Ints

Result = TypeVar("Result")


class InnerRow(gym.Env[Any, Any]):
    """The inner environment of one row, trial after trial; an error it raises carries a note of its task and seed.

    Args:
        distribution: the family that tasks come from.
        row: the row to name in notes; None where there is only one.
        hear: is called with the info of a step that has any; steps then return an empty one.
    """

    env: gym.Env[Any, Any] | None = None
    """The environment of the task under way; None before the first."""

    def __init__(
        self,
        distribution: TaskDistribution,
        row: int | None = None,
        hear: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        self.observation_space: gym.Space[Any] = distribution.observation_space
        self.action_space = distribution.action_space
        self._distribution = distribution
        self._hear, self._steps = hear, 0
        self._last: Any = None  # what the last step returned
        self._where = "" if row is None else f"row {row}, "

    def begin(self, task: Mapping[str, Array], seed: int) -> tuple[Any, dict[str, Any]]:
        """Begin a trial: put the environment into a task, seed it once and reset it.

        Args:
            task: one array for each parameter, without a batch axis.
            seed: of the environment.
        """
        self._task, self._seed, self._steps = task, seed, 0
        return self.noted(self._begin)

    def _begin(self) -> tuple[Any, dict[str, Any]]:
        made, task = self._distribution, self._task
        self.env = made.make(task) if self.env is None else made.remake(self.env, task)
        obs, info = check_reset(self.env.reset(seed=self._seed))
        check_shape(self.observation_space, obs)
        return obs, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of the trial."""
        assert self.env is not None
        try:
            return check_reset(self.env.reset(seed=seed, options=options))
        except Exception as error:
            error.add_note(self._note())
            raise

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a step."""
        self._steps += 1
        try:
            self._last = result = self.env.step(action)  # type: ignore[union-attr]  # begun before; not checked, for speed
        except Exception as error:
            error.add_note(self._note())
            raise
        return self._heard(*result) if result[4] and self._hear else result

    def _heard(self, obs: Any, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]) -> Any:
        """What :meth:`step` returns where the info goes to a listener."""
        assert self._hear is not None
        self.noted(self._hear, info)
        return obs, reward, terminated, truncated, {}

    def check_last(self) -> None:
        """Raise SpacesError if the last step returned what it must not; asked where something failed."""
        if self._last is not None:
            self.noted(check_step, self.observation_space, self._last)

    def noted(self, call: Callable[..., Result], *args: Any) -> Result:
        """What ``call`` returns; an error in it gets the note of this row."""
        try:
            return call(*args)
        except Exception as error:
            error.add_note(self._note())
            raise

    def render(self) -> Any:
        """The frame of the environment."""
        if self.env is None:
            raise gym.error.ResetNeeded("no trial is under way; call reset() first")
        if self.env.render_mode is None:
            raise no_render_mode()
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        if self.env is not None:
            self.env.close()

    def _note(self) -> str:
        trial = describe_trial(self._task, self._seed)
        return f"in {self._where}{trial}, step {self._steps} of {self._distribution.family}"


def no_render_mode(why: str = "the inner environments have no render mode") -> InputError:
    """The error of whoever is asked for a frame and has none."""
    remedy = 'give one to the family: metarl.from_env(id, ..., kwargs={"render_mode": "rgb_array"})'
    return InputError(f"nothing can be rendered: {why}", key="render_mode", remedy=remedy)


@contextmanager
def explained(*rows: InnerRow) -> Iterator[None]:
    """Where something fails because a row returned what it must not, say which and what."""
    try:
        yield
    except Exception:
        for row in rows:
            row.check_last()
        raise


def describe_trial(task: Mapping[str, Array], seed: int) -> str:
    """A task (arrays ``[...]`` by name) and the seed of its trial, for messages; long arrays are abbreviated."""
    values = (f"{name}={np.array2string(np.asarray(v), threshold=16, separator=', ')}" for name, v in task.items())
    return f"task {{{', '.join(values)}}}, seed {seed}"


def inner_seeds(rng: np.random.Generator, n: int) -> Ints:
    """``[n]`` seeds of inner environments, each given once, at the start of a trial."""
    return rng.integers(2**31, size=n)

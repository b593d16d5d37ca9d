"""A game: somebody plays a trial, and beside them a trained agent plays the same task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled

from metarl.config import ConfigError, InputError
from metarl.envs.single import SingleEnv
from metarl.evaluation.watch import Seen, Watched, trial_seed
from metarl.report.film import memory_picture, spelled
from metarl.report.png import data_uri
from metarl.tasks.trial.env import TrialEnv
from metarl.types import OBS_KEY, TrialObservation

MOST_NUMBERS = 12  # parts of an action that a page has room for
READ = 200  # numbers of an observation that are sent


class Game:
    """Trials of one's own and of an agent, in the same tasks with the same random numbers.

    Frames hide what the agent is not told until the trial is over.

    Args:
        agent: who plays the other side; both have its tasks.

    Raises:
        ConfigError: actions that a page has no buttons for.
    """

    kind = "trial"

    def __init__(self, agent: Watched) -> None:
        self.agent = agent
        self.env = TrialEnv(agent.env.distribution, inputs=agent.env.layout.inputs)
        self.actions = described(self.env.action_space)
        self.number = -1
        self.new({})

    @property
    def verbs(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """What the page may ask for."""
        return {"state": lambda given: self.state(), "new": self.new, "step": self.step}

    def new(self, given: dict[str, Any]) -> dict[str, Any]:
        """Begin the next trial."""
        self.number += 1
        self._obs, self._info = self.env.reset(seed=trial_seed(self.agent.seed, self.number))
        self.agent.begin(self.number)
        self._mine: list[float] = []
        self._theirs: list[float] = []
        self._seen: Seen | None = None
        self._last: dict[str, Any] = {}
        self._over = False
        return self.state()

    def step(self, given: dict[str, Any]) -> dict[str, Any]:
        """Take an action; the agent takes one too, and plays on to the end where the trial is over.

        Raises:
            InputError: the trial is over, or there is no such action.
        """
        if self._over:
            raise InputError("the trial is over", remedy="begin a new one")
        action = self._action(given.get("action"))
        self._obs, reward, self._over, _, self._info = self.env.step(action)
        self._mine.append(float(reward))
        self._last = {"action": spelled(action), "reward": float(reward)}
        while not self.agent.over:
            self._seen = self.agent.step()
            self._theirs.append(self._seen.reward)
            if not self._over:
                break
        return self.state()

    def state(self) -> dict[str, Any]:
        """All that the page shows."""
        seen, frame = self._seen, self._frame()
        theirs = None if seen is None else {"action": spelled(seen.action), "reward": seen.reward}
        return {
            "kind": self.kind,
            "task": self.env.distribution.family,
            "trial": self.number + 1,
            "steps": self.env.trial_steps,
            "step": len(self._mine),
            "episode": int(self._info["episode_in_trial"]) + 1,
            "actions": self.actions,
            "over": self._over,
            "you": {"rewards": self._mine, **self._last},
            "agent": {"rewards": self._theirs, **(theirs or {})},
            "frame": frame,
            "observed": None if frame else observed(self._obs),
            "memory": None if seen is None else data_uri(memory_picture(seen)),
        }

    def close(self) -> None:
        """Close both environments."""
        self.env.close()
        self.agent.env.close()

    def _frame(self) -> str | None:
        if self.env.render_mode is None:
            return None
        if isinstance(self.env.inner, SingleEnv):
            self.env.inner.truth = self._over
        try:
            return data_uri(np.asarray(self.env.render(), np.uint8))
        except DependencyNotInstalled:  # what it draws with
            self.env.render_mode = None
            return None

    def _action(self, given: Any) -> Any:
        """An action from JSON.

        Raises:
            InputError: it is none.
        """
        space: Any = self.env.action_space
        error = InputError(key="action", given=given, expected=f"one of {space}")
        if isinstance(space, spaces.Discrete):
            if type(given) is not int or not space.start <= given < space.start + space.n:
                raise error
            return np.int64(given)
        numbers = given if isinstance(given, list) else []
        whole = not isinstance(space, spaces.Box)
        if len(numbers) != int(np.prod(space.shape)) or not all(
            type(n) is int or (type(n) is float and not whole) for n in numbers
        ):
            raise error
        try:
            action = np.array(numbers, np.float64).astype(space.dtype).reshape(space.shape)
        except (OverflowError, ValueError):
            raise error from None
        if not space.contains(action):
            raise error
        return action


def described(space: spaces.Space[Any]) -> dict[str, Any]:
    """An action space for the page: ``n`` buttons counted from ``start``, or the ends of some sliders.

    Raises:
        ConfigError: one of another kind, or too large.
    """
    if isinstance(space, spaces.Discrete):
        return {"n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary):
        count = int(np.prod(space.shape))
        if count <= MOST_NUMBERS and (not isinstance(space, spaces.Box) or space.is_bounded()):
            if isinstance(space, spaces.Box):
                low, high, step = space.low.ravel().tolist(), space.high.ravel().tolist(), 0.0
            elif isinstance(space, spaces.MultiDiscrete):
                low, step = space.start.ravel().tolist(), 1.0
                high = (space.start + space.nvec - 1).ravel().tolist()
            else:
                low, high, step = [0] * count, [1] * count, 1.0
            return {"low": low, "high": high, "step": step}
    expected = f"a choice, or at most {MOST_NUMBERS} numbers between bounds"
    raise ConfigError("a page has no buttons for such actions", key="action space", given=str(space), expected=expected)


def observed(obs: TrialObservation) -> list[float] | str:
    """An observation for the page, where the environment has no frames: its numbers, or the picture that it is."""
    part = obs.get(OBS_KEY)
    if part is not None and part.ndim == 3 and part.dtype == np.uint8 and part.shape[2] in (1, 3):
        return data_uri(part)
    numbers = np.concatenate([np.ravel(value) for key, value in obs.items() if key.startswith(OBS_KEY)])
    return [round(float(number), 4) for number in numbers[:READ]]

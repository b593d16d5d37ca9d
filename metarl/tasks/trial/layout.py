"""What a learner sees in a trial: the inner observation, and what came of the step before it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.tasks.family.checks import limits, real_number, true_or_false
from metarl.tasks.family.distribution import TaskBatch, TaskDistribution
from metarl.tasks.trial.parts import LIMIT, FlatPart, PicturePart, SymbolPart, TaskPart, make_part
from metarl.types import (
    FEEDBACK_KEYS,
    MASK_KEY,
    OBS_KEY,
    PREV_ACTION,
    PREV_DONE,
    PREV_REWARD,
    TIME,
    Array,
    Floats,
    Ints,
    Observations,
    TrialObservation,
    is_obs_key,
)


@dataclass(frozen=True)
class TrialInputs:
    """Which parts travel beside the inner observation; a part that is off is missing from the space.

    Args:
        prev_action: the action before.
        prev_reward: the reward that it gave.
        prev_done: whether it ended an inner episode.
        time: the step in the trial, divided by the most it can have.
        prev_reward_scale: a fixed factor on the reward that is seen, for families whose rewards are large; never on the
            one returned.
    """

    prev_action: bool = True
    prev_reward: bool = True
    prev_done: bool = True
    time: bool = True
    prev_reward_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in FEEDBACK_KEYS:
            true_or_false(name, getattr(self, name))
        real_number("prev_reward_scale", self.prev_reward_scale, above=0)


REVEALED = f"{OBS_KEY}.task"  # where the parameters of a revealed task go that cannot be appended to ``obs``
INPUTS = tuple(f.name for f in fields(TrialInputs))


def is_trial_space(space: spaces.Space[Any]) -> bool:
    """Whether ``space`` is that of trial observations: a flat Dict with ``obs`` or ``obs.NAME``.

    All parts are float32 vectors, but those that are seen may be pictures ``[H, W, C]`` of float32 or uint8, and
    symbols: a MultiDiscrete of one or three axes.
    """
    if not isinstance(space, spaces.Dict):
        return False
    seen = [key for key in space.spaces if is_obs_key(key)]
    rest = set(space.spaces) - set(seen)
    fits = all(_is_vector(space[key]) or _is_picture(space[key]) or _is_symbols(space[key]) for key in seen)
    fits = fits and all(_is_vector(space[key]) for key in rest)
    return bool(seen) and fits and rest <= {*FEEDBACK_KEYS, MASK_KEY}


def _is_vector(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1


def _is_picture(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and space.dtype in (np.uint8, np.float32) and len(space.shape) == 3


def _is_symbols(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.MultiDiscrete) and len(space.shape) in (1, 3)


class TrialLayout:
    """The spaces of a trial and the one place where its observations are put together.

    An observation is a flat dict of float32 vectors: ``obs`` (one-hot where discrete; ``obs.NAME`` for each part of an
    inner Dict), ``prev_action`` (one-hot where discrete, so that all zeros, "no previous action", differs from action
    0), ``prev_reward`` ``[1]``, ``prev_done`` ``[1]`` (1 where the inner episode just ended, for whichever reason) and
    ``time`` ``[1]`` (the step in the trial divided by the most it can have). The input is that of RL² (Duan et al.
    2016, section 2.2). Images (uint8 with three axes) stay as they are. A part ``action_mask`` of an inner Dict
    becomes ``action_mask``, one number for each choice, which the policy obeys and does not see.

    Raises:
        ValueError: a space of the family is not supported, or a mask does not fit the actions.
    """

    def __init__(self, distribution: TaskDistribution, inputs: TrialInputs | None = None) -> None:
        self.inputs = inputs or TrialInputs()
        self.trial_steps = distribution.trial_steps
        self.action_space = distribution.action_space
        if not isinstance(self.action_space, spaces.Discrete | spaces.MultiDiscrete | spaces.Box):
            raise ValueError(
                f"the action space {self.action_space} is not supported; a trial needs a Discrete, a MultiDiscrete or "
                "a Box: metarl.from_env converts others"
            )
        self._action = FlatPart(PREV_ACTION, self.action_space)
        # No previous action is all zeros, which the space must hold too.
        self._action.low, self._action.high = np.minimum(self._action.low, 0), np.maximum(self._action.high, 0)
        inner = distribution.observation_space
        parts = dict(inner.spaces) if isinstance(inner, spaces.Dict) else {"": inner}
        self._mask = self._masks(parts.pop(MASK_KEY)) if MASK_KEY in parts else None
        if not parts:
            raise ValueError(f"the observation space {inner} shows nothing but a mask")
        self._parts: dict[str, tuple[str, FlatPart | PicturePart | SymbolPart]] = {}
        for name, space in parts.items():
            key = f"{OBS_KEY}.{name}" if isinstance(inner, spaces.Dict) else OBS_KEY
            self._parts[key] = name, make_part(key, space)
        reveals = distribution.reveal and bool(distribution.task_space.spaces)
        self.task = TaskPart(distribution.task_space) if reveals else None
        """What makes vectors of the tasks that :meth:`observe` shows; None: the family reveals none."""
        if self.task is not None and REVEALED in self._parts:
            raise ValueError(f"reveal=True adds the key {REVEALED!r}, which the inner observation already has")
        self.observation_space = spaces.Dict(self._boxes())

    def _masks(self, space: spaces.Space[Any]) -> FlatPart:
        """What reads the masks of a family whose inner observations have them."""
        if isinstance(self.action_space, spaces.Box):
            raise ValueError(f"{MASK_KEY} is for discrete actions, not for {self.action_space}; leave it out")
        flat = FlatPart(MASK_KEY, space)
        if not isinstance(space, spaces.MultiBinary | spaces.Box) or flat.size != self._action.size:
            raise ValueError(
                f"{MASK_KEY} has the space {space}, expected a MultiBinary or Box of {self._action.size} numbers, one "
                f"for each choice in {self.action_space}"
            )
        flat.low, flat.high = np.zeros_like(flat.low), np.ones_like(flat.high)
        return flat

    def _boxes(self) -> dict[str, spaces.Space[Any]]:
        boxes = {key: part.box() for key, (_, part) in self._parts.items()}
        if self.task is not None:
            low, high = self.task.low, self.task.high
            if self._appends_task:
                seen: Any = boxes[OBS_KEY]  # a Box, as its part is a vector
                low, high = np.concatenate([seen.low, low]), np.concatenate([seen.high, high])
            boxes[OBS_KEY if self._appends_task else REVEALED] = spaces.Box(low, high)
        if self._mask is not None:
            boxes[MASK_KEY] = self._mask.box()
        rest = {
            PREV_ACTION: self._action.box(),
            PREV_REWARD: spaces.Box(-LIMIT, LIMIT, (1,), np.float32),
            PREV_DONE: spaces.Box(0.0, 1.0, (1,), np.float32),
            TIME: spaces.Box(0.0, 1.0, (1,), np.float32),
        }
        return {**boxes, **{name: box for name, box in rest.items() if getattr(self.inputs, name)}}

    @property
    def _appends_task(self) -> bool:
        """Whether a revealed task goes on the end of ``obs``; else it is ``obs.task``."""
        return OBS_KEY in self._parts and isinstance(self._parts[OBS_KEY][1], FlatPart)

    def task_vector(self, tasks: TaskBatch) -> Floats | None:
        """The flattened tasks ``[n, V]`` that :meth:`observe` appends; None where the family reveals none.

        Real numbers between finite bounds are scaled to [-1, 1].
        """
        return None if self.task is None else self.task(tasks)

    def with_task(self, obs: TrialObservation, tasks: Floats) -> TrialObservation:
        """Observations as the family shows them where it reveals its tasks.

        Args:
            obs: ``[n, ...]`` without the tasks.
            tasks: ``[n, V]`` of a :class:`metarl.tasks.trial.parts.TaskPart`.
        """
        if self._appends_task:
            return {**obs, OBS_KEY: np.concatenate([obs[OBS_KEY], tasks], axis=1)}
        return {**obs, REVEALED: tasks.copy()}

    def observe(
        self,
        obs: Observations,
        step: int | Ints,
        actions: Array | None = None,
        rewards: Array | None = None,
        done: Array | None = None,
        tasks: Floats | None = None,
    ) -> TrialObservation:
        """The observations of ``n`` trials side by side, in fresh arrays ``[n, ...]``.

        Args:
            obs: inner observations ``[n, ...]``, or a dict of them.
            step: the step in the trial, of all rows or of each ``[n]``; 0 at its start.
            actions: previous actions ``[n, ...]``; None, with ``rewards`` and ``done``, where the trial begins.
            rewards: previous rewards ``[n]``.
            done: ``[n]``, whether the previous step ended the inner episode.
            tasks: what :meth:`task_vector` returned for the tasks of this trial.

        Raises:
            ValueError: an observation does not have the shape of its space.
        """
        parts = obs if isinstance(obs, dict) else {"": obs}
        out: TrialObservation = {key: part(parts[name]) for key, (name, part) in self._parts.items()}
        n = len(next(iter(out.values())))
        if tasks is not None:
            out = self.with_task(out, tasks)
        if self._mask is not None:
            out[MASK_KEY] = self._mask(parts[MASK_KEY])
        use = self.inputs
        if use.prev_action:
            out[PREV_ACTION] = (
                np.zeros((n, self._action.size), np.float32) if actions is None else self._action(actions)
            )
        if use.prev_reward:
            out[PREV_REWARD] = _column(rewards, n)
            if use.prev_reward_scale != 1:
                out[PREV_REWARD] *= np.float32(use.prev_reward_scale)
        if use.prev_done:
            out[PREV_DONE] = _column(done, n)
        if use.time:
            out[TIME] = np.empty((n, 1), np.float32)
            out[TIME][:, 0] = step / self.trial_steps
        return out

    def check_actions(self, actions: Any, n: int) -> Array:
        """``actions`` as an array ``[n, ...]``.

        Raises:
            TypeError: a discrete action is not an integer.
            ValueError: the shape is wrong, or an action lies outside the space.
        """
        space, actions = self.action_space, np.asarray(actions)
        if actions.shape != (n, *space.shape):  # type: ignore[misc]
            raise ValueError(f"expected actions of shape {(n, *space.shape)}, got {actions.shape}")  # type: ignore[misc]
        if not isinstance(space, spaces.Box) and actions.dtype.kind not in "iu":
            raise TypeError(f"expected integer actions in {space}, got the dtype {actions.dtype}")
        low, high = limits(space)
        if not ((actions >= low) & (actions <= high)).all():
            row = next(i for i in range(n) if not ((actions[i] >= low) & (actions[i] <= high)).all())
            raise ValueError(f"action {actions[row]} of row {row} lies outside {space}")
        return actions


def _column(x: Array | None, n: int) -> Floats:
    return np.zeros((n, 1), np.float32) if x is None else np.array(x, dtype=np.float32).reshape(n, 1)

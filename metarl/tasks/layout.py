"""What a learner sees in a trial: the inner observation, and what came of the step before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.tasks.distribution import TaskBatch, TaskDistribution
from metarl.types import Array, Floats, Ints, TrialObservation

# Finite, because Gymnasium's checker warns of infinite bounds.
LIMIT = np.finfo(np.float32).max


@dataclass(frozen=True)
class TrialInputs:
    """Which parts travel beside the inner observation; a part that is off is missing from the space."""

    prev_action: bool = True
    prev_reward: bool = True
    prev_done: bool = True
    time: bool = True

    def __post_init__(self) -> None:
        for name in INPUTS:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")


INPUTS = tuple(f.name for f in fields(TrialInputs))


def is_trial_space(space: spaces.Space[Any]) -> bool:
    """Whether ``space`` is that of trial observations: a flat Dict of float32 vectors with ``obs`` or ``obs.NAME``."""
    if not isinstance(space, spaces.Dict):
        return False
    seen = [key for key in space.spaces if key == "obs" or key.startswith("obs.")]
    flat = all(isinstance(s, spaces.Box) and s.dtype == np.float32 and len(s.shape) == 1 for s in space.values())
    return bool(seen) and flat and set(space.spaces) - set(seen) <= set(INPUTS)


class _Flat:
    """Batches of one space as float32 vectors: one-hot where discrete, else flattened; always fresh arrays."""

    def __init__(self, name: str, space: spaces.Space[Any]) -> None:
        self.name = name
        self.shape = space.shape
        self._eyes: list[Floats] = []
        match space:
            case spaces.Discrete():
                self._set_one_hot(np.array([space.n]), np.array([space.start]))
            case spaces.MultiDiscrete():
                self._set_one_hot(space.nvec.ravel(), space.start.ravel())
            case spaces.Box():
                self.low, self.high = (
                    np.clip(bound.ravel(), -LIMIT, LIMIT).astype(np.float32) for bound in (space.low, space.high)
                )
            case _:
                raise ValueError(
                    f"{name} has the space {space}, which a trial cannot show; "
                    "supported are Box, Discrete and MultiDiscrete, and for observations a flat Dict of those"
                )
        self.size = self.low.size

    def _set_one_hot(self, sizes: Ints, starts: Ints) -> None:
        self._eyes = [np.eye(int(n), dtype=np.float32) for n in sizes]
        self._starts = starts
        self.low, self.high = np.zeros(int(sizes.sum()), np.float32), np.ones(int(sizes.sum()), np.float32)

    def __call__(self, x: Any) -> Floats:
        """``[n, *shape]`` to ``[n, size]``."""
        x = np.asarray(x)
        if x.shape[1:] != self.shape:
            raise ValueError(f"{self.name} has the shape {x.shape[1:]}, but its space says {self.shape}")
        if len(self._eyes) == 1:
            return self._eyes[0].take(x.ravel() - self._starts[0], axis=0)
        if self._eyes:
            columns = x.reshape(len(x), -1) - self._starts
            return np.concatenate([eye[columns[:, j]] for j, eye in enumerate(self._eyes)], axis=1)
        return np.array(x, dtype=np.float32).reshape(len(x), self.size)

    def box(self) -> spaces.Box:
        """The space of one flattened row."""
        return spaces.Box(self.low, self.high, dtype=np.float32)


class TrialLayout:
    """The spaces of a trial and the one place where its observations are put together.

    An observation is a flat dict of float32 vectors: ``obs`` (one-hot where discrete; ``obs.NAME`` for each part of an
    inner Dict), ``prev_action`` (one-hot where discrete, so that all zeros, "no previous action", differs from action
    0), ``prev_reward`` ``[1]``, ``prev_done`` ``[1]`` (1 where the inner episode just ended, for whichever reason) and
    ``time`` ``[1]`` (the step in the trial divided by its steps). The input is that of RL² (Duan et al. 2016,
    section 2.2).

    Raises:
        ValueError: a space of the family is not supported.
    """

    def __init__(self, distribution: TaskDistribution, inputs: TrialInputs | None = None) -> None:
        self.inputs = inputs or TrialInputs()
        self.trial_steps = distribution.trial_steps
        self.action_space = distribution.action_space
        if not isinstance(self.action_space, spaces.Discrete | spaces.Box):
            raise ValueError(
                f"the action space {self.action_space} is not supported; a trial needs a Discrete or a Box"
            )
        self._action = _Flat("prev_action", self.action_space)
        # No previous action is all zeros, which the space must hold too.
        self._action.low, self._action.high = np.minimum(self._action.low, 0), np.maximum(self._action.high, 0)
        inner = distribution.observation_space
        self._parts: dict[str, tuple[str, _Flat]] = (
            {f"obs.{name}": (name, _Flat(f"obs.{name}", space)) for name, space in inner.spaces.items()}
            if isinstance(inner, spaces.Dict)
            else {"obs": ("", _Flat("obs", inner))}
        )
        self._task = (
            [(name, _Flat(f"task.{name}", space)) for name, space in distribution.task_space.spaces.items()]
            if distribution.reveal
            else []
        )
        if self._task and "obs.task" in self._parts:
            raise ValueError("reveal=True adds the key 'obs.task', but the inner observation already has a part 'task'")
        self.observation_space = spaces.Dict(self._boxes())

    def _boxes(self) -> dict[str, spaces.Space[Any]]:
        boxes = {key: flat.box() for key, (_, flat) in self._parts.items()}
        if self._task:
            parts = [flat for _, flat in self._task]
            if "obs" in self._parts:
                parts.insert(0, self._parts["obs"][1])
            bounds = np.concatenate([f.low for f in parts]), np.concatenate([f.high for f in parts])
            boxes["obs" if "obs" in boxes else "obs.task"] = spaces.Box(*bounds)
        rest = {
            "prev_action": self._action.box(),
            "prev_reward": spaces.Box(-LIMIT, LIMIT, (1,), np.float32),
            "prev_done": spaces.Box(0.0, 1.0, (1,), np.float32),
            "time": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
        return {**boxes, **{name: box for name, box in rest.items() if getattr(self.inputs, name)}}

    def task_vector(self, tasks: TaskBatch) -> Floats | None:
        """The flattened tasks ``[n, V]`` that :meth:`observe` appends; None where the family reveals none."""
        if not self._task:
            return None
        return np.concatenate([flat(tasks[name]) for name, flat in self._task], axis=1)

    def observe(
        self,
        obs: Array | Mapping[str, Array],
        step: int,
        actions: Array | None = None,
        rewards: Array | None = None,
        done: Array | None = None,
        tasks: Floats | None = None,
    ) -> TrialObservation:
        """The observations of ``n`` trials side by side, in fresh arrays ``[n, ...]``.

        Args:
            obs: inner observations ``[n, ...]``, or a dict of them.
            step: the step in the trial, the same for all rows; 0 at its start.
            actions: previous actions ``[n, ...]``; None, with ``rewards`` and ``done``, where the trial begins.
            rewards: previous rewards ``[n]``.
            done: ``[n]``, whether the previous step ended the inner episode.
            tasks: what :meth:`task_vector` returned for the tasks of this trial.

        Raises:
            ValueError: an observation does not have the shape of its space.
        """
        out = {key: flat(obs[name] if isinstance(obs, Mapping) else obs) for key, (name, flat) in self._parts.items()}
        n = len(next(iter(out.values())))
        if tasks is not None:
            if "obs" in out:
                out["obs"] = np.concatenate([out["obs"], tasks], axis=1)
            else:
                out["obs.task"] = tasks.copy()
        use = self.inputs
        if use.prev_action:
            out["prev_action"] = (
                np.zeros((n, self._action.size), np.float32) if actions is None else self._action(actions)
            )
        if use.prev_reward:
            out["prev_reward"] = _column(rewards, n)
        if use.prev_done:
            out["prev_done"] = _column(done, n)
        if use.time:
            out["time"] = np.full((n, 1), step / self.trial_steps, np.float32)
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
        if isinstance(space, spaces.Discrete):
            if actions.dtype.kind not in "iu":
                raise TypeError(f"expected integer actions in {space}, got the dtype {actions.dtype}")
            bad = actions.min() < space.start or actions.max() >= space.start + space.n
        else:
            bad = not ((actions >= space.low) & (actions <= space.high)).all()  # type: ignore[attr-defined]
        if bad:
            row = next(i for i in range(n) if not _inside(space, actions[i]))
            raise ValueError(f"action {actions[row]} of row {row} lies outside {space}")
        return actions


def _column(x: Array | None, n: int) -> Floats:
    return np.zeros((n, 1), np.float32) if x is None else np.array(x, dtype=np.float32).reshape(n, 1)


def _inside(space: spaces.Space[Any], action: Array) -> bool:
    if isinstance(space, spaces.Discrete):
        return bool(space.start <= action < space.start + space.n)
    return bool(((action >= space.low) & (action <= space.high)).all())  # type: ignore[attr-defined]

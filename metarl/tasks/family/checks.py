"""Checks of what a user hands in: whole numbers, and the parameters of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.config import InputError
from metarl.tasks.family.distribution import TaskBatch, TaskDistribution


class SpacesError(InputError):
    """The spaces of an environment change from task to task, or what it shows does not fit them."""


def check_shape(space: spaces.Space[Any], obs: Any) -> None:
    """Raise SpacesError if an observation does not have the shape of its space, part by part in a Dict."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    for name, part in parts.items():
        shown = np.shape(obs[name] if name else obs)
        if shown != part.shape:
            what = f"part {name!r} of the observation" if name else "observation"
            raise SpacesError(
                f"the {what} has the shape {shown}, but the family's space is {part}; spaces must not change from task "
                "to task: vary what keeps them, or make them alike with a wrapper"
            )


def whole_number(name: str, value: Any, *, at_least: int) -> None:
    """Raise ValueError unless ``value`` is an integer of at least ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise ValueError(f"{name} must be an integer of at least {at_least}, not {value!r}")


def check_tasks(distribution: TaskDistribution, tasks: Mapping[str, Any], n: int) -> TaskBatch:
    """``n`` tasks as arrays of the dtypes of the task space.

    Raises:
        ValueError: a parameter is missing, unknown, of the wrong shape, or outside its space.
    """
    space = distribution.task_space.spaces
    if set(tasks) != set(space):
        raise ValueError(f"a task of {distribution.family} has the parameters {sorted(space)}, got {sorted(tasks)}")
    out = {}
    for name, part in space.items():
        try:
            values = np.array(tasks[name], dtype=part.dtype)
        except ValueError as error:
            raise ValueError(f"task parameter {name!r} is not an array of {part.dtype}: {error}") from None
        if values.shape != (n, *part.shape):  # type: ignore[misc]
            raise ValueError(f"task parameter {name!r} needs the shape {(n, *part.shape)}, got {values.shape}")  # type: ignore[misc]
        low, high = limits(part)
        if not ((values >= low) & (values <= high)).all():
            raise ValueError(f"task parameter {name!r} lies outside {part}")
        out[name] = values
    return out


def limits(space: spaces.Space[Any]) -> tuple[Any, Any]:
    """The least and largest values of a space of numbers, ends included."""
    match space:
        case spaces.Discrete():
            return space.start, space.start + space.n - 1
        case spaces.MultiDiscrete():
            return space.start, space.start + space.nvec - 1
        case spaces.MultiBinary():
            return 0, 1
        case spaces.Box():
            return space.low, space.high
    raise ValueError(f"expected a Box, Discrete, MultiDiscrete or MultiBinary, not {space}")

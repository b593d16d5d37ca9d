"""Checks of what a user gives: numbers, switches, and observations that must fit their space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.config import InputError


class SpacesError(InputError):
    """The spaces of an environment change from task to task, or what it shows does not fit them."""


TAKEN = ("task", "void", "final_obs", "final_info", "terminal_observation", "TimeLimit.truncated", "episode")
"""The keys of ``info`` that vector environments and SB3 have a meaning for; so have ``r``, ``l`` and ``t`` in SB3's."""


def info_names(given: Any) -> tuple[str, ...]:
    """The option ``infos``: keys of ``info`` whose numbers are reported.

    Raises:
        InputError: it is no list of names, or a name has another meaning.
    """
    names = tuple(given) if isinstance(given, list | tuple) else (given,)
    for name in names:
        if not isinstance(name, str) or name in (*TAKEN, "r", "l", "t") or name.startswith("_"):
            raise InputError(key="infos", given=name, expected="the names of numbers in info, such as ['success']")
    return names


def check_shape(space: spaces.Space[Any], obs: Any) -> None:
    """Raise SpacesError if an observation is no numbers of the shape of its space, part by part in a Dict.

    Integers that stand for choices must be among them; other numbers may exceed their bounds.
    """
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    for name, part in parts.items():
        if name and not (isinstance(obs, Mapping) and name in obs):
            raise SpacesError(f"the observation has no part {name!r} that its space has", given=_short(obs))
        value = obs[name] if name else obs
        what = f"part {name!r} of the observation" if name else "observation"
        if np.shape(value) != part.shape:
            raise SpacesError(
                f"the {what} has the shape {np.shape(value)}, but the family's space is {part}; spaces must not change "
                "from task to task: vary what keeps them, or make them alike with a wrapper"
            )
        if not _fits(part, np.asarray(value)):
            raise SpacesError(key=f"the {what}", given=_short(value), expected=f"numbers of the space {part}")


def _fits(part: spaces.Space[Any], value: Any) -> bool:
    """Whether an array of the right shape holds numbers that a space may show."""
    if part.dtype is not None and part.dtype.kind == "f":
        return value.dtype.kind in "biuf"
    if value.dtype.kind not in "biu" or isinstance(part, spaces.Box):
        return value.dtype.kind in "biu"
    low, high = limits(part)
    return bool(((low <= value) & (value <= high)).all())


def check_reset(result: Any) -> tuple[Any, dict[str, Any]]:
    """What ``reset`` returned, observation and info.

    Raises:
        SpacesError: it is anything else.
    """
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Mapping):
        raise SpacesError(f"reset() must return (obs, info) with a dict as info, it returned {_short(result)}")
    return result


def check_step(space: spaces.Space[Any], result: Any) -> None:
    """Raise SpacesError if what ``step`` returned can't be an observation of ``space``, a number and an info."""
    if not isinstance(result, tuple) or len(result) != 5:
        expected = "(obs, reward, terminated, truncated, info)"
        raise SpacesError(f"step() must return {expected}, it returned {_short(result)}")
    check_shape(space, result[0])
    try:
        float(np.asarray(result[1]).item())
    except (TypeError, ValueError):
        raise SpacesError(key="the reward", given=result[1], expected="one number") from None
    if not isinstance(result[4], Mapping):
        raise SpacesError(key="the info", given=result[4], expected="a dict")


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def whole_number(name: str, value: Any, *, at_least: int) -> None:
    """Refuse anything but an integer.

    Args:
        name: of the option, for the error.
        value: what was given for it.
        at_least: the least value it may have.

    Raises:
        InputError: ``value`` is no integer, or smaller.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise InputError(key=name, given=value, expected=f"an integer of at least {at_least}")


def real_number(name: str, value: Any, *, at_least: float = -math.inf, above: float = -math.inf) -> float:
    """A finite number as a float.

    Args:
        name: of the option, for the error.
        value: what was given for it.
        at_least: the least value it may have.
        above: a bound that it must exceed.

    Raises:
        InputError: ``value`` is no finite number, or too small.
    """
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value < at_least or value <= above:
        bounds = {f" of at least {at_least:g}": at_least, f" above {above:g}": above}
        told = "".join(text for text, bound in bounds.items() if bound > -math.inf)
        raise InputError(key=name, given=value, expected=f"a finite number{told}")
    return float(value)


def true_or_false(name: str, value: Any) -> None:
    """Raise InputError unless ``value``, given for the option ``name``, is a bool."""
    if not isinstance(value, bool):
        raise InputError(key=name, given=value, expected="true or false")


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

"""Where a varied value is put: an attribute of an environment, or a path to one, such as ``model.opt.gravity[2]``."""

from __future__ import annotations

import inspect
import re
from typing import Any

import gymnasium as gym
import numpy as np

from metarl.config import InputError, did_you_mean

OPTIONS = "options."  # names that begin so are options of reset, and no attributes
SHOWN = 40  # names that an error lists at most
_STEP = re.compile(r"\.?([^\W\d]\w*)|\[(\d+)\]")
_PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*|\[\d+\])*")


def is_place(name: str) -> bool:
    """Whether ``name`` is an identifier, or several with dots and whole numbers in brackets."""
    return _PLACE.fullmatch(name) is not None


def steps_of(name: str) -> list[str | int]:
    """The attributes and indices of a path, such as ``["model", "opt", "gravity", 2]``."""
    return [attribute or int(index) for attribute, index in _STEP.findall(name)]


def find_place(env: gym.Env[Any, Any], name: str) -> Any:
    """What is at the place now.

    Raises:
        InputError: there is nothing; the error says what is there instead.
    """
    here, path = env.unwrapped, ""
    for step in steps_of(name):
        try:
            here = _at(here, step)
        except (AttributeError, LookupError, TypeError):
            there = f"{type(here).__name__} at {path!r}" if path else "environment"
            names = _inside(here)
            raise InputError(
                f"the {there} has no {step!r}",
                key=name,
                given=name,
                expected=", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "") or "nothing",
                remedy=did_you_mean(step, names),
            ) from None
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return here


def own_place(env: gym.Env[Any, Any], name: str) -> bool:
    """Whether the place begins at one of the environment's own attributes, and not at Gymnasium's interface."""
    first, *rest = steps_of(name)
    of_gymnasium = hasattr(gym.Env, str(first)) or first in gym.Env.__annotations__  # the spaces are only annotated
    own = hasattr(env.unwrapped, str(first)) and not of_gymnasium
    return own and (bool(rest) or not callable(getattr(env.unwrapped, str(first))))


def put(env: gym.Env[Any, Any], name: str, value: Any) -> None:
    """Put a value at a place; an array of the same shape is changed and stays the same object.

    Args:
        env: whose place it is.
        name: of the place, such as ``model.opt.gravity[2]``.
        value: what is put there.

    Raises:
        AttributeError, TypeError: it can only be read.
        InputError: a number would take the place of an array or the reverse, or a fraction that of whole numbers.
    """
    *path, last = steps_of(name)
    owner = env.unwrapped
    for step in path:
        owner = _at(owner, step)
    now = _at(owner, last)
    array = now if isinstance(now, np.ndarray) else owner if isinstance(owner, np.ndarray) else None
    number = isinstance(now, int | float | np.number) and not isinstance(now, bool)
    if (number and np.ndim(value)) or (isinstance(now, np.ndarray) and now.ndim and not np.ndim(value)):
        expected = "a number, as is there now" if number else f"an array such as is there now, {np.shape(now)}"
        raise InputError(key=name, given=value, expected=expected)
    if array is not None and not np.can_cast(np.asarray(value).dtype, array.dtype, "same_kind"):
        raise InputError(key=name, given=value, expected=f"what an array of {array.dtype} can hold")
    if isinstance(now, np.ndarray) and now.shape == np.shape(value):
        now[...] = value
    elif isinstance(last, int):
        owner[last] = value  # type: ignore[index]  # find_place has indexed it
    else:
        setattr(owner, last, value)


def shared(one: gym.Env[Any, Any], other: gym.Env[Any, Any], name: str) -> bool:
    """Whether putting a value into one environment would change the other, because both hold the same object.

    Args:
        one: an environment.
        other: another of the same kind.
        name: of the place.
    """
    here, there, steps = one.unwrapped, other.unwrapped, steps_of(name)
    for step in steps[:-1]:
        here, there = _at(here, step), _at(there, step)
    last, same = (_at(here, steps[-1]), _at(there, steps[-1])), here is there
    arrays = [pair for pair in ((here, there), last) if all(isinstance(part, np.ndarray) for part in pair)]
    return same or any(np.shares_memory(*pair) for pair in arrays)


def same(now: Any, wanted: Any) -> bool:
    """Whether a place holds what was put there, rounded as its array rounds."""
    if isinstance(now, np.ndarray | np.generic) and np.shape(wanted) == now.shape and now.dtype.kind == "f":
        wanted = np.asarray(wanted).astype(now.dtype)
    return np.array_equal(now, wanted)


def _at(here: Any, step: str | int) -> Any:
    return here[step] if isinstance(step, int) else getattr(here, step)


def _inside(here: Any) -> list[str]:
    """The names that a path may go on with."""
    if hasattr(here, "__len__") and hasattr(here, "__getitem__") and not isinstance(here, dict | str):
        return [f"[0] to [{len(here) - 1}]"] if len(here) else []
    names = [name for name in dir(here) if name[0] != "_" and not hasattr(gym.Env, name)]
    return [name for name in names if not callable(inspect.getattr_static(here, name, None))]

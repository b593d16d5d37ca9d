"""How the environments of a family are made and changed: where each varied value goes, and what is wrapped around."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from metarl.config import InputError, did_you_mean
from metarl.tasks.family.checks import check_reset
from metarl.types import MASK_KEY, Array

InnerEnv = gym.Env[Any, Any]
Make = Callable[..., InnerEnv]


@dataclass(frozen=True)
class EnvFactory:
    """Makes environments of one id, or of one function, and puts values into them.

    Args:
        arguments: the varied values that the constructor takes.
        attributes: the varied values that are set on the unwrapped environment.
    """

    name: str
    make: Make
    arguments: tuple[str, ...]
    attributes: tuple[str, ...]

    def put(self, env: InnerEnv, values: Mapping[str, Any]) -> None:
        """Set the attributes.

        Raises:
            ValueError: an attribute can only be read.
        """
        for name in self.attributes:
            try:
                setattr(env.unwrapped, name, values[name])
            except AttributeError as error:
                raise ValueError(
                    f"the attribute {name!r} of {self.name} cannot be set ({error}); give apply=function(env, task)"
                ) from None


class TaskEnv(gym.Wrapper[Any, Any, Any, Any]):
    """The outermost wrapper of a family's environments.

    Args:
        env: the environment.
        made: what it was made from; values of another making need another environment.
    """

    seed: int | None = None
    """The seed of every episode, where the task is a level; else None."""
    known: tuple[spaces.Space[Any], spaces.Space[Any]] | None = None
    """The spaces of observations and actions that were found to be those of the family."""
    mirrored_attributes: Sequence[str] = ()
    """What varies and stood in attributes of the same name when the environment was made."""

    def __init__(self, env: InnerEnv, made: Any) -> None:
        super().__init__(env)
        self.made = made

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        return self.env.reset(seed=seed if self.seed is None else self.seed, options=options)


class ActionMask(gym.Wrapper[Any, Any, Any, Any]):
    """Shows what an environment says of its allowed actions in the observation: a Dict with ``action_mask``.

    The mask is what ``action_masks()`` returns (the convention of sb3-contrib's MaskablePPO), or else
    ``info["action_mask"]`` (that of Gymnasium's Taxi).
    """

    def __init__(self, env: InnerEnv) -> None:
        super().__init__(env)
        size = spaces.flatdim(env.action_space)  # one number for each choice
        inner = env.observation_space
        parts = dict(inner.spaces) if isinstance(inner, spaces.Dict) else {"obs": inner}
        self.observation_space = spaces.Dict({**parts, MASK_KEY: spaces.MultiBinary(size)})
        self._size = size

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with_mask(obs, info), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a step."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._with_mask(obs, info), reward, terminated, truncated, info

    def _with_mask(self, obs: Any, info: Mapping[str, Any]) -> dict[str, Any]:
        told = getattr(self.unwrapped, "action_masks", None)
        mask: Array = np.asarray(told() if told else info[MASK_KEY]).astype(np.int8).ravel()
        if mask.size != self._size:
            raise ValueError(f"the action mask has {mask.size} numbers, expected {self._size}: one for each choice")
        return {**obs, MASK_KEY: mask} if isinstance(obs, Mapping) else {"obs": obs, MASK_KEY: mask}


def says_masks(env: InnerEnv) -> bool:
    """Whether an environment says which of its discrete actions are allowed; it is reset.

    Raises:
        ValueError: it cannot be reset.
    """
    if not isinstance(env.action_space, spaces.Discrete | spaces.MultiDiscrete):
        return False
    inner = env.observation_space
    if isinstance(inner, spaces.Dict) and MASK_KEY in inner.spaces:
        return False  # it shows them already
    if callable(getattr(env.unwrapped, "action_masks", None)):
        return True
    try:
        return MASK_KEY in check_reset(env.reset(seed=0))[1]
    except Exception as error:  # whatever a user's environment may raise
        raise ValueError(f"{env.unwrapped} cannot be reset: {type(error).__name__}: {error}") from error


def time_limit(env: InnerEnv) -> int | None:
    """After how many steps an episode is cut, where the environment says so."""
    if env.has_wrapper_attr("_max_episode_steps"):  # that of gymnasium.wrappers.TimeLimit
        return int(env.get_wrapper_attr("_max_episode_steps"))
    return env.spec.max_episode_steps if env.spec is not None else None


def import_modules(names: Iterable[str]) -> None:
    """Import modules that register environments.

    Raises:
        ValueError: one cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"cannot import {name!r}: {error}; install it, or start in the folder that it lies in"
            ) from None
        except Exception as error:  # whatever the code of a user's module may raise
            raise ValueError(f"cannot import {name!r}: {type(error).__name__}: {error}; correct the module") from error


def env_factory(
    given: str | Make, kwargs: Mapping[str, Any], names: Iterable[str], applied: bool, first: Any
) -> EnvFactory:
    """Find out how to make an environment and where its varied values go.

    Args:
        given: a registered id, with ``module:`` before it where the module registers it, or a function.
        kwargs: what every environment is made with.
        names: the varied values.
        applied: whether a function of the user's puts values into the environment too.
        first: values to make one with.

    Raises:
        ValueError: the id is unknown, or a value can go nowhere.
    """
    names = list(names)
    name, make, creator = find(given)
    taken, anything = _taken(creator)
    make = partial(make, **kwargs)
    arguments = [n for n in names if n in taken or anything]
    values = {n: first[n] for n in arguments}
    try:
        env = make(**values)
    except Exception as error:  # whatever a user's constructor may raise
        raise ValueError(f"cannot make {name} with {values}: {type(error).__name__}: {error}") from error
    if not isinstance(env, gym.Env):
        raise ValueError(f"{name} made {type(env).__name__}, expected a gymnasium.Env")
    has = env.unwrapped
    attributes = [n for n in names if n not in arguments and _is_attribute(has, n)]
    rest = [n for n in names if n not in arguments and n not in attributes]
    env.close()
    if rest and not applied:
        known = sorted(n for n, v in vars(has).items() if isinstance(v, bool | int | float | str) and n[0] != "_")
        raise InputError(
            f"{name} has neither a constructor argument nor an attribute {rest[0]!r}",
            key=rest[0],
            expected=f"an argument ({', '.join(taken) or 'none'}) or attribute ({', '.join(known) or 'none'})",
            remedy=did_you_mean(rest[0], [*taken, *known]),
        )
    return EnvFactory(name, make, tuple(arguments), tuple(attributes))


def _is_attribute(env: InnerEnv, name: str) -> bool:
    """Whether ``name`` is one of the environment's own attributes, and not a part of Gymnasium's interface."""
    of_gymnasium = hasattr(gym.Env, name) or name in gym.Env.__annotations__  # the spaces are only annotated
    return hasattr(env, name) and not of_gymnasium and not callable(getattr(env, name))


def find(given: str | Make) -> tuple[str, Make, Any]:
    """The name, the function and the constructor behind an id, or a function.

    Raises:
        ValueError: the id is unknown, or its module cannot be imported.
    """
    if not isinstance(given, str):
        return str(getattr(given, "__name__", type(given).__name__)), given, given
    module, _, name = given.rpartition(":")
    import_modules([module] if module else [])
    if name not in gym.registry:
        try:
            gym.spec(name)  # knows how to take an id without its version, and says what is wrong
        except gym.error.Error as error:
            raise InputError(
                f"unknown environment id {name!r}",
                key="id",
                given=name,
                expected=f"an id that is registered with Gymnasium, or by a module to import: module:{name}",
                remedy=did_you_mean(name, gym.registry),
            ) from error
    entry = gym.spec(name).entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    return name, partial(gym.make, given, disable_env_checker=True), creator


def _taken(creator: Any) -> tuple[list[str], bool]:
    """The arguments that a constructor names, and whether a function takes any other."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if not isinstance(creator, type):
        parameters = inspect.signature(creator).parameters.values()
        anything = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters)
        return [p.name for p in parameters if p.kind in by_name], anything
    taken: list[str] = []
    for base in creator.__mro__:  # **kwargs go on to the next class
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            taken += [p.name for p in list(parameters)[1:] if p.kind in by_name and p.name not in taken]
            if not any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters):
                break
    return taken, False

"""How the environments of a family are made and changed: where each varied value goes, and what is wrapped around."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from metarl.config import InputError, did_you_mean
from metarl.tasks.family.checks import check_reset
from metarl.tasks.family.code import lookup, module_of
from metarl.tasks.family.errors import told
from metarl.tasks.family.places import OPTIONS, find_place, own_place, put, same, shared
from metarl.types import MASK_KEY, Array

InnerEnv = gym.Env[Any, Any]
Make = Callable[..., InnerEnv]
OWN_LIMITS = ("max_steps", "max_episode_steps", "max_episode_length", "max_path_length")
FAMILIES_BY = ("metarl.tasks.trial.env:make_trial",)  # the entry points of ids that are families already


@dataclass(frozen=True)
class EnvFactory:
    """Makes environments of one id, or of one function, and puts values into them.

    Args:
        arguments: the varied values that the constructor takes.
        attributes: the varied values that are put into the unwrapped environment.
    """

    name: str
    make: Make
    arguments: tuple[str, ...]
    attributes: tuple[str, ...]

    def put(self, env: InnerEnv, values: Mapping[str, Any], final: bool = True) -> None:
        """Put values at their places.

        Args:
            env: of this factory.
            values: by name.
            final: whether they must be there afterwards, as no function of the user's follows.

        Raises:
            ValueError: an attribute can only be read, or holds something else afterwards.
        """
        for name in self.attributes:
            try:
                put(env, name, values[name])
            except (AttributeError, TypeError) as error:
                raise ValueError(
                    f"the attribute {name!r} of {self.name} cannot be set ({error}); give apply=function(env, task)"
                ) from None
            if final and not same(now := find_place(env, name), values[name]):
                problem = f"the attribute {name!r} of {self.name} holds {now!r} after {values[name]!r} was put there"
                remedy = "vary it within what it can hold, or give apply=function(env, task)"
                raise InputError(problem, key=name, expected="a place that keeps what is put there", remedy=remedy)


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
    options: Mapping[str, Any] = {}
    """What every reset is given."""
    mirrored_attributes: Sequence[str] = ()
    """What varies and stood at the place of its name when the environment was made."""

    def __init__(self, env: InnerEnv, made: Any) -> None:
        super().__init__(env)
        self.made = made

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        options = {**self.options, **(options or {})} or None
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


def says_masks(env: InnerEnv, options: dict[str, Any] | None = None) -> bool:
    """Whether an environment says which of its discrete actions are allowed; it is reset, with ``options``.

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
        return MASK_KEY in check_reset(env.reset(seed=0, options=options))[1]
    except Exception as error:  # whatever a user's environment may raise
        raise ValueError(f"{env.unwrapped} cannot be reset: {told(error)}") from error


def time_limit(env: InnerEnv) -> int | None:
    """After how many steps an episode is cut, where the environment says so.

    Gymnasium's own limit comes first, then an attribute in :data:`OWN_LIMITS`, then ``duration`` (seconds) times
    ``policy_frequency`` in a ``config``, as in highway-env.
    """
    if env.has_wrapper_attr("_max_episode_steps"):  # that of gymnasium.wrappers.TimeLimit
        return int(env.get_wrapper_attr("_max_episode_steps"))
    if env.spec is not None and env.spec.max_episode_steps is not None:
        return env.spec.max_episode_steps
    for name in OWN_LIMITS:
        limit = getattr(env.unwrapped, name, None)
        if isinstance(limit, int | np.integer) and not isinstance(limit, bool) and limit > 0:
            return int(limit)
    config = getattr(env.unwrapped, "config", None)
    if isinstance(config, Mapping):
        seconds, rate = config.get("duration"), config.get("policy_frequency")
        numbers = all(isinstance(one, int | float) and 0 < one < math.inf for one in (seconds, rate))
        return math.ceil(seconds * rate) if numbers else None  # type: ignore[operator]  # both are, or numbers is False
    return None


def env_factory(
    given: str | Make,
    kwargs: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    wrappers: Sequence[Callable[[Any], Any]] = (),
    applied: bool = False,
) -> EnvFactory:
    """Find out how to make an environment and where its varied values go.

    Args:
        given: a registered id, with ``module:`` before it where the module registers it, a function, or the name of
            one, ``"module:function"``.
        kwargs: what every environment is made with.
        values: a value to try for each name that varies.
        wrappers: put around every environment, the first innermost.
        applied: whether a function of the user's puts values into the environment too.

    Raises:
        ValueError: the id is unknown, or a value can go nowhere.
    """
    name, maker, creator = find(given)
    taken, anything = _taken(creator)
    make = partial(_wrapped, maker, tuple(wrappers), **kwargs)
    arguments = [n for n in values if n in taken or (anything and n.isidentifier())]
    loose = [n for n in arguments if n not in taken and isinstance(creator, type)]  # **kwargs, maybe of no use
    try:
        env = make(**{n: values[n] for n in arguments})
    except Exception as error:  # whatever a user's constructor may raise
        sure = {n: values[n] for n in arguments if n not in loose}
        try:
            if not loose:
                raise
            env = make(**sure)
        except Exception:
            raise ValueError(f"cannot make {name} with {sure}: {told(error)}") from error
        arguments = list(sure)
    if not isinstance(env, gym.Env):
        raise ValueError(f"{name} made {type(env).__name__}, expected a gymnasium.Env")
    has = env.unwrapped
    plain = [n for n in loose if isinstance(values[n], bool | int | float | str)]
    ignored = [n for n in plain if hasattr(has, n) and not same(getattr(has, n), values[n])]
    arguments = [n for n in arguments if n not in ignored]
    rest = [n for n in values if n not in arguments and not n.startswith(OPTIONS)]
    attributes = [n for n in rest if own_place(env, n)]
    for n in rest:
        if n not in attributes and not applied:
            raise _nowhere(name, has, n, taken)
    inside = [n for n in attributes if isinstance(find_place(env, n), np.ndarray) or not n.isidentifier()]
    if inside:
        other = make(**{n: values[n] for n in arguments})
        both = next((n for n in inside if shared(env, other, n)), None)
        other.close()
        if both is not None:
            raise InputError(
                f"all environments of {name} share what {both!r} would change",
                key=both,
                remedy="make it anew in the constructor, or give apply=function(env, values)",
            )
    env.close()
    return EnvFactory(name, make, tuple(arguments), tuple(attributes))


def _wrapped(maker: Make, wrappers: Sequence[Callable[[Any], Any]], **kwargs: Any) -> InnerEnv:
    env = maker(**kwargs)
    for wrapper in wrappers:
        env = wrapper(env)
    return env


def _nowhere(name: str, env: InnerEnv, given: str, taken: Sequence[str]) -> InputError:
    known = sorted(n for n, v in vars(env).items() if isinstance(v, bool | int | float | str) and n[0] != "_")
    return InputError(
        f"{name} has neither a constructor argument nor an attribute {given!r}",
        key=given,
        expected=f"an argument ({', '.join(taken) or 'none'}) or attribute ({', '.join(known) or 'none'})",
        remedy=did_you_mean(given, [*taken, *known]),
    )


def find(given: str | Make) -> tuple[str, Make, Any]:
    """The name, the function and the constructor behind an id, a function, or the name of one.

    Raises:
        ValueError: the id is unknown, or its module, or what that needs, cannot be imported.
    """
    if not isinstance(given, str):
        return str(getattr(given, "__name__", type(given).__name__)), given, given
    name, function = given.rpartition(":")[2], lookup(given)
    if name not in gym.registry and function is not None:
        return name, function, function
    if name not in gym.registry:
        try:
            gym.spec(name)  # knows how to take an id without its version, and says what is wrong
        except gym.error.Error as error:
            module = module_of(given)
            raise InputError(
                f"{module} registers no id {name!r} and has no function of this name"
                if module
                else f"unknown environment id {name!r}",
                key="id",
                given=name,
                expected="an id that is registered with Gymnasium, or what a module to import registers or defines "
                f"({module or 'module'}:ID, {module or 'module'}:function)",
                remedy=did_you_mean(name, gym.registry),
            ) from error
    entry = gym.spec(name).entry_point
    if entry in FAMILIES_BY:
        raise ValueError(f"{name} is a family of tasks already; metarl.envs.distribution(id) gives it")
    try:
        creator = load_env_creator(entry) if isinstance(entry, str) else entry
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        problem, remedy = f"{name} needs {missing}, which is not installed", f"pip install {missing}"
        raise InputError(problem, key="id", given=name, remedy=remedy) from error
    except Exception as error:  # whatever the code of a module may raise
        raise InputError(f"cannot load {name}: {told(error)}", key="id", given=name) from error
    return name, partial(gym.make, given, disable_env_checker=True), creator


def _taken(creator: Any) -> tuple[list[str], bool]:
    """The arguments that a constructor names, and whether it takes any other."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if not isinstance(creator, type):
        parameters = inspect.signature(creator).parameters.values()
        anything = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters)
        return [p.name for p in parameters if p.kind in by_name], anything
    taken: list[str] = []
    anything = False
    for base in creator.__mro__[
        :-1
    ]:  # **kwargs go on to the next class; that they end at object is not held against them
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            taken += [p.name for p in list(parameters)[1:] if p.kind in by_name and p.name not in taken]
            anything = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters)
            if not anything:
                break
    return taken, anything

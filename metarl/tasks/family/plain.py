"""Spaces of any kind as the plain ones that trials show and take: flat Dicts of numbers, choices and pictures."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from metarl.config import InputError, one_of
from metarl.types import OBS_KEY, Array

KINDS = ("symbols", "picture", "picture-first", "numbers", "dropped")
"""What a part of the observation can be declared as: whole numbers that name things; a picture with its channels last,
or first; plain numbers; nothing at all."""
MOST_CHOICES = 2**31  # of one number that is a choice
MOST_STACKED = 16  # pictures in a stack
TEXT_LENGTH = 256  # characters that are read of a text whose space sets no limit
PRINTABLE = string.printable[:95]  # letters, digits, punctuation and the blank

Convert = Callable[[Any], Any]


class Picture(spaces.Box):
    """A Box that holds a picture ``[H, W, C]``, with its channels last whatever its shape looks like."""


class Part(NamedTuple):
    """A part of an observation.

    Args:
        path: the keys and indices that lead to it.
        space: the plain space.
        convert: makes what is shown of what the environment gives; None: nothing to do.
    """

    path: tuple[Any, ...]
    space: spaces.Space[Any]
    convert: Convert | None

    def of(self, obs: Any) -> Any:
        """The part of an observation of the environment's."""
        for key in self.path:
            obs = obs[key]
        return obs if self.convert is None else self.convert(obs)


def plain(env: gym.Env[Any, Any], observe: Mapping[str, str]) -> gym.Env[Any, Any]:
    """``env`` with plain spaces: itself where it has them, else wrapped.

    Args:
        env: the environment.
        observe: name of a part (``obs`` where there is one only, ``a.b`` in nested ones) to one of :data:`KINDS`.

    Raises:
        InputError: a space that can't be converted, a kind that doesn't fit, or a name that doesn't exist.
    """
    inner = env.observation_space
    nested = isinstance(inner, spaces.Dict | spaces.Tuple)
    declared = {name.removeprefix(f"{OBS_KEY}.") if nested else name: kind for name, kind in observe.items()}
    named = list(_leaves(inner)) if nested else [(OBS_KEY, ((), inner))]
    leaves = dict(named)
    if twice := [name for i, (name, _) in enumerate(named) if name in dict(named[:i])]:
        raise InputError(f"two parts of the observation are called {twice[0]}", key=twice[0], remedy="rename one")
    if unknown := [name for name in declared if name not in leaves]:
        raise InputError(key="observe", given=unknown[0], expected=f"a part of the observation: {one_of(list(leaves))}")
    parts = {
        name: Part(path, *_plain(name, space, declared.get(name), alone=len(leaves) == 1))
        for name, (path, space) in leaves.items()
        if declared.get(name) != "dropped"
    }
    if not parts:
        raise InputError(key="observe", given="dropped for all parts", expected="one part or more that is seen")
    flat = not nested or all(len(part.path) == 1 and isinstance(inner, spaces.Dict) for part in parts.values())
    same = flat and len(parts) == len(leaves) and all(part.space is leaves[name][1] for name, part in parts.items())
    action = _plain_action(env.action_space)
    if same and action is None:
        return env
    return Plain(env, parts if nested else parts[OBS_KEY], action)


class Plain(gym.Wrapper[Any, Any, Any, Any]):
    """An environment with plain spaces.

    Args:
        env: the environment.
        parts: the parts of its observation by name, or the only one.
        action: the plain space of actions, and what makes one of the environment's from it; None: as it is.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        parts: Mapping[str, Part] | Part,
        action: tuple[spaces.Space[Any], Convert] | None,
    ) -> None:
        super().__init__(env)
        self._parts = parts
        self.observation_space = (
            parts.space if isinstance(parts, Part) else spaces.Dict({name: part.space for name, part in parts.items()})
        )
        if action is not None:
            self.action_space = action[0]
        self._act = None if action is None else action[1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._seen(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a step."""
        obs, *rest = self.env.step(action if self._act is None else self._act(action))
        return self._seen(obs), *rest

    def _seen(self, obs: Any) -> Any:
        parts = self._parts
        return parts.of(obs) if isinstance(parts, Part) else {name: part.of(obs) for name, part in parts.items()}


def _leaves(space: spaces.Space[Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The parts of nested Dicts and Tuples by dotted name: where each is, and its space."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inside = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in inside:
            yield from _leaves(part, (*path, key))
    else:
        yield ".".join(map(str, path)), (path, space)


def _plain(
    name: str, space: spaces.Space[Any], kind: str | None, alone: bool = False
) -> tuple[spaces.Space[Any], Convert | None]:
    """What a part is shown as, and how.

    Args:
        name: of the part.
        space: of the part.
        kind: what it is declared as; None: nothing.
        alone: whether it is the only part.

    Raises:
        InputError: it can't be.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(key=f"observe.{name}", given=kind, expected=one_of(KINDS))
    whole = isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind in "iu"
    if kind == "symbols":
        if not whole or not space.is_bounded():  # type: ignore[attr-defined]  # a Box where whole
            raise InputError(key=f"observe.{name}", given=kind, expected=f"a Box of bounded whole numbers, not {space}")
        return choices(f"observe.{name}", space), None  # type: ignore[arg-type]  # a Box, or whole is False
    if kind in ("picture", "picture-first", "numbers"):
        if not isinstance(space, spaces.Box) or (kind != "numbers" and len(space.shape) not in (2, 3, 4)):
            raise InputError(key=f"observe.{name}", given=kind, expected=f"a Box with axes for it, not {space}")
        convert = partial(np.ravel) if kind == "numbers" else partial(_channels_last, first=kind == "picture-first")
        low, high = (np.asarray(convert(bound)) for bound in (space.low, space.high))
        if kind == "numbers":
            return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32), convert
        return Picture(low, high, dtype=space.dtype), convert
    if isinstance(space, Picture):
        return space, None
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3, 4):
        first = len(space.shape) > 2 and channels_are_first(space.shape[-3:], name)
        if len(space.shape) == 4 and space.shape[0] > MOST_STACKED:
            raise _unclear(name, space.shape)
        if first or len(space.shape) != 3:
            return _plain(name, space, "picture-first" if first else "picture")
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return space, None
    if (characters := _characters(space)) is not None:
        length = space.max_length if isinstance(space, spaces.Text) else TEXT_LENGTH
        codes = {character: code for code, character in enumerate(characters, start=1)}
        values = len(codes) + 2  # 0 where the text is over; the last for any other character
        return spaces.MultiDiscrete(np.full(length, values)), partial(_encode, codes, length)
    raise InputError(
        f"{name} has the space {type(space).__name__}, which can't be shown",
        key=name,
        given=space,
        expected="numbers, choices, pictures, text, and Dicts and Tuples of them",
        remedy=("" if alone else f"leave it out with observe={{{name!r}: 'dropped'}} (--drop {name}), or ")
        + "convert it with a wrapper (wrap=..., --wrap module:Wrapper)",
    )


def choices(name: str, space: spaces.Box) -> spaces.MultiDiscrete:
    """Bounded whole numbers as choices.

    Raises:
        InputError: there are too many.
    """
    most = int(max(int(high) - int(low) for low, high in zip(space.low.flat, space.high.flat, strict=True))) + 1
    if most > MOST_CHOICES:
        expected, remedy = f"at most {MOST_CHOICES:,} choices", "use fewer, or real numbers (a float Box)"
        raise InputError(key=name, given=space, expected=expected, remedy=remedy)
    start: Any = space.low.astype(np.int64)
    return spaces.MultiDiscrete(space.high.astype(np.int64) - start + 1, start=start)


def channels_are_first(shape: tuple[int, ...], name: str) -> bool:
    """Whether the first axis of a picture of three axes is that of channels, and not the last one.

    Channels are last where that axis has at most 4, as in Gymnasium; else they are on the shortest axis.

    Args:
        shape: of the picture.
        name: of the part, for the error.

    Raises:
        InputError: the shape doesn't tell.
    """
    first, middle, last = shape
    if last <= 4 or last < min(first, middle):
        return False
    if first < min(middle, last):
        return True
    raise _unclear(name, shape)


def _unclear(name: str, shape: tuple[int, ...]) -> InputError:
    return InputError(
        f"the shape of {name} does not tell which axis holds the channels of a picture",
        key=name,
        given=shape,
        expected=f"fewer channels than rows and columns, and at most {MOST_STACKED} pictures in a stack",
        remedy=f"declare observe={{{name!r}: 'picture'}} (channels last), 'picture-first', 'symbols' or 'numbers' "
        f"(--observe {name}=KIND)",
    )


def _channels_last(x: Any, first: bool) -> Array:
    """A picture ``[H, W]``, with channels, or a stack of such, as ``[H, W, C]``."""
    x = np.asarray(x)
    if x.ndim == 2:
        return x[..., None]
    x = np.moveaxis(x, -3, -1) if first else x
    return x if x.ndim == 3 else np.moveaxis(x, 0, -2).reshape(*x.shape[1:3], -1)


def _characters(space: spaces.Space[Any]) -> str | None:
    """The characters of a space of text; None for other spaces."""
    if isinstance(space, spaces.Text):
        return "".join(sorted(space.character_set))
    try:
        return PRINTABLE if isinstance(space.sample(), str) else None  # a kind of the environment's own
    except Exception:  # whatever such a space may raise
        return None


def _encode(codes: Mapping[str, int], length: int, text: str) -> Array:
    """A text as the numbers of its characters, with zeros behind."""
    out = np.zeros(length, np.int64)
    known = [codes.get(character, len(codes) + 1) for character in str(text)[:length]]
    out[: len(known)] = known
    return out


def _plain_action(space: spaces.Space[Any]) -> tuple[spaces.Space[Any], Convert] | None:
    """A plain space of actions, and how its actions are given to the environment; None: it is plain already.

    Raises:
        InputError: it can't be made plain.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) or (
        isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind == "f"
    ):
        return None
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiDiscrete(np.full(space.shape, 2)), partial(np.asarray, dtype=space.dtype)
    if isinstance(space, spaces.Box) and space.is_bounded():
        return choices("action_space", space), partial(np.asarray, dtype=space.dtype)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        each = [(path, leaf, _plain_action(leaf)) for _, (path, leaf) in _leaves(space)]
        made = [leaf if given is None else given[0] for _, leaf, given in each]
        if all(isinstance(one, spaces.Discrete | spaces.MultiDiscrete) for one in made):
            counts, starts = (
                np.concatenate([np.ravel(getattr(one, a, getattr(one, "n", 0))) for one in made])
                for a in ("nvec", "start")
            )
            return spaces.MultiDiscrete(counts, start=starts), partial(_nested, space)
        if all(isinstance(one, spaces.Box) for one in made):
            low, high = (np.concatenate([np.ravel(getattr(one, end)) for one in made]) for end in ("low", "high"))
            return spaces.Box(low.astype(np.float32), high.astype(np.float32)), partial(_nested, space)
    raise InputError(
        f"actions of the space {type(space).__name__} are not supported",
        key="action_space",
        given=space,
        expected="choices (Discrete, MultiDiscrete, MultiBinary, bounded whole numbers) or real numbers (Box), or a "
        "Dict or Tuple of one of both kinds",
        remedy="convert them with a gymnasium.ActionWrapper (wrap=..., --wrap module:Wrapper)",
    )


def _nested(space: spaces.Space[Any], action: Array) -> Any:
    """The numbers of a flat action as an action of nested Dicts and Tuples."""
    return _build(space, iter(np.ravel(action).tolist()))


def _build(space: spaces.Space[Any], numbers: Iterator[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _build(part, numbers) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_build(part, numbers) for part in space.spaces)
    if isinstance(space, spaces.Discrete):
        return int(next(numbers))
    shape = space.shape or ()
    return np.array([next(numbers) for _ in range(int(np.prod(shape)))], dtype=space.dtype).reshape(shape)

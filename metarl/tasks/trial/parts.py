"""How each part of what an environment shows becomes part of a trial observation: a vector, a picture or symbols."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.config import InputError
from metarl.tasks.family.distribution import TaskBatch
from metarl.tasks.family.plain import Picture, channels_are_first
from metarl.types import OBS_KEY, Array, Floats

# Finite, because Gymnasium's checker warns of infinite bounds.
LIMIT = np.finfo(np.float32).max
WIDEST = 4096  # the most choices that are shown one-hot; their table takes 64 MB
SYMBOLS = 16  # pictures without larger numbers hold codes of things; brightness goes up to 255
FEWEST_PIXELS = 8  # rows and columns from which real numbers between the bounds of pixels are a picture


class PicturePart:
    """Batches of pictures with their channels last; always fresh arrays."""

    def __init__(self, name: str, space: spaces.Box) -> None:
        self.name, self.space = name, space
        self._first = not isinstance(space, Picture) and channels_are_first(space.shape, name)
        self._dtype = np.uint8 if space.dtype == np.uint8 else np.float32

    def __call__(self, x: Any) -> Array:
        """``[n, *shape]`` to ``[n, H, W, C]``, uint8 or float32."""
        x = np.asarray(x)
        if x.shape[1:] != self.space.shape or (x.dtype != np.uint8 and self._dtype == np.uint8):
            raise ValueError(
                f"{self.name} is {x.dtype} of shape {x.shape[1:]}, but its space says {self.space.dtype} of "
                f"{self.space.shape}"
            )
        return np.array(np.moveaxis(x, 1, -1) if self._first else x, dtype=self._dtype, order="C")

    def box(self) -> spaces.Box:
        """The space of one picture."""
        low, high = (np.moveaxis(end, 0, -1) if self._first else end for end in (self.space.low, self.space.high))
        return spaces.Box(low.astype(self._dtype), high.astype(self._dtype), dtype=self._dtype)


class SymbolPart:
    """Batches of whole numbers that name things, counted from 0; always fresh arrays."""

    def __init__(self, name: str, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        self.name, self.shape = name, space.shape
        self._counts = np.array([space.n]) if isinstance(space, spaces.Discrete) else space.nvec
        self._start = space.start
        self._to = self._counts.shape if self._counts.ndim in (1, 3) else (self._counts.size,)
        self._dtype = np.int16 if self._counts.max() < 2**15 else np.int32

    def __call__(self, x: Any) -> Array:
        """``[n, *shape]`` to ``[n, L]`` or ``[n, H, W, C]``."""
        x = np.asarray(x)
        if x.shape[1:] != self.shape:
            raise ValueError(f"{self.name} has the shape {x.shape[1:]}, but its space says {self.shape}")
        counted = x.astype(np.int64) - self._start
        if ((counted < 0) | (counted >= self._counts)).any():  # else it would be looked up elsewhere
            raise _outside(self.name, x)
        return counted.reshape(len(x), *self._to).astype(self._dtype)

    def box(self) -> spaces.MultiDiscrete:
        """The space of one row."""
        return spaces.MultiDiscrete(self._counts.reshape(self._to), dtype=self._dtype)  # type: ignore[arg-type]  # the stubs know int64 alone


class FlatPart:
    """Batches of one space as float32 vectors: one-hot where discrete, else flattened; always fresh arrays."""

    def __init__(self, name: str, space: spaces.Space[Any]) -> None:
        self.name = name
        self.shape = space.shape
        one_hot = isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        if not one_hot and not isinstance(space, spaces.Box | spaces.MultiBinary):
            raise InputError(
                f"{name} has the space {space}, which a trial cannot show",
                key=name,
                expected="Box, Discrete, MultiDiscrete or MultiBinary, and for observations a flat Dict of those",
                remedy="metarl.from_env converts others",
            )
        self.size = spaces.flatdim(space)
        if one_hot and self.size > WIDEST:
            raise ValueError(
                f"{name} would be a one-hot vector of {self.size} numbers, but a trial shows at most {WIDEST}: give "
                "the environment fewer choices, or numbers in a Box"
            )
        flat: Any = spaces.flatten_space(space)
        self.low, self.high = (np.clip(bound, -LIMIT, LIMIT).astype(np.float32) for bound in (flat.low, flat.high))
        sizes: Any = space.nvec.ravel() if isinstance(space, spaces.MultiDiscrete) else [self.size]
        self._eyes: list[Floats] = [np.eye(int(n), dtype=np.float32) for n in sizes] if one_hot else []
        self._starts = np.ravel(getattr(space, "start", 0))

    def __call__(self, x: Any) -> Floats:
        """``[n, *shape]`` to ``[n, size]``."""
        x = np.asarray(x)
        if x.shape[1:] != self.shape:
            raise ValueError(f"{self.name} has the shape {x.shape[1:]}, but its space says {self.shape}")
        columns = x.reshape(len(x), -1) - self._starts if self._eyes else x
        if self._eyes and columns.min(initial=0) < 0:  # else it would be looked up from the end
            raise _outside(self.name, x)
        if len(self._eyes) == 1:
            return self._eyes[0].take(columns.ravel(), axis=0)
        if self._eyes:
            return np.concatenate([eye[columns[:, j]] for j, eye in enumerate(self._eyes)], axis=1)
        return np.array(x, dtype=np.float32).reshape(len(x), self.size)

    def box(self) -> spaces.Box:
        """The space of one flattened row."""
        return spaces.Box(self.low, self.high, dtype=np.float32)


class UnitPart(FlatPart):
    """As :class:`FlatPart`, with real numbers between finite bounds scaled to [-1, 1], so that none dominates."""

    def __init__(self, name: str, space: spaces.Space[Any]) -> None:
        super().__init__(name, space)
        bounded = isinstance(space, spaces.Box) and space.dtype.kind == "f" and space.is_bounded()
        self._middle = (self.high / 2 + self.low / 2) * bounded
        self._reach = np.where(bounded & (self.high > self.low), self.high / 2 - self.low / 2, 1)
        self.low, self.high = (((x - self._middle) / self._reach).astype(np.float32) for x in (self.low, self.high))

    def __call__(self, x: Any) -> Floats:
        """``[n, *shape]`` to ``[n, size]``."""
        return np.clip((super().__call__(x) - self._middle) / self._reach, self.low, self.high).astype(np.float32)


class TaskPart:
    """Batches of tasks as vectors: their parameters side by side, scaled as :class:`UnitPart` does.

    Raises:
        ValueError: a parameter that is no numbers, or has too many choices.
    """

    def __init__(self, space: spaces.Dict) -> None:
        self._parts = [(name, UnitPart(f"task.{name}", part)) for name, part in space.spaces.items()]
        self.size = sum(part.size for _, part in self._parts)
        self.low, self.high = (
            np.concatenate([getattr(part, side) for _, part in self._parts] or [np.zeros(0, np.float32)])
            for side in ("low", "high")
        )

    def __call__(self, tasks: TaskBatch) -> Floats:
        """Arrays ``[n, ...]`` by name to ``[n, size]``."""
        return np.concatenate([part(tasks[name]) for name, part in self._parts], axis=1)


def _outside(name: str, x: Array) -> ValueError:
    return ValueError(f"{name} lies outside its space: it has the values {np.unique(x)[:20]}")


def make_part(name: str, space: spaces.Space[Any]) -> FlatPart | PicturePart | SymbolPart:
    """How a part of the observation is shown."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and (
        len(space.shape or ()) == 3 or spaces.flatdim(space) > WIDEST
    ):
        return SymbolPart(name, space)
    return (
        PicturePart(name, space)
        if isinstance(space, spaces.Box) and looks_like_picture(space)
        else FlatPart(name, space)
    )


def looks_like_symbols(key: str, most: int) -> str:
    """What to say of a picture of bytes with no number above ``most``."""
    name = key.removeprefix(f"{OBS_KEY}.")
    return (
        f"the picture {name} has no number above {most}, which looks like symbols, not brightness: declare "
        f"observe={{{name!r}: 'symbols'}} (--observe {name}=symbols)"
    )


def looks_like_picture(space: spaces.Box) -> bool:
    """Whether numbers are a picture: declared, bytes with three axes, or real numbers between the bounds of pixels."""
    if len(space.shape) != 3 or isinstance(space, Picture) or space.dtype == np.uint8:
        return len(space.shape) == 3
    ends, middle = sorted((space.shape[0], space.shape[2])), space.shape[1]
    bounds = float(space.low.min()), float(space.high.max())
    pixels = space.dtype is not None and space.dtype.kind == "f" and bounds in ((0, 1), (-1, 1), (0, 255))
    return pixels and ends[0] <= 4 and min(ends[1], middle) >= FEWEST_PIXELS

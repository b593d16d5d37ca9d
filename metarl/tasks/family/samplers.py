"""What a function draws for each task: one value, or several that depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.config import InputError
from metarl.tasks.family.ranges import Range
from metarl.types import Array

Draw = Callable[[np.random.Generator], Any]
TRIED = 16  # draws that show the shape and the dtype


@dataclass(frozen=True)
class Sampler(Range):
    """What ``function(rng)`` returns: a number, or an array of numbers, always of the same shape.

    Args:
        function: draws one value from the generator that it gets, and from nothing else.

    Raises:
        InputError: it draws from another generator, shapes that differ, or what is no finite number.
    """

    function: Draw
    _tried: Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(key="the function of a Sampler", given=self.function, expected="rng -> number or array")
        generators = map(np.random.default_rng, (0, 0))
        first, again = ([_array(_call(self.function, rng)) for _ in range(TRIED)] for rng in generators)
        if {one.shape for one in first} != {first[0].shape}:
            raise _unequal(sorted({one.shape for one in first}))
        if not all(map(np.array_equal, first, again)):
            problem = (
                "it draws other values from an equal generator; draw from the generator that it gets, and no other"
            )
            raise InputError(problem, key="vary", given=self.function)
        object.__setattr__(self, "_tried", np.stack(first))

    @property
    def space(self) -> spaces.Box:
        """Any number."""
        dtype: Any = self._tried.dtype.type
        shape = self._tried.shape[1:]
        if self._tried.dtype.kind == "f":
            return spaces.Box(-np.inf, np.inf, shape, dtype)
        return spaces.Box(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype)

    @property
    def probes(self) -> Array:
        """``[2, ...]``: two draws, which differ if any do."""
        other = next((one for one in self._tried if not np.array_equal(one, self._tried[0])), self._tried[-1])
        return np.stack([self._tried[0], other])

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """``[n, ...]``, one call of the function each."""
        return self.stack([_call(self.function, rng) for _ in range(n)])

    def stack(self, drawn: Sequence[Any]) -> Array:
        """Draws as an array ``[n, ...]``.

        Raises:
            InputError: one has another shape, or does not fit the dtype.
        """
        like, arrays = self._tried[0], [_array(one) for one in drawn]
        for one in arrays:
            if one.shape != like.shape or not np.can_cast(one.dtype, like.dtype):
                raise _unequal([(like.shape, str(like.dtype)), (one.shape, str(one.dtype))])
        return np.array(arrays, like.dtype).reshape(len(arrays), *like.shape)

    def value(self, drawn: Any) -> Any:
        """A Python number, or an array of its own."""
        return np.array(drawn) if np.ndim(drawn) else super().value(drawn)

    def plain(self) -> Any:
        """The function itself: it has no form as text."""
        return self.function


def _array(drawn: Any) -> Array:
    try:
        array = np.asarray(drawn)
    except ValueError:  # lists of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise InputError(
            key="what a function of vary draws", given=drawn, expected="a finite number, or an array of them"
        )
    return array


def _call(function: Draw, rng: np.random.Generator) -> Any:
    try:
        return function(rng)
    except InputError:
        raise
    except Exception as error:  # whatever a user's function may raise
        problem = f"a function of vary cannot draw from a generator: {type(error).__name__}: {error}"
        raise InputError(problem, key="vary", given=function) from error


def _unequal(found: list[Any]) -> InputError:
    problem = f"a function of vary draws what is not alike: {found}; give all draws one shape and one dtype"
    return InputError(problem, key="vary", given=found)


class _Part(Sampler):
    """One of several values that are drawn together."""

    @property
    def probes(self) -> Array:
        """``[2, ...]``: those of the first two draws, so that they go with those of the other parts."""
        return self._tried[:2]


class Together(dict[str, Range]):
    """Values that depend on each other, drawn by one function: ``rng -> {name: value, ...}``.

    As a mapping it is empty, since no value has a range of its own; :attr:`parts` has a range for each name, whose
    probes belong together.

    Raises:
        InputError: it draws from another generator, or other names, shapes or dtypes each time.
    """

    def __init__(self, function: Draw) -> None:
        super().__init__()
        self.function = function
        names = self._drawn(np.random.default_rng(0))
        self.parts = {str(name): _Part(partial(self._one, name)) for name in names}

    def sample(self, rng: np.random.Generator, n: int) -> dict[str, Array]:
        """``[n, ...]`` for each name."""
        drawn = [self._drawn(rng) for _ in range(n)]
        return {name: part.stack([one[name] for one in drawn]) for name, part in self.parts.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Together) and self.function == other.function

    __hash__ = None

    def _one(self, name: str, rng: np.random.Generator) -> Any:
        return self._drawn(rng)[name]

    def _drawn(self, rng: np.random.Generator) -> Mapping[str, Any]:
        drawn, known = _call(self.function, rng), getattr(self, "parts", None)
        if not isinstance(drawn, Mapping) or not drawn or (known and known.keys() != drawn.keys()):
            expected = f"values of {sorted(known)}" if known else "a dict of names and values"
            raise InputError(key="what the function of vary draws", given=drawn, expected=expected)
        return drawn

"""Spaces of observations and actions as plain data, for checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.training.checkpoint import CheckpointError
from metarl.types import Array

MAX_ELEMENTS = 10**8  # numbers and choices of all parts together
MAX_PARTS = 10**4


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A Box, Discrete, MultiDiscrete, MultiBinary or Dict space as plain data.

    Raises:
        CheckpointError: a space of another kind.
    """
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "spaces": {k: space_to_json(s) for k, s in space.spaces.items()}}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        start = space.start.tolist()
        return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": start, "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    if isinstance(space, spaces.Box):
        low, high = (_bound(bound) for bound in (space.low, space.high))
        return {"kind": "Box", "low": low, "high": high, "shape": list(space.shape), "dtype": str(space.dtype)}
    expected = "Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these"
    raise CheckpointError(f"cannot save the space {space}", key="space", given=space, expected=expected)


def _bound(bound: Array) -> list[str]:
    """One side of a Box, once if it is the same everywhere; as strings, because JSON has no inf."""
    flat = bound.ravel()
    return [str(x) for x in (flat[:1] if flat.size and (flat == flat[0]).all() else flat)]


def space_from_json(data: Any, where: str = "the space") -> spaces.Space[Any]:
    """The inverse of :func:`space_to_json`.

    Args:
        data: plain data, which may be anybody's.
        where: what it is from, named first in an error.

    Raises:
        CheckpointError: it describes no space, or one of more than MAX_PARTS or MAX_ELEMENTS, which is never made.
    """
    try:
        parts, elements = _sizes(data)
        if parts <= MAX_PARTS and elements <= MAX_ELEMENTS:
            return _space(data)
    except Exception as error:  # damaged data make NumPy and Gymnasium raise almost anything
        problem = f"{where} is damaged ({type(error).__name__}: {error})"
        raise CheckpointError(problem, key=where, expected="a space") from None
    expected = f"at most {MAX_PARTS:,} parts and {MAX_ELEMENTS:,} elements"
    raise CheckpointError(f"{where} has {parts:,} parts and {elements:,} elements", key=where, expected=expected)


def _sizes(data: Mapping[str, Any]) -> tuple[int, int]:
    """How many parts and elements a space would have."""
    match data["kind"]:
        case "Dict":
            sizes = [_sizes(part) for part in data["spaces"].values()]
            return 1 + sum(parts for parts, _ in sizes), sum(elements for _, elements in sizes)
        case "Discrete":
            return 1, _count(data["n"])
        case "MultiDiscrete":
            return 1, sum(_count(n) for n in np.ravel(np.array(data["nvec"])).tolist())
        case "MultiBinary":
            return 1, math.prod(map(_count, data["n"] if isinstance(data["n"], list) else [data["n"]]))
        case "Box":
            return 1, math.prod(map(_count, data["shape"]))
    raise ValueError(f"it is of the kind {data['kind']!r}")


def _count(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no size")
    return number


def _space(data: Mapping[str, Any]) -> spaces.Space[Any]:
    if data["kind"] == "Dict":
        return spaces.Dict({k: _space(s) for k, s in data["spaces"].items()})
    if data["kind"] == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    dtype: Any = np.dtype(str(data["dtype"])).type
    if not issubclass(dtype, np.number | np.bool_):
        raise ValueError(f"its numbers are {data['dtype']!r}")
    if data["kind"] == "Discrete":
        other: Any = {} if dtype is np.int64 else {"dtype": dtype}  # Gymnasium 1.2 has no other
        return spaces.Discrete(data["n"], start=_whole(data["start"]), **other)
    if data["kind"] == "MultiDiscrete":
        start = np.array(data["start"])
        _whole(start.ravel().tolist()[0] if start.size else 0)
        return spaces.MultiDiscrete(np.array(data["nvec"]), dtype=dtype, start=start)
    low, high = (_side(data[name], data["shape"], dtype) for name in ("low", "high"))
    return spaces.Box(low, high, dtype=dtype)


def _whole(number: Any) -> int:
    if type(number) is not int or abs(number) >= 2**63:
        raise ValueError(f"{number!r} is no whole number of 64 bits")
    return number


def _side(given: list[str], shape: list[int], dtype: Any) -> Any:
    """One side of a Box."""
    if not given or not all(isinstance(one, str) for one in given) or len(given) not in (1, math.prod(shape)):
        raise ValueError(f"it has {len(given)} bounds for the shape {shape}")
    side = np.array(given).astype(dtype)  # exact, for large integers too
    if np.isnan(side).any():
        raise ValueError("a bound is not a number")
    return side.reshape(shape) if side.size > 1 else np.full(shape, side[0])

"""What a training needs beside model and optimiser to go on from a file: random generators, and one clear error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.training.checkpoint import CheckpointError


@contextmanager
def restoring(what: str) -> Iterator[None]:
    """Turn what goes wrong with a saved state into one error.

    Args:
        what: is restored, for the error.

    Raises:
        CheckpointError: instead of any of these.
    """
    try:
        yield
    except CheckpointError:
        raise
    except _GARBAGE as error:
        problem = f"{what} does not fit what is trained here ({type(error).__name__}: {error})"
        raise CheckpointError(problem, remedy="use another one, or train again") from error


_GARBAGE = (ArithmeticError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError)
"""What a state of other types, shapes or names raises where it is put into place."""


def check_like(given: Any, like: Any, at: str) -> None:
    """Refuse a saved state that differs from a fresh one in names, types or shapes, or is not finite.

    Args:
        given: nested mappings of plain data, arrays and tensors ``[...]``.
        like: the same of a fresh state.
        at: the name of ``given``.

    Raises:
        ValueError: something differs.
    """
    if isinstance(like, Mapping):
        if not isinstance(given, Mapping) or given.keys() != like.keys():
            raise ValueError(f"{at} is {_kind(given)}, expected {_kind(like)}")
        for name, part in like.items():
            check_like(given[name], part, f"{at}.{name}")
    elif isinstance(like, np.ndarray | torch.Tensor):
        same = isinstance(given, np.ndarray | torch.Tensor) and _kind(given) == _kind(like)
        if not same or (bool(_finite(like)) and not _finite(given)):
            raise ValueError(f"{at} is {_kind(given)}, expected {_kind(like)} of finite numbers")
    elif type(given) is not type(like):
        raise ValueError(f"{at} is {_kind(given)}, expected nothing")


def _finite(array: Any) -> bool:
    return bool(torch.as_tensor(array).isfinite().all())


def _kind(data: Any) -> str:
    if isinstance(data, Mapping):
        return f"a table of {', '.join(map(str, data)) or 'nothing'}"
    if isinstance(data, np.ndarray | torch.Tensor):
        return f"{torch.as_tensor(data).dtype} {list(data.shape)}"
    return f"a {type(data).__name__}"


def get_random() -> dict[str, Tensor]:
    """The states of torch's global generators, ``[n]`` by device."""
    states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{f"cuda:{i}": state for i, state in enumerate(states)}}


def set_random(states: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`get_random`; states of devices that are not there are left out."""
    torch.set_rng_state(states["cpu"])
    for i in range(torch.cuda.device_count()):
        if (name := f"cuda:{i}") in states:
            torch.cuda.set_rng_state(states[name], i)

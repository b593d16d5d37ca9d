"""What a training needs beside model and optimiser to go on from a file: random generators, and one clear error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        problem = f"{what} does not fit what is trained here ({type(error).__name__}: {error})"
        raise CheckpointError(problem, remedy="use another one, or train again") from error


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

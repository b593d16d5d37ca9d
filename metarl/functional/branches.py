"""Questions about the numbers in a tensor, which decide what is computed; a graph of operations has no answer to them.

While a step is recorded as a graph, the answer is the one whose path is right for any numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_RECORDING = ContextVar("_RECORDING", default=False)


@contextmanager
def recording() -> Iterator[None]:
    """Within, operations are recorded for numbers that are not known yet, as ``torch.export`` does."""
    token = _RECORDING.set(True)
    try:
        yield
    finally:
        _RECORDING.reset(token)


def in_graph() -> bool:
    """Whether operations are being recorded; see :func:`recording`."""
    return _RECORDING.get()


def some(mask: Tensor) -> bool:
    """Whether any of ``mask`` ``[...]`` (bool) holds, or may hold in a graph."""
    return in_graph() or bool(mask.any())


def every(mask: Tensor) -> bool:
    """Whether all of ``mask`` ``[...]`` (bool) hold, and surely do in a graph."""
    return not in_graph() and bool(mask.all())

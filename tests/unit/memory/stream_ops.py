"""What is done to a store at every step of a stream, one query a step."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.memory.contract import MemoryOps


def every_step(
    reset: Tensor,
    write_mask: Tensor,
    key: Tensor,
    value: Tensor,
    write_control: Tensor | None,
    query: Tensor,
    read_control: Tensor | None = None,
) -> MemoryOps:
    """From parts ``[T, B, ...]``."""
    steps = torch.arange(len(reset))
    asked = None if read_control is None else read_control[:, :, None]
    return MemoryOps(reset, write_mask, None, steps, key, value, write_control, steps, query[:, :, None], asked)

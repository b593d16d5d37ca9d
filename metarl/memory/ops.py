"""What travels between the parts of a memory: states, slots, and what is done along a stream."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor

State = Any
"""A nested NamedTuple of tensors with the batch first in every leaf."""


class Content(NamedTuple):
    """What a store shows to an access."""

    keys: Tensor
    """``[B, N, K]``"""
    values: Tensor
    """``[B, N, V]``"""
    valid: Tensor
    """``[B, N]`` bool: slots that have been written."""
    learned: tuple[Tensor, Tensor] | None = None
    """Keys ``[L, K]`` and values ``[L, V]`` that all rows have before these slots, where they are kept separate."""


class MemoryOps(NamedTuple):
    """What is done to a store along a stream: at each step first reset, then write, then read.

    Where a parallel store is read by an access, keys and queries are given for the steps alone at which some row writes
    or reads; everywhere else for all steps, so that ``write_steps`` and ``query_steps`` are ``0 .. T-1``.
    """

    reset: Tensor
    """``[T, B]`` bool: rows that are emptied."""
    write_mask: Tensor
    """``[T, B]`` bool: rows that are written."""
    query_mask: Tensor | None
    """``[T, B]`` bool: rows that are read; None: all. What is read elsewhere is never used."""
    write_steps: Tensor
    """``[W]`` the steps that keys, values and write controls belong to, in order."""
    key: Tensor
    """``[W, B, K]``"""
    value: Tensor
    """``[W, B, V]``"""
    write_control: Tensor | None
    """``[W, B, control_size]``"""
    query_steps: Tensor
    """``[R]`` the steps that queries and read controls belong to, in order."""
    query: Tensor
    """``[R, B, Q, K]``"""
    read_control: Tensor | None
    """``[R, B, Q, read_control_size]``"""


def visible(content: Content, queries: int, mask: Tensor | None, causal: bool) -> Tensor:
    """``[B, Q, N]`` bool: which slots each of ``queries`` queries sees, given the arguments of an access."""
    seen = content.valid[:, None, :].expand(-1, queries, -1)
    if causal:
        slots = content.keys.shape[1]
        seen = seen & torch.ones(queries, slots, dtype=torch.bool, device=seen.device).tril(slots - queries)
    return seen if mask is None else seen & mask


def by_step(*parts: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """The parts ``[T, ...]`` at each step, unbound once: the gradient of ``x[t]`` would fill all of ``x`` each time."""
    return zip(*(repeat(None) if part is None else part.unbind(0) for part in parts), strict=False)

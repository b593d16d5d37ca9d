"""A Transformer that attends to a sliding window of its inputs, with a cache for stepping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn

from metarl.memory.contract import Controller
from metarl.memory.controllers.feedforward import Block

CHUNK = 32
"""The fewest queries that are asked together along a sequence."""


@dataclass(frozen=True)
class WindowOptions:
    """Options of the sliding-window Transformer."""

    hidden_size: Annotated[int, Ge(1)] = 64
    """Width of the residual stream and of the output; a multiple of the heads."""
    heads: Annotated[int, Ge(1)] = 4
    """Attention heads of each layer."""
    layers: Annotated[int, Ge(1)] = 1
    """Number of layers; with L of them the output depends on the last L (window - 1) + 1 inputs."""
    window: Annotated[int, Ge(1)] = 64
    """Inputs that each layer sees, the present one included."""
    expansion: Annotated[int, Ge(1)] = 2
    """Units of the feed-forward part of a layer, as a multiple of the width."""


class WindowState(NamedTuple):
    """The cache: what each layer has of the last window - 1 inputs, the oldest first, the newest always last.

    It is right-aligned: an input that was never read, or was read before the state was cleared, leaves zeros.
    """

    keys: Tensor
    """``[B, L, W - 1, H]``"""
    values: Tensor
    """``[B, L, W - 1, H]``"""
    length: Tensor
    """``[B]`` int64: how many are valid."""


class Sight(NamedTuple):
    """What a chunk of queries can see. Places count from the oldest entry of the cache, whose W - 1 come first."""

    first: int
    """The first place that any query of the chunk sees."""
    offset: Tensor
    """``[C, S]`` how far each of the places from ``first`` on lies behind each query; negative in its future."""
    hidden: Tensor | None
    """``[B, 1, C, S]`` bool: places within the window that lie before the row's beginning; None where there are none."""


class Attention(nn.Module):
    """Causal multi-head attention over a window (Vaswani et al. 2017, section 3.2; Beltagy et al. 2020, section 3.1).

    Each head adds a learned bias to its logits for each distance to the query (Raffel et al. 2020, section 2.1, with
    every distance its own bucket); it starts at zero.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, window))

    def forward(
        self, x: Tensor, old_keys: Tensor, old_values: Tensor, sights: list[tuple[slice, Sight]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``x`` ``[B, T, H]`` with a cache ``[B, W - 1, H]``; returns what was read, new keys and new values."""
        query, keys, values = self.inputs(x).chunk(3, -1)
        old, new = (self._split(old_keys), self._split(old_values)), (self._split(keys), self._split(values))
        query = self._split(query * (query.shape[-1] // self.heads) ** -0.5)
        read = [self._chunk(query[:, :, own], old, new, own, sight) for own, sight in sights]
        together = torch.cat(read, 2).transpose(1, 2).flatten(2)
        return self.output(together), keys, values

    def _chunk(
        self, query: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], own: slice, sight: Sight
    ) -> Tensor:
        """``[B, heads, C, H / heads]`` for a chunk of queries of the same shape."""
        cached = self.window - 1
        keys, values = (
            (*(new_part[:, :, max(sight.first - cached, 0) : own.stop] for new_part in new),)
            if sight.first >= cached
            else (*(torch.cat([o[:, :, sight.first :], n[:, :, : own.stop]], 2) for o, n in zip(old, new)),)
        )
        outside = (sight.offset < 0) | (sight.offset >= self.window)
        bias = self.bias[:, sight.offset.clamp(0, self.window - 1)].masked_fill(outside, -torch.inf)
        logits = query @ keys.mT + bias
        if sight.hidden is not None:
            logits = logits.masked_fill(sight.hidden, -torch.inf)
        return logits.softmax(-1) @ values

    def _split(self, x: Tensor) -> Tensor:
        """``[B, N, H]`` to ``[B, heads, N, H / heads]``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

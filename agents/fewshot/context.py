"""Context of embeddings: the whole support, or learned slots."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from metarl.memory.options import MemoryOptions
from metarl.memory.precision import cast_like, in_own_precision
from metarl.memory.registry import build_memory

Context = Literal["none", "full", "slots"]
STEPS = 5  # how often each query reads the support
SLOTS = 32  # number of learned slots


class NoContext(nn.Module):
    """Leaves embeddings as they are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, support: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, S, E]`` and ``[B, Q, E]`` to the same."""
        return support, queries


class FullContext(nn.Module):
    """Full context embeddings (Vinyals et al. 2016, section 2.1.2 and appendix A).

    A bidirectional LSTM with a shortcut embeds each example of the support in view of the others (eq. 6). A query then
    reads the support by attention :data:`STEPS` times; the output of an LSTM that gets the previous read is the next
    query (eq. 2-5). The support is kept in a memory.

    Args:
        size: width of the embeddings.
        longest: most examples in a support.
    """

    def __init__(self, size: int, longest: int) -> None:
        super().__init__()
        self.size = size
        self.both_ways = nn.LSTM(size, size, batch_first=True, bidirectional=True)
        self.cell = nn.LSTMCell(2 * size, size)
        options = MemoryOptions(access_options={"empty_slot": False})
        self.memory = build_memory(options, size, size, longest, project=False)

    @in_own_precision
    def forward(self, support: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, S, E]`` and ``[B, Q, E]`` to the same; no query sees another."""
        ahead, back = self.both_ways(support)[0].chunk(2, -1)
        support = support + ahead + back
        state = self.memory.write_all(support, support)
        flat = queries.flatten(0, 1)
        query, read, cell = flat, torch.zeros_like(flat), torch.zeros_like(flat)
        for _ in range(STEPS):
            hidden, cell = self.cell(torch.cat([flat, read], -1), (query, cell))
            query = flat + hidden
            read = self.memory.read(state, query.view_as(queries))[0].flatten(0, 1)
        return support, query.view_as(queries)


class SlotContext(nn.Module):
    """Features concatenated with what learned slots return for them: a key-value memory (Miller et al. 2016).

    The slots are parameters, the same in every episode.

    Args:
        size: width of the embeddings.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = 2 * size
        slots = {"learned": SLOTS, "learned_only": True}
        options = MemoryOptions(store="key_value", store_options=slots, access_options={"empty_slot": False})
        self.memory = build_memory(options, size, size, None, project=False)

    def forward(self, support: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, S, E]`` and ``[B, Q, E]`` to ``[..., 2 E]``."""
        return self._beside(support), self._beside(queries)

    def _beside(self, x: Tensor) -> Tensor:
        state = cast_like(next(self.parameters()), self.memory.initial_state(len(x)))
        return torch.cat([x, self.memory.read(state, x)[0]], -1)


def make_context(kind: Context, size: int, longest: int) -> NoContext | FullContext | SlotContext:
    """The module of a kind of context.

    Args:
        kind: ``none``, ``full`` or ``slots``.
        size: width of the embeddings.
        longest: most examples in a support.
    """
    if kind == "full":
        return FullContext(size, longest)
    return SlotContext(size) if kind == "slots" else NoContext(size)

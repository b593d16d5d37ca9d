"""The Differentiable Neural Computer's memory: free slots are allocated, and the order of writes is remembered."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from metarl.functional import external as fx
from metarl.memory.ops import in_rows, only_rows
from metarl.memory.stores.external import External, ExternalOptions, Layout, Matrix, Parts


class DNCState(NamedTuple):
    """The memory, which of it is in use, and in which order it was written.

    Usage ``[B, N]`` in [0, 1] is that after the last write and before what its reads free; precedence ``[B, N]`` is how
    much each slot was the one last written; links ``[B, N, N]`` hold at [i, j] how much slot i was written right after
    slot j; ``read_weights`` ``[B, H, N]`` are those of the last read.
    """

    matrix: Matrix
    usage: Tensor
    precedence: Tensor
    links: Tensor
    read_weights: Tensor


class DNC(External):
    """Dynamic allocation, temporal links and read modes (Graves et al. 2016, Methods).

    The write's control is erase vector, strength, allocation gate, write gate and a free gate for each read head; a
    read head's is strength and read mode (backward, content, forward). Gates and erase are sigmoids, strengths
    1 + softplus (at most 51), the mode a softmax.

    Untrained every write goes to the freest slot, nothing is freed, and reads go by content. Where all slots are in
    use and none is freed, allocation finds no room, as published: later words are hardly written.
    """

    ranges: ClassVar = External.ranges | {"strength": lambda x: 1.0 + fx.bounded(x, fx.STRENGTH_LIMIT)}

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: ExternalOptions) -> None:
        word = key_size + value_size
        write = Layout(
            erase=(word, 5.0),
            strength=(1, 10.0),
            allocation_gate=(1, 5.0),
            write_gate=(1, 5.0),
            free_gates=(options.read_heads, -5.0),
        )
        read = Layout(key=(word, 0.0), strength=(1, 10.0), mode=(3, [0.0, 5.0, 0.0]))
        super().__init__(key_size, value_size, options, write, read)

    def initial_state(self, batch_size: int) -> DNCState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        zeros = torch.zeros(batch_size, self.slots)
        links = torch.zeros(batch_size, self.slots, self.slots)
        read = torch.zeros(batch_size, self.heads, self.slots)
        return DNCState(self.empty(batch_size), zeros, zeros.clone(), links, read)

    def _put(self, state: DNCState, head: Parts, rows: Tensor | None, in_place: bool) -> DNCState:
        usage = state.usage * fx.retention(head["free_gates"].mT, state.read_weights)
        found = fx.content_weights(head["key"], state.matrix.words, head["strength"]).squeeze(1)
        wanted = fx.interpolate(fx.allocation(usage), found, head["allocation_gate"].squeeze(1))
        weights = only_rows(rows, head["write_gate"].squeeze(1) * wanted)
        words = fx.erase_and_add(state.matrix.words, weights, head["erase"].squeeze(1), head["word"], in_place)
        return DNCState(
            state.matrix.overwritten(words, weights),
            in_rows(rows, fx.use(usage, weights), state.usage),
            fx.precede(state.precedence, weights),
            fx.link(state.links, state.precedence, weights),
            state.read_weights,
        )

    def _look(self, state: DNCState, head: Parts) -> Tensor:
        found = fx.content_weights(head["key"], state.matrix.words, head["strength"])
        later, earlier = fx.follow(state.links, state.read_weights)
        queries = head["key"].shape[1] // self.heads
        backward, content, forward = head["mode"].split(1, -1)
        found = torch.addcmul(content * found, backward, earlier.repeat(1, queries, 1))
        return torch.addcmul(found, forward, later.repeat(1, queries, 1))

"""The Differentiable Neural Computer's memory: free slots are allocated, and the order of writes is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.functional import external as fx
from metarl.memory.stores.external import External, ExternalOptions, Layout, Matrix, Parts, in_rows, only_rows


@dataclass(frozen=True)
class DNCOptions(ExternalOptions):
    """Options of the DNC store."""


class DNCState(NamedTuple):
    """The memory, which of it is in use, and in which order it was written."""

    matrix: Matrix
    usage: Tensor
    """``[B, N]`` in [0, 1], after the last write and before what its reads free."""
    precedence: Tensor
    """``[B, N]`` how much each slot was the one last written."""
    links: Tensor
    """``[B, N, N]``: [i, j] is how much slot i was written right after slot j."""
    read_weights: Tensor
    """``[B, H, N]`` of the last read."""


class DNC(External):
    """Dynamic allocation, temporal links and read modes (Graves et al. 2016, Methods).

    The write's control is erase vector, strength, allocation gate, write gate and a free gate for each read head; a
    read head's is strength and read mode (backward, content, forward). Gates and erase are sigmoids, strengths
    1 + softplus (at most 51), the mode a softmax.

    Untrained every write goes to the freest slot, nothing is freed, and reads go by content. Where all slots are in
    use and none is freed, allocation finds no room, as published: later words are hardly written.
    """

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: DNCOptions) -> None:
        word = key_size + value_size
        write = Layout(erase=word, strength=1, allocation_gate=1, write_gate=1, free_gates=options.read_heads)
        super().__init__(key_size, value_size, options, write, Layout(key=word, strength=1, mode=3))

    def initial_state(self, batch_size: int) -> DNCState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        zeros = torch.zeros(batch_size, self.slots)
        links = torch.zeros(batch_size, self.slots, self.slots)
        read = torch.zeros(batch_size, self.heads, self.slots)
        return DNCState(self.empty(batch_size), zeros, zeros.clone(), links, read)

    def start_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.start_control`."""
        return self.write_layout.start(erase=5.0, strength=10.0, allocation_gate=5.0, write_gate=5.0, free_gates=-5.0)

    def start_read_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.start_read_control`."""
        return self.read_layout.start(strength=10.0, mode=[0.0, 5.0, 0.0]).repeat(self.heads)

    def _squash(self, parts: Parts) -> Parts:
        squashed = {
            name: torch.sigmoid(part) for name, part in parts.items() if name not in ("key", "strength", "mode")
        }
        squashed["strength"] = 1.0 + fx.bounded(parts["strength"], fx.STRENGTH_LIMIT)
        if "mode" in parts:
            squashed["mode"], squashed["key"] = torch.softmax(parts["mode"], -1), parts["key"]
        return squashed

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

    def _after_read(self, state: DNCState, weights: Tensor) -> DNCState:
        return state._replace(read_weights=weights)

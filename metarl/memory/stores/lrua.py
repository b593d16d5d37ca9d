"""Least-recently-used access: a write goes to the slot that is used least, or to where the last read was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from metarl.functional import external as fx
from metarl.memory.ops import in_rows, only_rows
from metarl.memory.stores.external import External, ExternalOptions, Layout, Matrix, Parts


@dataclass(frozen=True)
class LRUAOptions(ExternalOptions):
    """Options of the LRUA store.

    Args:
        decay: gamma: how much of each slot's usage is left after one more write.
    """

    decay: Annotated[float, Ge(0), Lt(1)] = 0.95


class LRUAState(NamedTuple):
    """The memory and how it was used.

    Usage ``[B, N]`` is the decayed sum of read and write weights, without gradient; ``read_weights`` ``[B, H, N]`` are
    those of the last read.
    """

    matrix: Matrix
    usage: Tensor
    read_weights: Tensor


class LRUA(External):
    """Least-recently-used access (Santoro et al. 2016, eq. 1-8).

    The slot of least usage is emptied and the word written to it with weight 1 - sigmoid(alpha), and to what was read
    last (the mean over heads) with sigmoid(alpha), the write's control. A read head's control is a strength (softplus,
    at most 50), which the paper's reads don't have: its cosine is too flat to find one of many slots.

    Usage decays with each write, and the weights of all reads since then are added. Which slot is least used has no
    gradient. Untrained it writes to the least used slot alone.
    """

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: LRUAOptions) -> None:
        read = Layout(key=(key_size + value_size, 0.0), strength=(1, 10.0))
        super().__init__(key_size, value_size, options, Layout(alpha=(1, -5.0)), read)
        self.decay = options.decay

    def initial_state(self, batch_size: int) -> LRUAState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        used, read = torch.zeros(batch_size, self.slots), torch.zeros(batch_size, self.heads, self.slots)
        return LRUAState(self.empty(batch_size), used, read)

    def _put(self, state: LRUAState, head: Parts, rows: Tensor | None, in_place: bool) -> LRUAState:
        least = fx.least_used(state.usage)
        weights = fx.interpolate(state.read_weights.mean(1), least, head["alpha"].squeeze(1))
        least, weights = only_rows(rows, least), only_rows(rows, weights)
        words = fx.clear_and_add(state.matrix.words, least, weights, head["word"], in_place)
        usage = in_rows(rows, self.decay * state.usage + weights.detach(), state.usage)
        return state._replace(matrix=state.matrix.overwritten(words, weights), usage=usage)

    def _look(self, state: LRUAState, head: Parts) -> Tensor:
        return fx.content_weights(head["key"], state.matrix.words, head["strength"])

    def _after_read(self, state: LRUAState, weights: Tensor) -> LRUAState:
        return state._replace(usage=state.usage + weights.detach().sum(1), read_weights=weights)

"""The Neural Turing Machine's memory: heads that find slots by content and move from slot to slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor

from metarl.functional import external as fx
from metarl.memory.ops import in_rows, only_rows
from metarl.memory.stores.external import External, ExternalOptions, Layout, Matrix, Parts


@dataclass(frozen=True)
class NTMOptions(ExternalOptions):
    """Options of the NTM store.

    Args:
        shifts: how far a head may move in one step, back and forth.
    """

    shifts: Annotated[int, Ge(1)] = 1


class NTMState(NamedTuple):
    """The memory, and where its heads stand: the weights of the last write ``[B, N]`` and read ``[B, H, N]``."""

    matrix: Matrix
    write_weights: Tensor
    read_weights: Tensor


class NTM(External):
    """Content and location addressing with erase and add (Graves et al. 2014, eq. 1-9).

    A head's control is strength (softplus, at most 50), interpolation gate (sigmoid), shift (softmax over -S to S),
    sharpness (1 + softplus, at most 21); the write head's has an erase vector (sigmoid), too. Strengths and sharpness
    level off, so that nothing overflows; published ones don't.

    Untrained it is a tape: each write moves one slot on, begins at slot 0 and replaces what it finds, and wraps; reads
    go by content. All heads start on the last slot.
    """

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: NTMOptions) -> None:
        def head(gate: float, moves: int, sharpness: float) -> dict[str, Any]:
            shift = [6.0 if by == moves else 0.0 for by in range(-options.shifts, options.shifts + 1)]
            return {"strength": (1, 10.0), "gate": (1, gate), "shift": (len(shift), shift), "sharpness": (1, sharpness)}

        word = key_size + value_size
        write = Layout(erase=(word, 5.0), **head(gate=-5.0, moves=1, sharpness=5.0))
        read = Layout(key=(word, 0.0), **head(gate=5.0, moves=0, sharpness=-5.0))
        super().__init__(key_size, value_size, options, write, read)

    def initial_state(self, batch_size: int) -> NTMState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        write, read = torch.zeros(batch_size, self.slots), torch.zeros(batch_size, self.heads, self.slots)
        return NTMState(self.empty(batch_size), self._start(write), self._start(read))

    def reset(self, state: NTMState, rows: Tensor, donate: bool = False) -> NTMState:
        """See :meth:`metarl.memory.contract.Store.reset`."""
        write, read = (in_rows(rows, self._start(at), at) for at in (state.write_weights, state.read_weights))
        return super().reset(state, rows, donate)._replace(write_weights=write, read_weights=read)

    def _put(self, state: NTMState, head: Parts, rows: Tensor | None, in_place: bool) -> NTMState:
        found = self._address(state.matrix, head, state.write_weights[:, None]).squeeze(1)
        weights = only_rows(rows, found)
        words = fx.erase_and_add(state.matrix.words, weights, head["erase"].squeeze(1), head["word"], in_place)
        found = in_rows(rows, found, state.write_weights)
        return state._replace(matrix=state.matrix.overwritten(words, weights), write_weights=found)

    def _look(self, state: NTMState, head: Parts) -> Tensor:
        queries = head["key"].shape[1] // self.heads
        return self._address(state.matrix, head, state.read_weights.repeat(1, queries, 1))

    @staticmethod
    def _address(matrix: Matrix, head: Parts, previous: Tensor) -> Tensor:
        """Weights ``[B, H, N]`` from those of the step before."""
        found = fx.content_weights(head["key"], matrix.words, head["strength"])
        gated = fx.interpolate(found, previous, head["gate"])
        return fx.sharpen(fx.shift(gated, head["shift"]), head["sharpness"])

    @staticmethod
    def _start(weights: Tensor) -> Tensor:
        """Weights ``[..., N]`` of heads that stand on the last slot."""
        start = torch.zeros_like(weights)
        start[..., -1] = 1.0
        return start

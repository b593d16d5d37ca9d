"""The Neural Turing Machine's memory: heads that find slots by content and move from slot to slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor

from metarl.functional import external as fx
from metarl.memory.stores.external import External, ExternalOptions, Layout, Matrix, Parts, in_rows, only_rows


@dataclass(frozen=True)
class NTMOptions(ExternalOptions):
    """Options of the NTM store."""

    shifts: Annotated[int, Ge(1)] = 1
    """How far a head may move in one step, back and forth."""


class NTMState(NamedTuple):
    """The memory and where its heads stand."""

    matrix: Matrix
    write_weights: Tensor
    """``[B, N]`` of the last write."""
    read_weights: Tensor
    """``[B, H, N]`` of the last read."""


class NTM(External):
    """Content and location addressing with erase and add (Graves et al. 2014, eq. 1-9).

    A head's control is strength (softplus, at most 50), interpolation gate (sigmoid), shift (softmax over -S to S),
    sharpness (1 + softplus, at most 21); the write head's has an erase vector (sigmoid), too. Strengths and sharpness
    level off, so that nothing overflows; published ones don't.

    Untrained it is a tape: each write moves one slot on, begins at slot 0 and replaces what it finds, and wraps; reads
    go by content. All heads start on the last slot.
    """

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: NTMOptions) -> None:
        head = {"strength": 1, "gate": 1, "shift": 2 * options.shifts + 1, "sharpness": 1}
        word = key_size + value_size
        super().__init__(key_size, value_size, options, Layout(erase=word, **head), Layout(key=word, **head))
        self.shifts = options.shifts

    def initial_state(self, batch_size: int) -> NTMState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        write, read = torch.zeros(batch_size, self.slots), torch.zeros(batch_size, self.heads, self.slots)
        return NTMState(self.empty(batch_size), self._start(write), self._start(read))

    def reset(self, state: NTMState, rows: Tensor, donate: bool = False) -> NTMState:
        """See :meth:`metarl.memory.contract.Store.reset`."""
        write, read = self._start(state.write_weights), self._start(state.read_weights)
        write, read = in_rows(rows, write, state.write_weights), in_rows(rows, read, state.read_weights)
        return super().reset(state, rows, donate)._replace(write_weights=write, read_weights=read)

    def start_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.start_control`."""
        return self.write_layout.start(erase=5.0, strength=10.0, gate=-5.0, shift=self._towards(1), sharpness=5.0)

    def start_read_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.start_read_control`."""
        head = self.read_layout.start(strength=10.0, gate=5.0, shift=self._towards(0), sharpness=-5.0)
        return head.repeat(self.heads)

    def _squash(self, parts: Parts) -> Parts:
        squashed = dict(parts)
        squashed["strength"] = fx.bounded(parts["strength"], fx.STRENGTH_LIMIT)
        squashed["gate"] = torch.sigmoid(parts["gate"])
        squashed["shift"] = torch.softmax(parts["shift"], -1)
        squashed["sharpness"] = 1.0 + fx.bounded(parts["sharpness"], fx.SHARPNESS_LIMIT)
        if "erase" in parts:
            squashed["erase"] = torch.sigmoid(parts["erase"])
        return squashed

    def _put(self, state: NTMState, head: Parts, rows: Tensor | None, in_place: bool) -> NTMState:
        found = self._address(state.matrix, head, state.write_weights[:, None]).squeeze(1)
        weights = only_rows(rows, found)
        erase = head["erase"].squeeze(1)
        words = fx.erase_and_add(state.matrix.words, weights, erase, head["word"], in_place)
        return state._replace(
            matrix=state.matrix.overwritten(words, weights), write_weights=in_rows(rows, found, state.write_weights)
        )

    def _look(self, state: NTMState, head: Parts) -> Tensor:
        queries = head["key"].shape[1] // self.heads
        return self._address(state.matrix, head, state.read_weights.repeat(1, queries, 1))

    def _after_read(self, state: NTMState, weights: Tensor) -> NTMState:
        return state._replace(read_weights=weights)

    @staticmethod
    def _address(matrix: Matrix, head: Parts, previous: Tensor) -> Tensor:
        """Weights ``[B, H, N]`` from those of the step before."""
        found = fx.content_weights(head["key"], matrix.words, head["strength"])
        gated = fx.interpolate(found, previous, head["gate"])
        return fx.sharpen(fx.shift(gated, head["shift"]), head["sharpness"])

    def _towards(self, by: int) -> list[float]:
        return [6.0 if shift == by else 0.0 for shift in range(-self.shifts, self.shifts + 1)]

    @staticmethod
    def _start(weights: Tensor) -> Tensor:
        """Weights ``[..., N]`` of heads that stand on the last slot."""
        start = torch.zeros_like(weights)
        start[..., -1] = 1.0
        return start

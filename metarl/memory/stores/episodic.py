"""The episodic buffer: slots that are written once and read until they are replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor

from metarl.memory.contract import Content, Store
from metarl.types import Read

USAGE_DECAY = 0.95
"""gamma of the usage weights (Santoro et al. 2016, eq. 5)."""


@dataclass(frozen=True)
class EpisodicOptions:
    """Options of the episodic store."""

    capacity: Annotated[int, Ge(1)] | None = None
    """Slots; None has room for a whole trial."""
    write: Literal["step", "episode"] = "step"
    """When a slot is written: with every completed transition, or with the last one of each episode."""
    holds: Literal["transition", "state"] = "transition"
    """What a slot's value is: an embedding of the transition, or the controller's cell state after it."""
    replace: Literal["oldest", "least_used"] = "oldest"
    """Which slot gives way when the store is full."""
    detach: bool = False
    """Write without gradient: learning then shapes how the store is read, not what is written."""


class EpisodicState(NamedTuple):
    """Slots of every row; those not yet written hold what was there before and are not valid."""

    keys: Tensor
    """``[B, N, K]``"""
    values: Tensor
    """``[B, N, V]``"""
    writes: Tensor
    """``[B]`` writes since the trial began."""
    usage: Tensor
    """``[B, N]`` how much each slot was read of late; ``[B, 0]`` where the oldest slot is replaced."""


class Episodic(Store):
    """A buffer of ``capacity`` slots per row, each written at once as a whole."""

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: EpisodicOptions) -> None:
        super().__init__()
        capacity = options.capacity or trial_steps
        if capacity is None:
            raise ValueError("memory.store_options.capacity must be given where the length of a trial is not known")
        self.key_size, self.value_size, self.capacity, self.options = key_size, value_size, capacity, options

    @property
    def parallel(self) -> bool:
        """Whether what is visible at each step of an unroll is known without stepping through it."""
        return self.options.replace == "oldest" and self.options.holds == "transition"

    def initial_state(self, batch_size: int) -> EpisodicState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        used = self.capacity if self.options.replace == "least_used" else 0
        return EpisodicState(
            torch.zeros(batch_size, self.capacity, self.key_size),
            torch.zeros(batch_size, self.capacity, self.value_size),
            torch.zeros(batch_size, dtype=torch.long),
            torch.zeros(batch_size, used),
        )

    def reset(self, state: EpisodicState, rows: Tensor, donate: bool = False) -> EpisodicState:
        """Forget the rows; their old slots are no longer valid, so nothing need be erased."""
        usage = state.usage.masked_fill(rows[:, None], 0.0) if state.usage.shape[1] else state.usage
        return state._replace(writes=state.writes.masked_fill(rows, 0), usage=usage)

    def write(
        self,
        state: EpisodicState,
        key: Tensor,
        value: Tensor,
        control: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        donate: bool = False,
    ) -> EpisodicState:
        """See :meth:`metarl.memory.contract.Store.write`."""
        if self.options.detach:
            key, value = key.detach(), value.detach()
        batch = torch.arange(key.shape[0], device=key.device)
        if rows is not None:
            batch, key, value = batch[rows], key[rows], value[rows]
        slot = self._slot_to_write(state)[batch]
        put = Tensor.index_put_ if donate else Tensor.index_put
        writes = state.writes + (1 if rows is None else rows.long())
        usage = state.usage
        if self.options.replace == "least_used":
            usage = usage.index_put((batch, slot), usage.new_ones(()))
        return EpisodicState(
            put(state.keys, (batch, slot), key), put(state.values, (batch, slot), value), writes, usage
        )

    def _slot_to_write(self, state: EpisodicState) -> Tensor:
        if self.options.replace == "oldest":
            return state.writes % self.capacity
        return torch.where(state.writes < self.capacity, state.writes, state.usage.argmin(1))

    def content(self, state: EpisodicState) -> Content:
        """The written slots, as few as hold those of the fullest row."""
        used = min(int(state.writes.max()), self.capacity) if state.writes.numel() else 0
        valid = torch.arange(used, device=state.writes.device) < state.writes[:, None]
        return Content(state.keys[:, :used], state.values[:, :used], valid)

    def note_read(self, state: EpisodicState, read: Read) -> EpisodicState:
        """Usage u_t = gamma u_{t-1} + w_r (Santoro et al. 2016, eq. 5); a write adds its own one."""
        if self.options.replace == "oldest":
            return state
        if read.log_weights is None:
            raise ValueError("replace = 'least_used' needs an access that returns its weights")
        weights = read.log_weights.detach().exp().sum(1)
        grown = torch.nn.functional.pad(weights, (0, self.capacity - weights.shape[1]))
        return state._replace(usage=USAGE_DECAY * state.usage + grown)

    def filled(self, state: EpisodicState, keys: Tensor, values: Tensor) -> EpisodicState:
        """The state after a trial that began afresh and wrote ``keys`` ``[B, N, K]`` and ``values``, N <= capacity."""
        if self.options.detach:
            keys, values = keys.detach(), values.detach()
        count = keys.shape[1]
        return state._replace(
            keys=torch.cat([keys, state.keys[:, count:]], 1),
            values=torch.cat([values, state.values[:, count:]], 1),
            writes=torch.full_like(state.writes, count),
        )

    def append(self, state: EpisodicState, keys: Tensor, values: Tensor, rank: Tensor, start: Tensor) -> EpisodicState:
        """The state after a whole unroll, equal to writing slot by slot.

        Args:
            state: before the unroll.
            keys: ``[B, N, K]`` new slots in the order of writing.
            values: ``[B, N, V]``
            rank: ``[B, N]`` how many slots of the current trial the row has written with this one, counted from the
                trial's beginning; 0 where it wrote none or where the slot belongs to a trial that has ended.
            start: ``[B]`` writes that still counted when the unroll began (0 where a trial began within it).
        """
        if self.options.detach:
            keys, values = keys.detach(), values.detach()
        writes = torch.maximum(rank.amax(1), start) if rank.shape[1] else start
        kept = (rank > 0) & (rank > writes[:, None] - self.capacity)
        batch, slot = kept.nonzero(as_tuple=True)
        place = (rank[batch, slot] - 1) % self.capacity
        return state._replace(
            keys=state.keys.index_put((batch, place), keys[batch, slot]),
            values=state.values.index_put((batch, place), values[batch, slot]),
            writes=writes,
        )

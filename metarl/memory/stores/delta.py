"""Fast weights: a matrix per head that is written by the gated delta rule, or added to, and read by a product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import logsigmoid

from metarl.functional.delta import LOG_NOTHING, delta_step, delta_unroll
from metarl.functional.kernels import unit
from metarl.memory.contract import Access, MemoryOps, Store, Write
from metarl.memory.options import check_heads
from metarl.types import Read

START_STRENGTH = 3.0  # b = sigmoid(3) = 0.95: what is held for a key gives way to the new value
START_KEEP = 7.0  # a = sigmoid(7) = 0.999: little is forgotten
LEAST_LOG_DECAY = -30.0  # a is at least exp(-30), which is nothing to a float


@dataclass(frozen=True)
class DeltaRuleOptions:
    """Options of the delta-rule store.

    Args:
        heads: matrices; keys, queries and values are split among them.
        rule: whether a value replaces what is held for its key (delta) or is added to it (sum), so that what is read
            also grows with how often something was written.
    """

    heads: Annotated[int, Ge(1)] = 1
    rule: Literal["delta", "sum"] = "delta"


class DeltaRuleState(NamedTuple):
    """The fast weights of every row ``[B, heads, K / heads, V / heads]``, whose dtype writes are computed in."""

    memory: Tensor


class DeltaRule(Store):
    """Gated DeltaNet's memory (Yang et al. 2025, eq. 10), which is parallel over time: ``metarl.functional.delta``.

    The controls of a write are, per head, its strength b = sigmoid(control) and the share a = sigmoid(control) of the
    memory that outlasts it. Keys and queries are brought to unit length, head by head. With the rule "sum" it is gated
    linear attention (Yang et al. 2024).

    Raises:
        ConfigError: sizes of keys or values that the heads don't divide.
    """

    parallel = True

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: DeltaRuleOptions) -> None:
        super().__init__()
        check_heads(options.heads, key_size=key_size, value_size=value_size)
        self.key_size, self.value_size, self.read_size = key_size, value_size, value_size
        self.options, self.key_heads = options, options.heads
        self.control_size = 2 * options.heads

    def initial_state(self, batch_size: int) -> DeltaRuleState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        key, value = self.key_size // self.key_heads, self.value_size // self.key_heads
        return DeltaRuleState(torch.zeros(batch_size, self.key_heads, key, value))

    def write(self, state: DeltaRuleState, item: Write, donate: bool = False) -> DeltaRuleState:
        """See :meth:`metarl.memory.contract.Store.write`."""
        memory = state.memory.flatten(0, 1)
        key, value = unit(self._split(item.key, memory.dtype)), self._split(item.value, memory.dtype)
        strength, log_decay = self._gates(item, memory.dtype)
        donate = donate and not torch.is_grad_enabled()  # autograd may need the memory as it was
        memory = delta_step(memory, key, value, strength, log_decay.exp(), donate, add=self.options.rule == "sum")
        return DeltaRuleState(memory.view_as(state.memory))

    def read(self, state: DeltaRuleState, query: Tensor, control: Tensor | None = None) -> tuple[Read, DeltaRuleState]:
        """See :meth:`metarl.memory.contract.Store.read`: W^T q of every head, side by side."""
        queries = unit(query.to(state.memory.dtype).unflatten(-1, (self.key_heads, -1))).transpose(1, 2)
        value = (queries @ state.memory).transpose(1, 2).flatten(2)
        return Read(value.to(query.dtype), None), state

    def unroll(self, state: DeltaRuleState, ops: MemoryOps, access: Access | None) -> tuple[Tensor, DeltaRuleState]:
        """See :meth:`metarl.memory.contract.Store.unroll`."""
        items = Write(ops.key, ops.value, ops.write_control, ops.write_mask)
        return self._solve(state, ops.query, items, ops.reset)

    def write_all(self, state: DeltaRuleState, items: Write) -> DeltaRuleState:
        """See :meth:`metarl.memory.contract.Store.write_all`."""
        return self._solve(state, items.key[:, :, None], items)[1]

    def _solve(
        self, state: DeltaRuleState, query: Tensor, items: Write, reset: Tensor | None = None
    ) -> tuple[Tensor, DeltaRuleState]:
        """Reads ``[T, B, Q, V]`` after each write of a stream ``[T, B, ...]``, and the last state."""
        given = query.dtype
        dtype = torch.promote_types(state.memory.dtype, torch.float32)  # the solver knows nothing shorter
        query = self._split(query.transpose(1, 2), dtype).transpose(1, 2)  # [T, B * heads, Q, K / heads]
        key, value = (self._split(x, dtype) for x in (items.key, items.value))
        strength, log_decay = self._gates(items, dtype)
        if reset is not None:
            log_decay = log_decay.masked_fill(reset.repeat_interleave(self.key_heads, 1), LOG_NOTHING)
        query, key, value, strength, log_decay = (
            x.transpose(0, 1) for x in (unit(query), unit(key), value, strength, log_decay)
        )
        memory = state.memory.flatten(0, 1).to(dtype)
        added = self.options.rule == "sum"
        reads, memory = delta_unroll(memory, query, key, value, strength, log_decay, add=added)
        reads = reads.transpose(0, 1).unflatten(1, (-1, self.key_heads)).transpose(2, 3).flatten(3).to(given)
        return reads, DeltaRuleState(memory.view_as(state.memory).to(state.memory.dtype))

    def start_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.start_control`: what a key held is replaced, little forgotten."""
        return torch.tensor([START_STRENGTH] * self.key_heads + [START_KEEP] * self.key_heads)

    def _split(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """``[..., B, D]`` as ``[..., B * heads, D / heads]``."""
        return x.to(dtype).unflatten(-1, (self.key_heads, -1)).flatten(-3, -2)

    def _gates(self, item: Write, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Strength b and log a, ``[..., B * heads]``, of a control ``[..., B, 2 * heads]``; 0 in the other rows."""
        if item.control is None:
            raise TypeError(f"a write by the delta rule needs a control [B, {self.control_size}]; got None")
        strength, keep = (x.flatten(-2) for x in item.control.to(dtype).chunk(2, -1))
        strength, log_decay = strength.sigmoid(), logsigmoid(keep).clamp_min(LEAST_LOG_DECAY)
        if item.rows is None:
            return strength, log_decay
        others = ~item.rows.repeat_interleave(self.key_heads, -1)
        return strength.masked_fill(others, 0.0), log_decay.masked_fill(others, 0.0)

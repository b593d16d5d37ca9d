"""A memory for life: what training has shown stays, and every trial begins with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from metarl import tree
from metarl.functional.kernels import unit
from metarl.memory.contract import Content, Store, Write
from metarl.memory.ops import in_rows


@dataclass(frozen=True)
class LifelongOptions:
    """Options of the life-long store.

    Args:
        slots: slots, the same ones for all rows and trials.
        hit: a write whose key and value both have at least this cosine with a slot's is a hit.
    """

    slots: Annotated[int, Ge(1)] = 128
    hit: Annotated[float, Gt(0), Le(1)] = 0.9


class LifelongState(NamedTuple):
    """What a row knows: what was kept for life when its trial began, and what it has written since.

    Keys ``[B, N, K]``, values ``[B, N, V]``, and the age ``[B, N]`` of each slot: the writes since it was written or
    hit, -1 where it never was.
    """

    keys: Tensor
    values: Tensor
    age: Tensor


class Lifelong(Store):
    """A key-value memory that averages on a hit and replaces the oldest slot on a miss (Kaiser et al. 2017, sec. 2).

    What is kept for life are buffers ``[N, ...]`` shared by all rows. A trial begins with a copy of them and writes
    into its own, so that rows don't see each other and an unroll equals stepping; :meth:`consolidate` takes what a
    batch has shown into the buffers, after learning from it. All is written without gradient. A hit needs the values
    to agree, which are labels in the source, and goes to the first such slot: of equal keys none is the nearest. The
    source's random noise on ages is left out.
    """

    keys: Tensor
    values: Tensor
    age: Tensor

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: LifelongOptions) -> None:
        super().__init__()
        self.key_size, self.value_size, self.options = key_size, value_size, options
        self.register_buffer("keys", torch.zeros(options.slots, key_size))
        self.register_buffer("values", torch.zeros(options.slots, value_size))
        self.register_buffer("age", torch.full((options.slots,), -1))

    def initial_state(self, batch_size: int) -> LifelongState:
        """See :meth:`metarl.memory.contract.Store.initial_state`; what is kept for life, for each row."""
        return tree.map_tensors(
            lambda leaf: leaf.expand(batch_size, *leaf.shape).clone(), LifelongState(self.keys, self.values, self.age)
        )

    def reset(self, state: LifelongState, rows: Tensor, donate: bool = False) -> LifelongState:
        """See :meth:`metarl.memory.contract.Store.reset`: what is kept for life stays."""
        return tree.where(rows, self.initial_state(len(rows)), state)

    def write(self, state: LifelongState, item: Write, donate: bool = False) -> LifelongState:
        """See :meth:`metarl.memory.contract.Store.write`."""
        key, value = item.key.detach(), item.value.detach()
        batch = torch.arange(len(key), device=key.device)
        slot, hit = self._hit(state.keys, state.values, state.age, key, value)
        fresh = torch.where(state.age < 0, torch.iinfo(state.age.dtype).max, state.age).argmax(1)
        slot = torch.where(hit, slot, fresh)
        old_key, old_value = state.keys[batch, slot], state.values[batch, slot]
        key = torch.where(hit[:, None], (old_key + key) / 2, key)
        value = torch.where(hit[:, None], (old_value + value) / 2, value)
        age = torch.where(state.age < 0, state.age, state.age + 1).index_put((batch, slot), state.age.new_zeros(()))
        keys, values = state.keys.index_put((batch, slot), key), state.values.index_put((batch, slot), value)
        return in_rows(item.rows, LifelongState(keys, values, age), state)

    def content(self, state: LifelongState) -> Content:
        """See :meth:`metarl.memory.contract.Store.content`."""
        return Content(state.keys, state.values, state.age >= 0)

    @torch.no_grad()
    def consolidate(self, key: Tensor, value: Tensor) -> None:
        """Keep ``key`` ``[M, K]`` and ``value`` ``[M, V]`` for life, all at once.

        Hits of one slot are averaged into it together; misses take the slots that were never written, then the oldest,
        one each; of more misses than slots the last are kept.
        """
        if not len(key):
            return
        keys, values, age = (leaf.expand(len(key), *leaf.shape) for leaf in (self.keys, self.values, self.age))
        slot, hit = self._hit(keys, values, age, key, value)
        self.age += (self.age >= 0).to(self.age.dtype)
        times = 1 + torch.bincount(slot[hit], minlength=len(self.age))[:, None]
        for buffer, new in ((self.keys, key), (self.values, value)):
            buffer.copy_(buffer.index_add(0, slot[hit], new[hit]) / times)
        self.age[slot[hit]] = 0
        missed = (~hit).nonzero().flatten()[-len(self.age) :]
        rank = torch.where(self.age < 0, torch.iinfo(self.age.dtype).max, self.age)
        taken = rank.argsort(descending=True, stable=True)[: len(missed)]
        self.keys[taken], self.values[taken], self.age[taken] = key[missed], value[missed], 0

    def _hit(self, keys: Tensor, values: Tensor, age: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The first slot ``[B]`` that agrees with key and value, and whether there is one."""
        found = (age >= 0) & _alike(keys, key, self.options.hit) & _alike(values, value, self.options.hit)
        return found.to(torch.uint8).argmax(1), found.any(1)


def _alike(held: Tensor, new: Tensor, least: float) -> Tensor:
    """``[B, N]`` bool: whether slots ``[B, N, D]`` have at least this cosine with ``[B, D]``."""
    return (unit(held) @ unit(new)[..., None])[..., 0] >= least

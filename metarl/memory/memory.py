"""The memory: a store with its access and the maps that lead into them. Writing and reading are separate.

Over a stream it is written with completed transitions and read at every step; in few-shot learning the support is
written and the queries are read side by side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metarl.functional.branches import in_graph
from metarl.memory.access.own_slots import OwnSlots
from metarl.memory.actions import ActionKey, FiledKey
from metarl.memory.boundaries import check_batch
from metarl.memory.contract import Access, Content, MemoryOps, Query, State, Store, Write, read_once
from metarl.memory.ops import only_rows, with_learned
from metarl.memory.precision import cast_like, in_own_precision
from metarl.types import Read

CONTROL_SPREAD = 0.1  # standard deviation of the controls of an untrained memory, in parts of a unit per unit of input


class Memory(nn.Module):
    """A store, an access (None: the store's own), and maps from addresses and contents to keys, values and controls.

    Args:
        store: where it is kept.
        access: how it is read; None is the store's native way.
        address_size: width of what keys and queries are made from.
        content_size: width of what values are made from; None where contents are values already.
        shared_key: one map makes keys and queries.
        actions: the last that many numbers of an address say which action it is about.
        project: False where addresses are keys and queries already.
    """

    def __init__(
        self,
        store: Store,
        access: Access | None,
        address_size: int,
        content_size: int | None,
        shared_key: bool = True,
        *,
        project: bool = True,
        actions: int = 0,
    ) -> None:
        super().__init__()
        self.store, self.access = store, access
        heads = store.key_heads if access is None else access.key_heads

        def address_map() -> nn.Module:
            if isinstance(access, OwnSlots):
                return FiledKey(address_size - actions, actions, store.key_size - actions)
            if actions:
                return ActionKey(address_size - actions, actions, store.key_size, heads)
            return nn.Linear(address_size, store.key_size)

        self.key: nn.Module = address_map() if project else nn.Identity()
        self.query = address_map() if project and not shared_key else None
        self.leads, self.after = 0 if access is None else access.leads, address_size - actions
        width = store.value_size - self.leads
        self.value = None if content_size is None else nn.Linear(content_size, width)
        if access is not None and self.leads:
            access.follow_by(self._query_map.action)
        write_size = address_size + (store.value_size if content_size is None else content_size)
        self.write_control = _control(write_size, store.start_control())
        start = store.start_read_control() if access is None else access.start_control()
        self.control_inputs = self.after if isinstance(access, OwnSlots) else address_size
        self.read_control = _control(self.control_inputs, start)
        self.read_size = store.read_size if access is None else width
        self.reads_disabled = False
        """Whether every read is the empty read: the control without recall."""

    def extra_repr(self) -> str:
        """Its widths."""
        return f"key_size={self.store.key_size}, value_size={self.store.value_size}, read_size={self.read_size}"

    def initial_state(self, batch_size: int) -> State:
        """The memory before a first trial; every leaf is ``[batch_size, ...]``."""
        return self.store.initial_state(batch_size)

    @in_own_precision
    def write(
        self, state: State, address: Tensor, content: Tensor, *, rows: Tensor | None = None, donate: bool = False
    ) -> State:
        """Write once per row.

        Args:
            state: before the write.
            address: ``[B, A]``
            content: ``[B, C]``
            rows: ``[B]`` bool: the rows that are written; None: all.
            donate: the buffers of ``state`` may be reused.

        Raises:
            ValueError: batch sizes of state and address that differ.
        """
        check_batch(state, address.shape[0], "the write")
        address, content = only_rows(rows, address), only_rows(rows, content)
        control = self._controls(self.write_control, address, content)
        return self.store.write(state, Write(self._key(address), self._value(content), control, rows), donate)

    @in_own_precision
    def write_all(self, address: Tensor, content: Tensor, mask: Tensor | None = None) -> State:
        """The memory after ``S`` writes, one after another, in the precision of what is written.

        Args:
            address: ``[B, S, A]``; S may be 0.
            content: ``[B, S, C]``
            mask: ``[B, S]`` bool: which of them are written; None: all.

        Raises:
            ValueError: batch sizes or lengths that differ.
        """
        given = [tuple(part.shape[:2]) for part in (address, content, *([] if mask is None else [mask]))]
        if any(axes != given[0] for axes in given[1:]):
            raise ValueError(f"address, content and mask have the leading axes {given}; all need the same [B, S]")
        state = cast_like(address, self.initial_state(len(address)))
        if not address.shape[1]:
            return state
        if mask is not None:
            address, content, mask = only_rows(mask, address), only_rows(mask, content), mask.t()
        address, content = address.transpose(0, 1), content.transpose(0, 1)
        control = self._controls(self.write_control, address, content)
        return self.store.write_all(state, Write(self._key(address), self._value(content), control, mask))

    @in_own_precision
    def read(self, state: State, address: Tensor, query_mask: Tensor | None = None) -> tuple[Tensor, State]:
        """Read once per row.

        Args:
            state: as it is before the read.
            address: ``[B, Q, A]`` of the queries.
            query_mask: ``[B]`` bool: rows whose state may change; None: all.

        Returns:
            What is read ``[B, Q, R]``, and the state after it: with one query (Q = 1) stores that depend on what was
            read take note of it; more queries are read side by side and leave the state as it is.

        Raises:
            ValueError: batch sizes of state and address that differ.
        """
        check_batch(state, address.shape[0], "the query")
        if self.reads_disabled:
            return address.new_zeros(*address.shape[:2], self.read_size), state
        first = address[:1]
        alike = not in_graph() and len(address) > 1 and torch.equal(address, first.expand_as(address))  # in a bandit
        query = self._query(first).expand(len(address), -1, -1) if alike else self._query(address)
        control = self._asked(address)
        return read_once(self.store, self.access, state, query, control, query_mask)

    @in_own_precision
    def recall(self, state: State, address: Tensor) -> tuple[Read, Content]:
        """What is read for ``address`` ``[B, Q, A]`` with the weights of all slots, and the slots themselves.

        Raises:
            ValueError: batch sizes that differ, or a memory read in its store's native way, which has no weights.
        """
        if self.access is None:
            raise ValueError("a native read has no weights over slots; use an access such as attention")
        check_batch(state, address.shape[0], "the query")
        slots = with_learned(self.access.learned(self.store), self.store.content(state))
        query = Query(self._query(address), control=self._asked(address))
        return self.access.weigh(query, slots), slots

    @in_own_precision
    def unroll(
        self,
        state: State,
        address: Tensor,
        content: Tensor,
        query: Tensor,
        *,
        reset: Tensor,
        write_mask: Tensor,
        query_mask: Tensor | None = None,
        chosen: Tensor | None = None,
        last: bool = True,
    ) -> tuple[Tensor, State]:
        """A whole stream, equal to stepping: at each step first reset, then write, then read.

        Args:
            state: before the first step.
            address: ``[T, B, A]`` under which each step writes.
            content: ``[T, B, C]`` what it writes.
            query: the addresses that it reads, ``[T, B, A]``, or ``[T, B, Q, A]`` for several at each step.
            reset: ``[T, B]`` bool: rows that are emptied.
            write_mask: ``[T, B]`` bool: rows that are written.
            query_mask: ``[T, B]`` bool: rows that are read; None: all. What is returned for the others has no meaning.
            chosen: ``[T, B]``: which of ``query`` ``[D, B, Q, A]`` each step reads, where the store knows ``repeats``;
                None: one for each step.
            last: whether the last state is needed; if not, what is returned in its place has no meaning.

        Returns:
            What is read, ``[T, B, R]`` or ``[T, B, Q, R]``, and the last state.
        """
        steps = reset.shape[0]
        at = when = torch.arange(steps, device=reset.device)
        if self.reads_disabled:
            query_mask = torch.zeros_like(reset)
        if self.store.parallel and self.access is not None:  # what is not needed is not computed
            at = write_mask.any(1).nonzero().flatten()
            address, content = _steps(address, at), _steps(content, at)
            if query_mask is not None:
                when = query_mask.any(1).nonzero().flatten()
                query, chosen = (query[when], None) if chosen is None else (query, chosen[when])
        rows = _steps(write_mask, at)
        if not rows.all():
            address, content = only_rows(rows, address), only_rows(rows, content)
        key_query, read_control = self._query(query), self._asked(query)
        if one := query.dim() == 3:
            key_query = key_query[:, :, None]
            read_control = None if read_control is None else read_control[:, :, None]
        key, value = self._key(address), self._value(content)
        control = self._controls(self.write_control, address, content)
        ops = MemoryOps(
            reset, write_mask, query_mask, at, key, value, control, when, key_query, read_control, chosen, last
        )
        reads, state = self.store.unroll(state, ops, self.access)
        if self.reads_disabled:
            reads = torch.zeros_like(reads)
        if len(when) < steps:
            reads = reads.new_zeros(steps, *reads.shape[1:]).index_copy(0, when, reads)
        return (reads[:, :, 0] if one else reads), state

    @torch.no_grad()
    @in_own_precision
    def consolidate(self, address: Tensor, content: Tensor, mask: Tensor) -> None:
        """Keep what a batch of sequences wrote beyond its trial, step by step, if the store is lifelong.

        Args:
            address: ``[T, B, A]``
            content: ``[T, B, C]``
            mask: ``[T, B]`` bool: what was written.
        """
        if not self.store.lifelong:
            return
        for t in range(len(mask)):
            self.store.consolidate(self._key(address[t][mask[t]]), self._value(content[t][mask[t]]))

    def _key(self, address: Tensor) -> Tensor:
        return self._prepare(self.store.transform_key(self.key(address)))

    def _query(self, address: Tensor) -> Tensor:
        return self._prepare(self.store.transform_key(self._query_map(address)))

    @property
    def _query_map(self) -> Any:
        return self.key if self.query is None else self.query

    def _prepare(self, address: Tensor) -> Tensor:
        return address if self.access is None else self.access.prepare(address)

    def _value(self, content: Tensor) -> Tensor:
        value = content if self.value is None else self.value(content)
        if self.leads:  # the last numbers of a content say where it led, and whether that is the same episode
            after, inside = content[..., -self.after - 1 :].split([self.after, 1], -1)
            value = torch.cat([value, self._query_map.observation(after), inside], -1)
        return self.store.transform_value(value)

    def _asked(self, address: Tensor) -> Tensor | None:
        """The controls of reads; with slots of their own they are the same for all actions."""
        return self._controls(self.read_control, address[..., : self.control_inputs])

    @staticmethod
    def _controls(control: nn.Linear | None, *inputs: Tensor) -> Tensor | None:
        return None if control is None else control(torch.cat(inputs, -1))


def _control(inputs: int, start: Tensor) -> nn.Linear | None:
    """A map to controls that begins near ``start``; None where there are none."""
    if not len(start):
        return None
    control = nn.Linear(inputs, len(start))
    nn.init.normal_(control.weight, std=CONTROL_SPREAD / inputs**0.5)
    with torch.no_grad():
        control.bias.copy_(start)
    return control


def _steps(x: Tensor, at: Tensor) -> Tensor:
    """The steps ``at`` of ``x`` ``[T, ...]``; without a copy where they follow one another."""
    if len(at) and int(at[-1] - at[0]) == len(at) - 1:
        return x[int(at[0]) : int(at[-1]) + 1]
    return x[at]

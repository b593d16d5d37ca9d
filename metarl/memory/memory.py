"""The memory: a store with its access and the maps that lead into them. Writing and reading are separate.

Over a stream it is written with completed transitions and read at every step; in few-shot learning the support is
written and the queries are read side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metarl import tree
from metarl.memory.contract import Access, Content, Moves, State, Store
from metarl.memory.slots import Course, read_slots, with_learned
from metarl.memory.stores.episodic import Episodic
from metarl.memory.stores.lifelong import Lifelong
from metarl.types import Read

CONTROL_SPREAD = 0.1
"""Standard deviation of the controls of an untrained memory, in parts of a unit per unit of input."""


class Memory(nn.Module):
    """A store, an access (None: the store's own), and maps from addresses and items to keys, values and controls.

    Args:
        store: where it is kept.
        access: how it is read; None is the store's native way.
        address_size: width of what keys and queries are made from.
        item_size: width of what values are made from; None where items are values already.
        shared_key: one map makes keys and queries.
        bare: addresses are keys and queries already.
    """

    def __init__(
        self,
        store: Store,
        access: Access | None,
        address_size: int,
        item_size: int | None,
        shared_key: bool = True,
        *,
        bare: bool = False,
    ) -> None:
        super().__init__()
        self.store, self.access = store, access
        self.key: nn.Module = nn.Identity() if bare else nn.Linear(address_size, store.key_size)
        self.query = None if shared_key or bare else nn.Linear(address_size, store.key_size)
        self.value = None if item_size is None else nn.Linear(item_size, store.value_size)
        written = address_size + (store.value_size if item_size is None else item_size)
        self.write_control = _control(written, store.start_control())
        asked = store.start_read_control() if access is None else access.start_control()
        self.read_control = _control(address_size, asked)
        self.read_size = store.read_size if access is None else store.value_size
        self.silent = False
        """Whether every read is the empty read: the control without recall."""

    @property
    def parallel(self) -> bool:
        """Whether the reads of a whole sequence are made at once."""
        return self.store.parallel

    def initial_state(self, batch_size: int) -> State:
        """The memory before a first trial; every leaf is ``[batch_size, ...]``."""
        return self.store.initial_state(batch_size)

    def write(
        self, state: State, place: Tensor, item: Tensor, *, rows: Tensor | None = None, donate: bool = False
    ) -> State:
        """Write ``item`` ``[B, I]`` under ``place`` ``[B, A]``, in the rows ``[B]`` (bool; None: all)."""
        control = self._told(self.write_control, place, item)
        key, value = self._key(place), self._value(item)
        return self.store.write(state, key, value, control, rows=rows, donate=donate)

    def written(self, place: Tensor, item: Tensor, rows: Tensor | None = None) -> State:
        """The memory after ``S`` items, one after another, in the precision of what is written.

        Args:
            place: ``[B, S, A]``
            item: ``[B, S, I]``
            rows: ``[B, S]`` bool: which of them are written; None: all.
        """
        state = tree.map_tensors(
            lambda leaf: leaf.to(place if leaf.is_floating_point() else place.device), self.initial_state(len(place))
        )
        place, item = place.transpose(0, 1), item.transpose(0, 1)
        never = torch.zeros(place.shape[:2], dtype=torch.bool, device=place.device)
        which = ~never if rows is None else rows.t()
        if self.parallel:
            return self.unroll(state, Course(never, which, place, item, never, place))[1]
        for t in range(len(place)):
            state = self.write(state, place[t], item[t], rows=None if rows is None else which[t])
        return state

    def read(self, state: State, address: Tensor, reading: Tensor | None = None) -> tuple[Tensor, State]:
        """Ask for ``address`` ``[B, Q, A]``: what is read ``[B, Q, R]``, and the state after it.

        With one query (Q = 1) stores that go by what was read take note of it, in the rows ``reading`` ``[B]`` (bool;
        None: all). More queries than one are asked side by side and leave the state as it is.
        """
        return self._ask(state, self._query(address), self._told(self.read_control, address), reading)

    def recall(self, state: State, address: Tensor) -> tuple[Read, Content]:
        """What is read for ``address`` ``[B, Q, A]`` with the weights of all slots, and the slots themselves.

        Raises:
            ValueError: the memory is read in its store's native way, which has no weights.
        """
        if self.access is None:
            raise ValueError("a native read has no weights over slots; use an access such as attention")
        slots = with_learned(self.store, self.access, self.store.content(state), False)
        return self.access.weigh(self._query(address), slots, None, self._told(self.read_control, address)), slots

    def unroll(self, state: State, course: Course) -> tuple[Tensor, State]:
        """A whole sequence, equal to stepping: what is read ``[T, B, R]``, and the last state.

        What is read is meant only where ``course.reading`` says that it is.
        """
        if isinstance(self.store, Episodic) and self.store.parallel:
            return self._parallel(self.store, state, course)
        moves = Moves(
            course.reset,
            course.written,
            self._key(course.place),
            self._value(course.item),
            self._told(self.write_control, course.place, course.item),
            self._query(course.address),
            self._told(self.read_control, course.address),
        )
        everywhere = (
            course.reading is None or self.store.parallel
        )  # else a read that is not made would change the state
        if self.access is None and not self.silent and everywhere:
            done = self.store.unroll(state, moves)
            if done is not None:
                return done
        return self._stepped(state, moves, course.reading)

    @torch.no_grad()
    def consolidate(self, place: Tensor, item: Tensor, rows: Tensor) -> None:
        """Keep for life what was written in a batch of sequences, step by step: ``[T, B, ...]``, ``rows`` ``[T, B]``.

        Stores of a trial keep nothing.
        """
        if isinstance(self.store, Lifelong):
            for t in range(len(rows)):
                self.store.consolidate(self._key(place[t][rows[t]]), self._value(item[t][rows[t]]))

    def _parallel(self, store: Episodic, state: State, course: Course) -> tuple[Tensor, State]:
        assert self.access is not None  # a buffer has no access of its own
        at = course.written.any(1).nonzero().flatten()
        together = len(at) > 0 and int(at[-1] - at[0]) == len(at) - 1
        steps = slice(int(at[0]), int(at[-1]) + 1) if together else at  # a slice copies nothing
        keys, values = self._key(course.place[steps]), self._value(course.item[steps])
        asked = None if course.reading is None else course.reading.any(1).nonzero().flatten()
        address = course.address if asked is None else course.address[asked]
        query, control = self._query(address), self._told(self.read_control, address)
        reads, state = read_slots(store, self.access, state, course, (at, keys, values), (asked, query, control))
        if self.silent:
            reads = torch.zeros_like(reads)
        if asked is not None:
            reads = reads.new_zeros(len(course.reset), *reads.shape[1:]).index_copy(0, asked, reads)
        return reads, state

    def _stepped(self, state: State, moves: Moves, reading: Tensor | None) -> tuple[Tensor, State]:
        resets, writes = moves.reset.any(1).tolist(), moves.written.any(1).tolist()
        every = moves.written.all(1).tolist()
        # Parted once: the gradient of x[t] would fill all of x at every step.
        keys, values, queries = (part.unbind(0) for part in (moves.key, moves.value, moves.query[:, :, None]))
        nothing = [None] * len(resets)
        told = nothing if moves.write_control is None else moves.write_control.unbind(0)
        asked = nothing if moves.read_control is None else moves.read_control[:, :, None].unbind(0)
        reads = []
        for t in range(len(resets)):
            if resets[t]:
                state = self.store.reset(state, moves.reset[t])
            if writes[t]:
                rows = None if every[t] else moves.written[t]
                state = self.store.write(state, keys[t], values[t], told[t], rows=rows)
            read, state = self._ask(state, queries[t], asked[t], None if reading is None else reading[t])
            reads.append(read[:, 0])
        return torch.stack(reads), state

    def _ask(
        self, state: State, query: Tensor, control: Tensor | None, reading: Tensor | None = None
    ) -> tuple[Tensor, State]:
        if self.silent:
            return query.new_zeros(*query.shape[:2], self.read_size), state
        if self.access is None:
            read, after = self.store.read(state, query, control)
        else:
            apart = self.access.reads_apart and query.shape[1] == 1
            slots = with_learned(self.store, self.access, self.store.content(state), apart)
            read = self.access(query, slots, None, control)
            after = self.store.note_read(state, read) if query.shape[1] == 1 else state
        if reading is not None and after is not state and not reading.all():
            after = tree.where(reading, after, state)
        return read.value, after

    def _key(self, address: Tensor) -> Tensor:
        return self._prepare(self.store.transform_key(self.key(address)))

    def _query(self, address: Tensor) -> Tensor:
        return self._prepare(self.store.transform_key((self.key if self.query is None else self.query)(address)))

    def _prepare(self, address: Tensor) -> Tensor:
        return address if self.access is None else self.access.prepare(address)

    def _value(self, item: Tensor) -> Tensor:
        return self.store.transform_value(item if self.value is None else self.value(item))

    @staticmethod
    def _told(control: nn.Linear | None, *inputs: Tensor) -> Tensor | None:
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

"""The contracts of the memory: controller, store, access, core. Axes: T time, B batch, Q queries, N slots.

A state is a value: a NamedTuple of tensors, batch first in every leaf. With ``donate=True`` a call may reuse the
buffers of the state that it is given, which the caller then no longer owns; otherwise that state stays as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from metarl import tree
from metarl.functional.branches import every
from metarl.memory.ops import Content, MemoryOps, Query, State, Write, by_step, with_learned
from metarl.memory.options import MemoryOptions
from metarl.types import Boundary, CoreInput, Read


class Controller(nn.Module, ABC):
    """Working memory: maps inputs to outputs, with a state of its own or none."""

    output_size: int
    has_cell: ClassVar[bool] = False
    accepts_reinstatement: ClassVar[bool] = False
    resets_inside: ClassVar[bool] = False
    """Whether :meth:`unroll` can start again within a sequence, as controllers that are parallel over time do."""

    def extra_repr(self) -> str:
        """Its width."""
        return f"output_size={self.output_size}"

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before anything was read."""

    @abstractmethod
    def unroll(
        self, x: Tensor, state: State, reinstated: Tensor | None = None, cleared: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run over a sequence.

        Args:
            x: ``[T, B, D]``
            state: before the first input.
            reinstated: ``[T, B, C]`` cell states that were read from memory; they enter through their own gate.
            cleared: ``[T, B]`` bool: before which inputs the state is that of :meth:`initial_state` again; only
                controllers with ``resets_inside`` are given it.

        Returns:
            ``y`` ``[T, B, output_size]`` and the last state.
        """

    def cell(self, state: State) -> Tensor:
        """``[B, C]``: the part of the state that a store can keep and that can be reinstated."""
        raise TypeError(f"a {type(self).__name__} controller has no cell state; store transitions, or use gru or lstm")


class Part(nn.Module, ABC):
    """What a memory is made of, a store or an access: it may ask for controls."""

    control_size: int = 0
    """How many numbers control each write (store) or read (access): raw outputs of a linear map, of any size."""
    key_heads: int = 1
    """Into how many parts of equal width a read splits keys; it compares each alone."""

    def extra_repr(self) -> str:
        """Its options, if it keeps them."""
        options = getattr(self, "options", None)
        return "" if options is None else ", ".join(f"{name}={value!r}" for name, value in vars(options).items())

    def start_control(self) -> Tensor:
        """``[control_size]``: the control with which an untrained memory writes or reads sensibly."""
        return torch.zeros(self.control_size)


class Store(Part):
    """Where a memory keeps what it has seen.

    A store has slots, which any access can read, if it defines :meth:`content`; it has a native way of reading if it
    defines :meth:`read`; it outlives trials if it defines :meth:`consolidate`. All else has a default.
    """

    parallel: bool = False
    """Whether :meth:`unroll` makes all reads of a stream at once instead of stepping."""
    writable: bool = True
    """Whether anything is ever written."""
    repeats: ClassVar[bool] = False
    """Whether :meth:`unroll` knows what to do with queries that repeat (``MemoryOps.chosen``)."""
    key_size: int
    value_size: int
    read_size: int
    """Width of what a native read returns."""
    read_control_size: int = 0
    """How many numbers control each native read beside the query."""

    @property
    def lifelong(self) -> bool:
        """Whether :meth:`consolidate` keeps anything."""
        return type(self).consolidate is not Store.consolidate

    @property
    def notes_reads(self) -> bool:
        """Whether writes depend on what was read, so that several queries a step can't be asked side by side."""
        return type(self).note_read is not Store.note_read

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """An empty store for each row."""

    def reset(self, state: State, rows: Tensor, donate: bool = False) -> State:
        """Empty the store of some rows; by default all their numbers become zero.

        Args:
            state: before it is emptied.
            rows: ``[B]`` bool: the rows that are emptied.
            donate: the buffers of ``state`` may be reused.
        """
        fill = Tensor.masked_fill_ if donate and not torch.is_grad_enabled() else Tensor.masked_fill
        return tree.map_tensors(lambda leaf: fill(leaf, tree.rows_like(rows, leaf), 0), state)

    @abstractmethod
    def write(self, state: State, item: Write, donate: bool = False) -> State:
        """Write once per row.

        Args:
            state: before the write.
            item: key ``[B, K]``, value ``[B, V]``, control, and the rows ``[B]`` that are written; the others stay as
                they are.
            donate: the buffers of ``state`` may be reused.
        """

    def write_mask(self, boundary: Tensor, has_previous: Tensor) -> Tensor:
        """Which inputs write the transition that they complete: ``boundary`` and the result are ``[..., B]``.

        ``has_previous`` ``[..., B]`` is False where nothing came before an input. By default each transition of the
        trial is written.
        """
        if not self.writable:
            return torch.zeros_like(has_previous)
        return has_previous & (boundary != Boundary.TRIAL)

    def changes_at(self, boundary: Tensor) -> Tensor:
        """``[T]`` bool: steps at which the store may change, given boundaries ``[T, B]``; by default all of them."""
        return torch.ones(boundary.shape[0], dtype=torch.bool, device=boundary.device)

    def write_all(self, state: State, items: Write) -> State:
        """Write items in order, by default one by one: keys ``[S, B, K]``, values ``[S, B, V]``, rows ``[S, B]``."""
        for item in by_step(*items):
            state = self.write(state, Write(*item))
        return state

    def content(self, state: State) -> Content:
        """The slots as they stand, which an access reads."""
        raise TypeError(f"a {type(self).__name__} store has no slots; read it by its native access")

    def learned(self) -> tuple[Tensor, Tensor] | None:
        """Keys ``[L, K]``, not prepared, and values ``[L, V]`` that are parameters: an access sees them first."""
        return None

    def read(self, state: State, query: Tensor, control: Tensor | None = None) -> tuple[Read, State]:
        """The native read.

        Args:
            state: as it is before the read.
            query: ``[B, Q, K]``
            control: ``[B, Q, read_control_size]``

        Returns:
            Values ``[B, Q, read_size]``, and the state as it is after a single query (Q = 1: what the next write or
            read depends on); more queries than one are read side by side and leave the state as it is.
        """
        raise TypeError(f"a {type(self).__name__} store has no native access; read it by attention")

    def note_read(self, state: State, read: Read) -> State:
        """Called after each read by an access with one query, for stores whose writes depend on what was read."""
        return state

    def unroll(self, state: State, ops: MemoryOps, access: Access | None) -> tuple[Tensor, State]:
        """Run over a whole stream; one step after another unless the store is ``parallel``, with the same results.

        Args:
            state: before the first step.
            ops: what is reset, written and read at each step.
            access: reads the slots; None: the native way.

        Returns:
            What is read at ``ops.query_steps``, ``[R, B, Q, V]``, and the last state.
        """
        resets, writes, full = (
            mask.tolist() for mask in (ops.reset.any(1), ops.write_mask.any(1), ops.write_mask.all(1))
        )
        reads = [True] * len(resets) if ops.query_mask is None else ops.query_mask.any(1).tolist()
        items = dict(zip(ops.write_steps.tolist(), by_step(ops.key, ops.value, ops.write_control), strict=True))
        queries = dict(zip(ops.query_steps.tolist(), by_step(ops.query, ops.read_control), strict=True))
        size, values = self.read_size if access is None else self.value_size - access.leads, []
        for t in range(len(resets)):
            if resets[t]:
                state = self.reset(state, ops.reset[t])
            if writes[t]:
                key, value, control = items[t]
                state = self.write(state, Write(key, value, control, None if full[t] else ops.write_mask[t]))
            if t in queries:
                query, control = queries[t]
                rows = None if ops.query_mask is None else ops.query_mask[t]
                read = query.new_zeros(*query.shape[:2], size)
                if reads[t]:
                    read, state = read_once(self, access, state, query, control, rows)
                values.append(read)
        none = ops.query.new_zeros(0, *ops.query.shape[1:3], size)
        return torch.stack(values) if values else none, state

    def consolidate(self, key: Tensor, value: Tensor) -> None:
        """Keep items ``[M, K]``, ``[M, V]`` beyond their trial, after learning from them; by default nothing is."""
        return

    def start_read_control(self) -> Tensor:
        """``[read_control_size]``: the control with which an untrained memory reads sensibly."""
        return torch.zeros(self.read_control_size)

    def transform_key(self, address: Tensor) -> Tensor:
        """Maps keys and queries ``[..., K]`` alike, before the access prepares them."""
        return address

    def transform_value(self, value: Tensor) -> Tensor:
        """Maps values ``[..., V]`` before they are stored."""
        return value


class Access(Part):
    """How a store with slots is read."""

    separate_learned: ClassVar[bool] = False
    """Whether a single query can be given content whose learned slots are separate, so that nothing is copied."""
    counts: bool = False
    """Whether a slot that stands for several (``Content.counts``) is read as these would be."""
    sums: bool = True
    """Whether what is read is the sum of the slots' values by the weights of the read."""
    differentiates: bool = False
    """Whether a read takes gradients, which a graph of operations only holds if they are written out."""
    leads: int = 0
    """How many numbers of each slot's value, the last, say where its transition led, and are not read: the part of a
    key that comes from the observation after it, and whether there is one."""

    def follow_by(self, signs: Tensor) -> None:
        """Take what makes the key of an observation and an action from the observation's part, ``[A, K]``.

        Called once where :attr:`leads` is not 0.
        """
        raise TypeError(f"a {type(self).__name__} access follows no transitions")

    def weigh(self, query: Query, content: Content) -> Read:
        """As :meth:`forward`, but the read always has weights ``[B, Q, N]``."""
        return self.forward(query, content)

    def running(
        self, query: Tensor, slots: Content, chosen: Tensor, filed: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | None:
        """What is read at each step of a stream that writes one slot a step, of the slots before it.

        For accesses that can do so cheaply where queries repeat; None, the default, from those that can't.

        Args:
            query: ``[D, B, Q, K]``, those that are different.
            slots: ``[B, N, ...]``, in the order of writing, all valid.
            chosen: ``[N + 1, B]``: which of the D each step asks.
            filed: one-hot actions, those that queries are about ``[D, B, Q, A]`` and those that slots are filed under
                ``[B, N, A]``: a query sees the slots of its own alone; None: it sees all.

        Returns:
            ``[N + 1, B, Q, V]``
        """
        return None

    def prepare(self, address: Tensor) -> Tensor:
        """The form ``[..., K]`` in which keys are stored and queries put, so that no read has to do it again."""
        return address

    def learned(self, store: Store) -> tuple[Tensor, Tensor] | None:
        """:meth:`Store.learned` as this access reads it, with prepared keys."""
        learned = store.learned()
        return None if learned is None else (self.prepare(learned[0]), learned[1])

    @abstractmethod
    def forward(self, query: Query, content: Content) -> Read:
        """Read slots ``[B, N, ...]`` with queries ``[B, Q, K]``; keys and queries have gone through :meth:`prepare`.

        The value read is ``[B, Q, V]``, and zeros where nothing can be seen.
        """


def read_once(
    store: Store,
    access: Access | None,
    state: State,
    query: Tensor,
    control: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, State]:
    """One read of a store by an access, or in its native way.

    Args:
        store: what is read.
        access: how; None: the native way.
        state: as it is before the read.
        query: ``[B, Q, K]``
        control: ``[B, Q, ...]`` of the access or of the native read.
        rows: ``[B]`` bool: rows whose state may change; None: all.

    Returns:
        Values ``[B, Q, V]``, and the state after the read.
    """
    if access is None:
        read, after = store.read(state, query, control)
    else:
        separate = access.separate_learned and query.shape[1] == 1
        slots = with_learned(access.learned(store), store.content(state), separate)
        read = access(Query(query, control=control), slots)
        after = store.note_read(state, read) if query.shape[1] == 1 else state
    if rows is not None and after is not state and not every(rows):
        after = tree.where(rows, after, state)
    return read.value, after


class MemoryCore(nn.Module, ABC):
    """A controller with a memory, run over a stream of inputs with boundaries."""

    output_size: int
    options: MemoryOptions
    lifelong: bool = False
    """Whether :meth:`consolidate` keeps anything."""
    scores: int = 0
    """How many of the outputs, the last ones, are scores of actions: logits, one for each choice."""

    def extra_repr(self) -> str:
        """The names of its parts, and options that are not the default ones."""
        o, plain = self.options, MemoryOptions()
        names = ("controller", "store", "access")
        changed = [n for n in vars(o) if n not in names and getattr(o, n) != getattr(plain, n)]
        return ", ".join(f"{name}={getattr(o, name)!r}" for name in (*names, *changed))

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before a first trial; every leaf is ``[batch_size, ...]``."""

    @abstractmethod
    def forward(self, x: CoreInput, state: State, boundary: Tensor, *, donate: bool = False) -> tuple[Tensor, State]:
        """One step.

        Args:
            x: ``[B, D]``
            state: before the step.
            boundary: ``[B]`` of :class:`metarl.types.Boundary`.
            donate: the buffers of ``state`` may be reused.

        Returns:
            ``y`` ``[B, output_size]`` and the next state.

        Raises:
            ValueError: batch sizes of input, state and boundary that differ.
        """

    @abstractmethod
    def unroll(self, x: CoreInput, state: State, boundary: Tensor, *, last: bool = True) -> tuple[Tensor, State]:
        """Many steps at once, equal to looping :meth:`forward`.

        Args:
            x: ``[T, B, D]``; T may be 0.
            state: before the first step.
            boundary: ``[T, B]`` of :class:`metarl.types.Boundary`.
            last: False where the last state is not needed; what is returned in its place has no meaning.

        Returns:
            ``y`` ``[T, B, output_size]`` and the last state.

        Raises:
            ValueError: lengths or batch sizes of input, state and boundary that differ.
        """

    def consolidate(self, x: CoreInput, boundary: Tensor) -> None:
        """Keep what sequences ``[T, B, D]`` have shown beyond their trial, if the memory is lifelong."""
        return

"""The contracts of the memory: controller, store, access, core. Axes: T time, B batch, Q queries, N slots.

A state is a value: a NamedTuple of tensors, batch first in every leaf. With ``donate=True`` a call may reuse the
buffers of the state that it is given, which the caller then no longer owns; otherwise that state stays as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl import tree
from metarl.memory.ops import Content, MemoryOps, State, by_step
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
        """Run ``x`` ``[T, B, D]`` from ``state``.

        Returns ``y`` ``[T, B, output_size]`` and the last state.

        ``reinstated`` ``[T, B, C]`` holds cell states that were read from memory; they enter through their own gate.
        ``cleared`` ``[T, B]`` (bool) says before which inputs the state is that of :meth:`initial_state` again; only
        controllers with ``resets_inside`` are given it.
        """

    def cell(self, state: State) -> Tensor:
        """``[B, C]``: the part of the state that a store can keep and that can be reinstated."""
        raise TypeError(
            f"a {type(self).__name__} controller has no cell state to store; store transitions, or use gru or lstm"
        )


class Store(nn.Module, ABC):
    """Where a memory keeps what it has seen.

    A store has slots, which any access can read, if it defines :meth:`content`; it has a native way of reading if it
    defines :meth:`read`; it outlives trials if it defines :meth:`consolidate`. All else has a default.
    """

    has_slots: ClassVar[bool]
    """Whether :meth:`content` is defined."""
    has_native: ClassVar[bool]
    """Whether :meth:`read` is defined."""
    lifelong: ClassVar[bool]
    """Whether :meth:`consolidate` is defined."""
    writable: bool = True
    """Whether anything is ever written."""
    key_size: int
    value_size: int
    read_size: int
    """Width of what a native read returns."""
    control_size: int = 0
    """How many numbers control each write beside key and value: raw outputs of a linear map, of any size."""
    read_control_size: int = 0
    """How many numbers control each native read beside the query."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.has_slots = cls.content is not Store.content
        cls.has_native = cls.read is not Store.read
        cls.lifelong = cls.consolidate is not Store.consolidate

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """An empty store for each row."""

    @abstractmethod
    def reset(self, state: State, rows: Tensor, donate: bool = False) -> State:
        """Empty the store of the rows ``[B]`` (bool)."""

    @abstractmethod
    def write(
        self,
        state: State,
        key: Tensor,
        value: Tensor,
        control: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        donate: bool = False,
    ) -> State:
        """Write once per row: ``key`` ``[B, K]``, ``value`` ``[B, V]``, in the rows ``[B]`` (bool; None: all)."""

    def write_mask(self, boundary: Tensor, has_previous: Tensor) -> Tensor:
        """Which inputs write the transition that they complete: ``boundary`` and the result are ``[..., B]``.

        ``has_previous`` ``[..., B]`` is False where nothing came before an input. By default each transition of the
        trial is written.
        """
        if not self.writable:
            return torch.zeros_like(has_previous)
        return has_previous & (boundary != Boundary.TRIAL)

    def changes_at(self, boundary: Tensor) -> Tensor:
        """``[T]`` bool: the steps at which writing or reading may change the store, given boundaries ``[T, B]``.

        The steps between are read together. By default it changes at every step.
        """
        return torch.ones(len(boundary), dtype=torch.bool, device=boundary.device)

    def write_all(
        self, state: State, key: Tensor, value: Tensor, control: Tensor | None = None, *, mask: Tensor | None = None
    ) -> State:
        """Write ``S`` items in order: ``key`` ``[S, B, K]``, ``value`` ``[S, B, V]``, ``mask`` ``[S, B]`` (None: all).

        By default they are written one by one; a store that can takes them all at once.
        """
        for s in range(len(key)):
            rows = None if mask is None else mask[s]
            state = self.write(state, key[s], value[s], None if control is None else control[s], rows=rows)
        return state

    @property
    def parallel(self) -> bool:
        """Whether :meth:`unroll` makes all reads of a stream at once instead of stepping."""
        return False

    def content(self, state: State) -> Content:
        """The slots as they stand, which an access reads."""
        raise TypeError(f"a {type(self).__name__} store has no slots; read it by its native access")

    def learned(self) -> tuple[Tensor, Tensor] | None:
        """Slots that are parameters, the same for all rows: keys ``[L, K]``, not prepared yet, and values ``[L, V]``.

        They stand before those of :meth:`content` in what an access sees.
        """
        return None

    def read(self, state: State, query: Tensor, control: Tensor | None = None) -> tuple[Read, State]:
        """The native read: ``query`` ``[B, Q, K]``, ``control`` ``[B, Q, read_control_size]``.

        Returns values ``[B, Q, read_size]``, and the state as it is after a single query (Q = 1: what the next write
        or read depends on); more queries than one are read side by side and leave the state as it is.
        """
        raise TypeError(f"a {type(self).__name__} store has no native access; read it by attention")

    def note_read(self, state: State, read: Read) -> State:
        """Called after each read by an access with one query, for stores whose writes depend on what was read."""
        return state

    def unroll(self, state: State, ops: MemoryOps, access: Access | None) -> tuple[Tensor, State]:
        """A whole stream: what is read ``[R, B, Q, V]`` at ``ops.query_steps``, and the last state.

        ``access`` reads the slots; None is the native way. By default the store steps; one that is ``parallel`` makes
        all reads at once, with the same results.
        """
        return step_through(self, state, ops, access)

    def consolidate(self, key: Tensor, value: Tensor) -> None:
        """Keep items ``[M, K]``, ``[M, V]`` beyond their trial, after learning from them; by default nothing is."""
        return

    def start_control(self) -> Tensor:
        """``[control_size]``: the control with which an untrained memory writes sensibly."""
        return torch.zeros(self.control_size)

    def start_read_control(self) -> Tensor:
        """``[read_control_size]``: the control with which an untrained memory reads sensibly."""
        return torch.zeros(self.read_control_size)

    def transform_key(self, address: Tensor) -> Tensor:
        """Maps keys and queries ``[..., K]`` alike, before the access prepares them."""
        return address

    def transform_value(self, value: Tensor) -> Tensor:
        """Maps values ``[..., V]`` before they are stored."""
        return value


class Access(nn.Module, ABC):
    """How a store with slots is read."""

    separate_learned: ClassVar[bool] = False
    """Whether a single query can be given content whose learned slots are separate, so that nothing is copied."""
    sums: ClassVar[bool] = True
    """Whether what is read is the sum of the slots' values by the weights of the read."""
    control_size: int = 0
    """How many numbers control each read beside the query: raw outputs of a linear map, of any size."""

    def extra_repr(self) -> str:
        """Its options, if it keeps them."""
        options = getattr(self, "options", None)
        return "" if options is None else ", ".join(f"{name}={value!r}" for name, value in vars(options).items())

    def start_control(self) -> Tensor:
        """``[control_size]``: the control with which an untrained memory reads sensibly."""
        return torch.zeros(self.control_size)

    def weigh(
        self,
        query: Tensor,
        content: Content,
        mask: Tensor | None = None,
        control: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Read:
        """The same read, which always returns weights."""
        read: Read = self(query, content, mask, control, causal=causal)
        return read

    def prepare(self, address: Tensor) -> Tensor:
        """The form ``[..., K]`` in which keys are stored and queries put, so that no read has to do it again."""
        return address

    @abstractmethod
    def forward(
        self,
        query: Tensor,
        content: Content,
        mask: Tensor | None = None,
        control: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Read:
        """Read with ``query`` ``[B, Q, K]``; ``mask`` ``[B, Q, N]`` (bool) says which slots each query may see.

        Query and keys have gone through :meth:`prepare`; ``control`` is ``[B, Q, control_size]``. The value read is
        ``[B, Q, V]``, and zeros where nothing can be seen.

        ``causal`` stands for the mask in which the last query sees every slot and each query before it one slot less,
        counted from the end (query i sees slots j with j <= i + N - Q), without building it.
        """


def with_learned(store: Store, access: Access, slots: Content, separate: bool = False) -> Content:
    """``slots`` behind those that are parameters of the store, if it has any; or with these kept ``separate``."""
    learned = store.learned()
    if learned is None:
        return slots
    keys, values = access.prepare(learned[0]), learned[1]
    if separate:
        return slots._replace(learned=(keys, values))
    batch = len(slots.keys)
    return Content(
        torch.cat([keys.expand(batch, -1, -1), slots.keys], 1),
        torch.cat([values.expand(batch, -1, -1), slots.values], 1),
        F.pad(slots.valid, (len(keys), 0), value=True),
    )


def read_once(
    store: Store,
    access: Access | None,
    state: State,
    query: Tensor,
    control: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Values ``[B, Q, V]`` for queries ``[B, Q, K]``, and the state after it; ``rows`` ``[B]`` are read (None: all)."""
    if access is None:
        read, after = store.read(state, query, control)
    else:
        separate = access.separate_learned and query.shape[1] == 1
        read = access(query, with_learned(store, access, store.content(state), separate), None, control)
        after = store.note_read(state, read) if query.shape[1] == 1 else state
    if rows is not None and after is not state and not rows.all():
        after = tree.where(rows, after, state)
    return read.value, after


def read_together(
    store: Store, access: Access, ops: MemoryOps, slots: Content, mask: Tensor | None, *, causal: bool = False
) -> Tensor:
    """All reads of a stream at once, ``[R, B, Q, V]``, for the ``unroll`` of a store whose slots are known beforehand.

    Args:
        store: gives its learned slots, if it has any.
        access: reads.
        ops: queries and read controls.
        slots: all slots that any step sees, side by side.
        mask: ``[B, R, N]`` bool: which of them each step sees; None with ``causal``, as :meth:`Access.forward` has it.
        causal: see ``mask``; for one query a step.
    """
    queries = ops.query.shape[2]
    query = ops.query.transpose(0, 1).flatten(1, 2)
    control = None if ops.read_control is None else ops.read_control.transpose(0, 1).flatten(1, 2)
    content = with_learned(store, access, slots)
    if mask is not None:
        learned = content.keys.shape[1] - slots.keys.shape[1]  # they stand first and are always seen
        mask = mask.repeat_interleave(queries, 1) if queries > 1 else mask
        mask = F.pad(mask, (learned, 0), value=True) if learned else mask
    if not query.shape[1]:
        return query.new_zeros(0, len(query), queries, slots.values.shape[-1])
    read = access(query, content, mask, control, causal=causal)
    return read.value.unflatten(1, (-1, queries)).transpose(0, 1)


def step_through(store: Store, state: State, ops: MemoryOps, access: Access | None) -> tuple[Tensor, State]:
    """:meth:`Store.unroll`, one step after another."""
    resets, writes, full = (mask.tolist() for mask in (ops.reset.any(1), ops.write_mask.any(1), ops.write_mask.all(1)))
    reads = [True] * len(resets) if ops.query_mask is None else ops.query_mask.any(1).tolist()
    items = dict(zip(ops.write_steps.tolist(), by_step(ops.key, ops.value, ops.write_control), strict=True))
    queries = dict(zip(ops.query_steps.tolist(), by_step(ops.query, ops.read_control), strict=True))
    size, values = store.read_size if access is None else store.value_size, []
    for t in range(len(resets)):
        if resets[t]:
            state = store.reset(state, ops.reset[t])
        if writes[t]:
            key, value, control = items[t]
            state = store.write(state, key, value, control, rows=None if full[t] else ops.write_mask[t])
        if t in queries:
            query, control = queries[t]
            rows = None if ops.query_mask is None else ops.query_mask[t]
            read = query.new_zeros(*query.shape[:2], size)
            if reads[t]:
                read, state = read_once(store, access, state, query, control, rows)
            values.append(read)
    return torch.stack(values), state


class MemoryCore(nn.Module, ABC):
    """A controller with a memory, run over a stream of inputs with boundaries."""

    output_size: int
    options: MemoryOptions

    def extra_repr(self) -> str:
        """The names of its parts, and options that are not the default ones."""
        o, plain = self.options, MemoryOptions()
        names = ("controller", "store", "access")
        changed = [n for n in vars(o) if n not in names and getattr(o, n) != getattr(plain, n)]
        return ", ".join(f"{name}={getattr(o, name)!r}" for name in (*names, *changed))

    @property
    def lifelong(self) -> bool:
        """Whether :meth:`consolidate` keeps anything."""
        return False

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before a first trial; every leaf is ``[batch_size, ...]``."""

    @abstractmethod
    def forward(self, x: CoreInput, state: State, boundary: Tensor, *, donate: bool = False) -> tuple[Tensor, State]:
        """One step: ``x`` ``[B, D]``, ``boundary`` ``[B]`` of :class:`metarl.types.Boundary`.

        Returns:
            ``y`` ``[B, output_size]`` and the next state.

        Raises:
            ValueError: batch sizes of input, state and boundary that differ.
        """

    @abstractmethod
    def unroll(self, x: CoreInput, state: State, boundary: Tensor) -> tuple[Tensor, State]:
        """Many steps at once, equal to looping :meth:`forward`: ``x`` ``[T, B, D]``, ``boundary`` ``[T, B]``; T >= 0.

        Returns:
            ``y`` ``[T, B, output_size]`` and the last state.

        Raises:
            ValueError: lengths or batch sizes of input, state and boundary that differ.
        """

    def consolidate(self, x: CoreInput, boundary: Tensor) -> None:
        """Keep beyond the trial what a batch of sequences has shown; does nothing in memories of a trial."""
        return

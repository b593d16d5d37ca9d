"""The contracts of the memory: controller, store, access, core. Axes: T time, B batch, Q queries, N slots.

A state is a value: a NamedTuple of tensors, batch first in every leaf. A call that is told ``donate=True`` may reuse
the buffers of the state it is given, which the caller then no longer owns; without it, the given state stays as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from metarl.memory.options import MemoryOptions
from metarl.types import CoreInput, Read

State = Any
"""A nested NamedTuple of tensors with the batch first in every leaf."""


class Content(NamedTuple):
    """What a store shows to an access."""

    keys: Tensor
    """``[B, N, K]``"""
    values: Tensor
    """``[B, N, V]``"""
    valid: Tensor
    """``[B, N]`` bool: slots that have been written."""
    learned: tuple[Tensor, Tensor] | None = None
    """Keys ``[L, K]`` and values ``[L, V]`` that all rows have before these slots, where they stand apart."""


class Controller(nn.Module, ABC):
    """Working memory: maps inputs to outputs, with a state of its own or none."""

    output_size: int
    has_cell: ClassVar[bool] = False
    accepts_reinstatement: ClassVar[bool] = False
    resets_inside: ClassVar[bool] = False
    """Whether :meth:`unroll` can begin afresh within a sequence, as controllers that are parallel over time do."""

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


class Moves(NamedTuple):
    """What is done to a memory along a sequence: at each step first reset, then write, then read."""

    reset: Tensor
    """``[T, B]`` bool: rows that are emptied."""
    written: Tensor
    """``[T, B]`` bool: rows that are written."""
    key: Tensor
    """``[T, B, K]``"""
    value: Tensor
    """``[T, B, V]``"""
    write_control: Tensor | None
    """``[T, B, control_size]``"""
    query: Tensor
    """``[T, B, K]``"""
    read_control: Tensor | None
    """``[T, B, read_control_size]``"""


class Store(nn.Module, ABC):
    """Where a memory keeps what it has seen.

    Most stores are slots, which any access reads through :meth:`content`. A store may have a native way of reading, by
    :meth:`read`; one that is a network has that way alone.
    """

    scope: ClassVar[Literal["trial", "lifelong"]] = "trial"
    has_slots: ClassVar[bool] = True
    """Whether :meth:`content` shows slots."""
    has_native: ClassVar[bool] = False
    """Whether :meth:`read` reads."""
    written: bool = True
    """Whether anything is ever written."""
    key_size: int
    value_size: int
    read_size: int
    """Width of what a native read returns."""
    control_size: int = 0
    """How many numbers each write is told besides key and value: raw outputs of a linear map, of any size."""
    read_control_size: int = 0
    """How many numbers each native read is told besides the query."""

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

    @property
    def parallel(self) -> bool:
        """Whether all reads of a sequence are made at once."""
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
        or read depends on); more queries than one are asked side by side and leave the state as it is.
        """
        raise TypeError(f"a {type(self).__name__} store has no native access; read it by attention")

    def note_read(self, state: State, read: Read) -> State:
        """Called after each read by an access with one query, for stores that go by what was read."""
        return state

    def unroll(self, state: State, moves: Moves) -> tuple[Tensor, State] | None:
        """All native reads of a sequence at once, ``[T, B, read_size]``, equal to stepping; None where it must step."""
        return None

    def start_control(self) -> Tensor:
        """``[control_size]``: the control with which an untrained memory writes sensibly."""
        return torch.zeros(self.control_size)

    def start_read_control(self) -> Tensor:
        """``[read_control_size]``: the control with which an untrained memory reads sensibly."""
        return torch.zeros(self.read_control_size)

    def transform_key(self, address: Tensor) -> Tensor:
        """What becomes of keys and queries ``[..., K]`` alike, before the access prepares them."""
        return address

    def transform_value(self, value: Tensor) -> Tensor:
        """What becomes of values ``[..., V]`` before they are stored."""
        return value


class Access(nn.Module, ABC):
    """How a store with slots is read."""

    reads_apart: ClassVar[bool] = False
    """Whether a single query can be given content whose learned slots stand apart, so that nothing need be copied."""
    sums: ClassVar[bool] = True
    """Whether what is read is the sum of the slots' values by the weights of the read."""
    control_size: int = 0
    """How many numbers each read is told besides the query: raw outputs of a linear map, of any size."""

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
        """The same read, with the weights for certain."""
        read: Read = self(query, content, mask, control, causal=causal)
        return read

    def prepare(self, address: Tensor) -> Tensor:
        """The form ``[..., K]`` in which keys are stored and queries asked, so that no read has to do it again."""
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


def visible(content: Content, queries: int, mask: Tensor | None, causal: bool) -> Tensor:
    """``[B, Q, N]`` bool: which slots each of ``queries`` queries sees, as :meth:`Access.forward` has it."""
    seen = content.valid[:, None, :].expand(-1, queries, -1)
    if causal:
        slots = content.keys.shape[1]
        seen = seen & torch.ones(queries, slots, dtype=torch.bool, device=seen.device).tril(slots - queries)
    return seen if mask is None else seen & mask


class MemoryCore(nn.Module, ABC):
    """A controller with a memory, run over a stream of inputs with boundaries."""

    output_size: int
    options: MemoryOptions

    @property
    def lifelong(self) -> bool:
        """Whether :meth:`consolidate` keeps anything."""
        return False

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before a first trial; every leaf is ``[batch_size, ...]``."""

    @abstractmethod
    def forward(self, x: CoreInput, state: State, begin: Tensor, *, donate: bool = False) -> tuple[Tensor, State]:
        """One step: ``x`` ``[B, D]``, ``begin`` ``[B]`` of :class:`metarl.types.Boundary`; returns ``y`` ``[B, O]``."""

    @abstractmethod
    def unroll(self, x: CoreInput, state: State, begin: Tensor) -> tuple[Tensor, State]:
        """Many steps at once, equal to looping :meth:`forward`: ``x`` ``[T, B, D]``, ``begin`` ``[T, B]``."""

    def consolidate(self, x: CoreInput, begin: Tensor) -> None:
        """Take what a batch of sequences has shown into what is kept for life; nothing, for memories of a trial."""
        return

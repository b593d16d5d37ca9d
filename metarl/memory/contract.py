"""The contracts of the memory: controller, store, access, core. Axes: T time, B batch, Q queries, N slots.

A state is a value: a NamedTuple of tensors, batch first in every leaf. A call that is told ``donate=True`` may reuse
the buffers of the state it is given, which the caller then no longer owns; without it, the given state stays as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

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


class Controller(nn.Module, ABC):
    """Working memory: maps inputs to outputs, with a state of its own or none."""

    output_size: int
    has_cell: ClassVar[bool] = False
    accepts_reinstatement: ClassVar[bool] = False

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before anything was read."""

    @abstractmethod
    def unroll(self, x: Tensor, state: State, reinstated: Tensor | None = None) -> tuple[Tensor, State]:
        """Run ``x`` ``[T, B, D]`` from ``state`` without any reset.

        Returns ``y`` ``[T, B, output_size]`` and the last state.

        ``reinstated`` ``[T, B, C]`` holds cell states that were read from memory; they enter through their own gate.
        """

    def cell(self, state: State) -> Tensor:
        """``[B, C]``: the part of the state that a store can keep and that can be reinstated."""
        raise TypeError(
            f"a {type(self).__name__} controller has no cell state to store; store transitions, or use gru or lstm"
        )


class Store(nn.Module, ABC):
    """Where a memory keeps what it has seen."""

    scope: ClassVar[Literal["trial", "lifelong"]] = "trial"
    control_size: int = 0
    """How many numbers the controller emits for each write."""

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
        """Write one slot per row: ``key`` ``[B, K]``, ``value`` ``[B, V]``, in the rows ``[B]`` (bool; None: all)."""

    @abstractmethod
    def content(self, state: State) -> Content:
        """What can be read."""

    def note_read(self, state: State, read: Read) -> State:
        """Called after each read, for stores whose replacement depends on use."""
        return state


class Access(nn.Module, ABC):
    """How a store is read."""

    control_size: int = 0

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

        Query and keys have gone through :meth:`prepare`.

        ``causal`` stands for the mask in which query i sees the slots before the i-th (Q = N + 1), without building it.
        """


class MemoryCore(nn.Module, ABC):
    """A controller with a memory, run over a stream of inputs with boundaries."""

    output_size: int
    options: MemoryOptions

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before a first trial; every leaf is ``[batch_size, ...]``."""

    @abstractmethod
    def forward(self, x: CoreInput, state: State, begin: Tensor, *, donate: bool = False) -> tuple[Tensor, State]:
        """One step: ``x`` ``[B, D]``, ``begin`` ``[B]`` of :class:`metarl.types.Boundary`; returns ``y`` ``[B, O]``."""

    @abstractmethod
    def unroll(self, x: CoreInput, state: State, begin: Tensor) -> tuple[Tensor, State]:
        """Many steps at once, equal to looping :meth:`forward`: ``x`` ``[T, B, D]``, ``begin`` ``[T, B]``."""

"""The memory cores: a controller alone, or with a memory, run over a stream with boundaries.

At each input, in this order: what ends with a trial is wiped; the transition that this input completes is written;
working memory is cleared where it ends with an episode; the memory is read with the new observation; the controller
runs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from metarl import tree
from metarl.memory.contract import Controller, MemoryCore, State
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.slots import Course
from metarl.memory.stores.episodic import Episodic
from metarl.memory.stream import blank, boundaries, run_cleared
from metarl.types import Boundary, CoreInput


def like(core: nn.Module, state: State) -> State:
    """``state`` in the precision and on the device of the parameters of ``core``."""
    model = next(core.parameters())
    return tree.map_tensors(lambda leaf: leaf.to(model if leaf.is_floating_point() else model.device), state)


class ControllerCore(MemoryCore):
    """A controller alone: plain RL² (Duan et al. 2016) where it is recurrent."""

    def __init__(self, controller: Controller, options: MemoryOptions) -> None:
        super().__init__()
        self.controller, self.options = controller, options
        self.output_size = controller.output_size

    def initial_state(self, batch_size: int) -> State:
        """See :meth:`metarl.memory.contract.MemoryCore.initial_state`."""
        return like(self, self.controller.initial_state(batch_size))

    def forward(self, x: CoreInput, state: State, begin: Tensor, *, donate: bool = False) -> tuple[Tensor, State]:
        """See :meth:`metarl.memory.contract.MemoryCore.forward`."""
        y, state = self.unroll(CoreInput(x.now[None], x.feedback[None]), state, begin[None])
        return y[0], state

    def unroll(self, x: CoreInput, state: State, begin: Tensor) -> tuple[Tensor, State]:
        """See :meth:`metarl.memory.contract.MemoryCore.unroll`."""
        _, cleared = boundaries(begin, self.options)
        inputs = torch.cat([x.now, blank(x.feedback, cleared)], -1)
        return run_cleared(self.controller, inputs, state, cleared)


class CoreState(NamedTuple):
    """The state of a controller with a memory."""

    controller: State
    store: State
    previous: Tensor
    """``[B, D]`` o_{t-1}, the first half of the transition that the next input completes."""
    begun: Tensor
    """``[B]`` bool: whether there is an o_{t-1}."""
    steps: Tensor
    """``[B]`` inputs of the trial so far; ``[B, 0]`` where every step reads."""
    held: Tensor
    """``[B, R]`` what was read last; ``[B, 0]`` where every step reads."""
    output: Tensor
    """``[B, O]`` the controller's last output; ``[B, 0]`` where nothing is emitted from it."""


class StoreCore(MemoryCore):
    """A controller that reads a memory of completed transitions.

    What is written at t has its key from o_{t-1} and its value from (o_{t-1}, feedback_t, o_t), or it is the
    controller's cell state after (o_{t-1}, feedback_t). The query comes from o_t. What is read enters the controller's
    input through a gate that starts closed, or, with ``reinstate``, its cell (Ritter et al. 2018).
    """

    def __init__(
        self, controller: Controller, memory: Memory, now_size: int, feedback_size: int, options: MemoryOptions
    ) -> None:
        super().__init__()
        self.controller, self.memory, self.options = controller, memory, options
        self.output_size = controller.output_size
        self.now_size = now_size
        self.gate = nn.Parameter(torch.zeros(memory.read_size)) if options.gate and not options.reinstate else None

    @property
    def foreseen(self) -> bool:
        """Whether the course of the memory is known before the controller runs."""
        return self.memory.value is not None and self.options.emit == "input"

    @property
    def lifelong(self) -> bool:
        """See :meth:`metarl.memory.contract.MemoryCore.lifelong`."""
        return self.memory.store.scope == "lifelong"

    def initial_state(self, batch_size: int) -> CoreState:
        """See :meth:`metarl.memory.contract.MemoryCore.initial_state`."""
        holds = self.options.read_every != 1
        emits = self.options.emit == "controller"
        state = CoreState(
            self.controller.initial_state(batch_size),
            self.memory.initial_state(batch_size),
            torch.zeros(batch_size, self.now_size),
            torch.zeros(batch_size, dtype=torch.bool),
            torch.zeros((batch_size,) if holds else (batch_size, 0), dtype=torch.long),
            torch.zeros(batch_size, self.memory.read_size if holds else 0),
            torch.zeros(batch_size, self.output_size if emits else 0),
        )
        return like(self, state)

    def forward(
        self, x: CoreInput, state: CoreState, begin: Tensor, *, donate: bool = False
    ) -> tuple[Tensor, CoreState]:
        """See :meth:`metarl.memory.contract.MemoryCore.forward`."""
        y, state = self._segment(CoreInput(x.now[None], x.feedback[None]), state, begin[None], donate)
        return y[0], state

    def unroll(self, x: CoreInput, state: CoreState, begin: Tensor) -> tuple[Tensor, CoreState]:
        """See :meth:`metarl.memory.contract.MemoryCore.unroll`; the memory runs first where its course is foreseen."""
        if self.foreseen:
            return self._memory_first(x, state, begin)
        cuts = self._changes(boundaries(begin, self.options)[0])
        outputs = []
        for start, end in zip(cuts, [*cuts[1:], begin.shape[0]], strict=True):
            part = CoreInput(x.now[start:end], x.feedback[start:end])
            y, state = self._segment(part, state, begin[start:end])
            outputs.append(y)
        return torch.cat(outputs), state

    def consolidate(self, x: CoreInput, begin: Tensor) -> None:
        """See :meth:`metarl.memory.contract.MemoryCore.consolidate`."""
        if not self.lifelong:
            return
        begin, _ = boundaries(begin, self.options)
        rows = self._writes(begin, torch.ones_like(begin, dtype=torch.bool))[1:]
        address = self._address(x.now[:-1], x.feedback[1:])
        self.memory.consolidate(address, torch.cat([x.now[:-1], x.feedback[1:], x.now[1:]], -1), rows)

    def _memory_first(self, x: CoreInput, state: CoreState, begin: Tensor) -> tuple[Tensor, CoreState]:
        begin, cleared = boundaries(begin, self.options)
        feedback = blank(x.feedback, cleared)
        before = torch.cat([state.previous[None], x.now[:-1]])
        begun = torch.cat([state.begun[None], torch.ones_like(begin[1:], dtype=torch.bool)])
        reading, steps = self._reading(begin, state)
        course = Course(
            begin == Boundary.TRIAL,
            self._writes(begin, begun),
            self._address(before, x.feedback),
            torch.cat([before, x.feedback, x.now], -1),
            reading,
            self._address(x.now, feedback),
        )
        reads, store = self.memory.unroll(state.store, course)
        reads, held = self._hold(reads, reading, state.held)
        y, controller = run_cleared(self.controller, self._inputs(x.now, feedback, reads), state.controller, cleared)
        return y, CoreState(controller, store, x.now[-1], torch.ones_like(state.begun), steps, held, state.output)

    def _segment(self, x: CoreInput, state: CoreState, begin: Tensor, donate: bool = False) -> tuple[Tensor, CoreState]:
        """Inputs ``[T, B, D]`` of which only the first may stand at a boundary or complete a slot."""
        begin, cleared = boundaries(begin, self.options)
        first, cleared = begin[0], cleared[0]
        controller, output, feedback = state.controller, state.output, x.feedback
        store = state.store
        if (wiped := first == Boundary.TRIAL).any():
            store = self.memory.store.reset(store, wiped, donate)
        rows = self._writes(first, state.begun)
        if rows.any():
            before, come = state.previous, x.feedback[0]
            if self.memory.value is None:
                closing = self._inputs(before, come, None)
                item = self.controller.cell(self.controller.unroll(closing[None], controller)[1])
            else:
                item = torch.cat([before, come, x.now[0], output], -1)
            written = None if rows.all() else rows
            store = self.memory.write(store, self._address(before, come, output), item, rows=written, donate=donate)
        if cleared.any():
            controller = tree.where(cleared, self.controller.initial_state(len(cleared)), controller)
            output = output.masked_fill(cleared[:, None], 0.0)
            feedback = torch.cat([blank(feedback[:1], cleared[None]), feedback[1:]])
        reading, steps = self._reading(begin, state)
        reads, store = self._read(store, self._address(x.now, feedback, output.expand(len(x.now), -1, -1)), reading)
        reads, held = self._hold(reads, reading, state.held)
        inputs = self._inputs(x.now, feedback, reads)
        y, controller = self.controller.unroll(inputs, controller, reads if self.options.reinstate else None)
        output = y[-1] if self.options.emit == "controller" else output
        return y, CoreState(controller, store, x.now[-1], torch.ones_like(state.begun), steps, held, output)

    def _read(self, store: State, address: Tensor, reading: Tensor | None) -> tuple[Tensor, State]:
        if reading is not None and not reading.any():
            return address.new_zeros(*address.shape[:2], self.memory.read_size), store
        one = None if reading is None else reading[0]
        reads, store = self.memory.read(store, address.transpose(0, 1), one)
        return reads.transpose(0, 1), store

    def _changes(self, begin: Tensor) -> list[int]:
        """The steps at which the memory changes in any row; between them reads can be made together."""
        store = self.memory.store
        still = isinstance(store, Episodic) and store.options.replace == "oldest" and store.options.write == "episode"
        if not still or self.options.emit == "controller":
            return list(range(begin.shape[0]))
        later = (begin[1:] != Boundary.INSIDE).any(1).nonzero().flatten() + 1
        return [0, *later.tolist()]

    def _writes(self, begin: Tensor, begun: Tensor) -> Tensor:
        store = self.memory.store
        if not store.written:
            return torch.zeros_like(begun)
        if isinstance(store, Episodic) and store.options.write == "episode":
            return begun & (begin == Boundary.EPISODE)
        return begun & (begin != Boundary.TRIAL)

    def _reading(self, begin: Tensor, state: CoreState) -> tuple[Tensor | None, Tensor]:
        """Which rows read at which steps ``[T, B]`` (None: all at all), and the inputs of the trial so far."""
        every = self.options.read_every
        if every == 1:
            return None, state.steps
        at = torch.arange(len(begin), device=begin.device)[:, None]
        latest = torch.where(begin == Boundary.TRIAL, at, -1).cummax(0).values
        step = torch.where(latest < 0, state.steps + at, at - latest)
        reading = step % every == 0 if isinstance(every, int) else (begin != Boundary.INSIDE) | (step == 0)
        return reading, step[-1] + 1

    def _hold(self, reads: Tensor, reading: Tensor | None, held: Tensor) -> tuple[Tensor, Tensor]:
        """What was read last at each step ``[T, B, R]``, and at the end."""
        if reading is None:
            return reads, held
        at = torch.arange(len(reads), device=reads.device)[:, None]
        latest = torch.where(reading, at + 1, 0).cummax(0).values  # 0 is what is held from before
        known = torch.cat([held[None], reads])
        filled = known.gather(0, latest[..., None].expand_as(reads))
        return filled, filled[-1]

    def _address(self, observation: Tensor, feedback: Tensor, output: Tensor | None = None) -> Tensor:
        parts = [observation, feedback] if self.options.address == "transition" else [observation]
        if self.options.emit == "controller" and output is not None:
            parts.append(output)
        return torch.cat(parts, -1) if len(parts) > 1 else observation

    def _inputs(self, now: Tensor, feedback: Tensor, read: Tensor | None) -> Tensor:
        if self.options.reinstate:
            return torch.cat([now, feedback], -1)
        if read is None:
            read = now.new_zeros(*now.shape[:-1], self.memory.read_size)
        return torch.cat([now, feedback, read if self.gate is None else read * self.gate], -1)

"""The memory cores: a controller alone, or with a memory, run over a stream with boundaries.

At each input, in this order: what ends with a trial is wiped; the transition that this input completes is written;
working memory is cleared where it ends with an episode; the memory is read with the new observation; the controller
runs.
"""

from __future__ import annotations

from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metarl import tree
from metarl.functional.branches import every, some
from metarl.memory.boundaries import check_stream, effective_boundaries, run_controller, zero_feedback_where
from metarl.memory.contract import Controller, MemoryCore, State
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.precision import cast_like, in_own_precision
from metarl.types import Boundary, CoreInput


class ControllerCore(MemoryCore):
    """A controller, here alone: plain RL² (Duan et al. 2016) where it is recurrent."""

    def __init__(self, controller: Controller, options: MemoryOptions) -> None:
        super().__init__()
        self.controller, self.options = controller, options
        self.output_size = controller.output_size

    def initial_state(self, batch_size: int) -> State:
        """See :meth:`metarl.memory.contract.MemoryCore.initial_state`."""
        return cast_like(next(self.parameters()), self.controller.initial_state(batch_size))

    @in_own_precision
    def forward(self, x: CoreInput, state: State, boundary: Tensor, *, donate: bool = False) -> tuple[Tensor, State]:
        """See :meth:`metarl.memory.contract.MemoryCore.forward`."""
        check_stream(x, state, boundary)
        y, state = self._segment(x.map(lambda part: part[None]), state, boundary[None], donate)
        return y[0], state

    @in_own_precision
    def unroll(self, x: CoreInput, state: State, boundary: Tensor, *, last: bool = True) -> tuple[Tensor, State]:
        """See :meth:`metarl.memory.contract.MemoryCore.unroll`."""
        check_stream(x, state, boundary)
        if not boundary.shape[0]:
            return x.now.new_zeros(*boundary.shape, self.output_size), state
        return self._stream(x, state, boundary, last)

    def _stream(self, x: CoreInput, state: Any, boundary: Tensor, last: bool) -> tuple[Tensor, State]:
        """Inputs ``[T, B, D]``, T >= 1."""
        return self._segment(x, state, boundary)

    def _segment(self, x: CoreInput, state: Any, boundary: Tensor, donate: bool = False) -> tuple[Tensor, State]:
        """Inputs ``[T, B, D]`` over which the memory does not change but at the first."""
        _, cleared = effective_boundaries(boundary, self.options)
        inputs = torch.cat([x.now, zero_feedback_where(cleared, x.feedback)], -1)
        return run_controller(self.controller, inputs, state, cleared)


class CoreState(NamedTuple):
    """The state of a controller with a memory.

    ``previous`` ``[B, D]`` is o_{t-1}, the first half of the transition that the next input completes, and
    ``has_previous`` ``[B]`` (bool) whether there is one. ``steps`` ``[B]`` are the inputs of the trial so far and
    ``held`` ``[B, R]`` is what was read last, both ``[B, 0]`` where every step reads. ``output`` ``[B, O]`` is the
    controller's last one, ``[B, 0]`` where nothing is emitted from it.
    """

    controller: State
    store: State
    previous: Tensor
    has_previous: Tensor
    steps: Tensor
    held: Tensor
    output: Tensor


class Asked(NamedTuple):
    """What a stream asks: addresses ``[T, B, Q, A]``, or ``[D, B, Q, A]`` of which each step chooses one."""

    address: Tensor
    chosen: Tensor | None


class StoreCore(ControllerCore):
    """A controller that reads a memory of completed transitions.

    What is written at t has its key from o_{t-1} and its value from (o_{t-1}, feedback_t, o_t), or it is the
    controller's cell state after (o_{t-1}, feedback_t). The query comes from o_t. What is read enters the controller's
    input through a gate that starts closed, or, with ``reinstate``, its cell (Ritter et al. 2018).
    """

    queries = 1
    """How many queries each step asks."""
    writes = 1
    """How many slots each transition writes."""

    def __init__(
        self, controller: Controller, memory: Memory, now_size: int, feedback_size: int, options: MemoryOptions
    ) -> None:
        super().__init__(controller, options)
        self.memory, self.now_size = memory, now_size
        self.lifelong = memory.store.lifelong
        self.memory_first = memory.value is not None and options.emit == "input"
        """Whether the memory is run over a whole stream before the controller: it depends on the inputs alone."""
        self.gate = nn.Parameter(torch.zeros(memory.read_size)) if options.gate and not options.reinstate else None

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
            torch.zeros(batch_size, self.queries * self.memory.read_size if holds else 0),
            torch.zeros(batch_size, self.controller.output_size if emits else 0),
        )
        return cast_like(next(self.parameters()), state)

    def _stream(self, x: CoreInput, state: CoreState, boundary: Tensor, last: bool) -> tuple[Tensor, CoreState]:
        if self.memory_first:
            return self._unroll_memory_first(x, state, boundary, last)
        starts = self._changes(effective_boundaries(boundary, self.options)[0])
        outputs = []
        for start, end in pairwise([*starts, len(boundary)]):
            y, state = self._segment(x.map(itemgetter(slice(start, end))), state, boundary[start:end])
            outputs.append(y)
        return torch.cat(outputs), state

    def consolidate(self, x: CoreInput, boundary: Tensor) -> None:
        """See :meth:`metarl.memory.contract.MemoryCore.consolidate`."""
        boundary, _ = effective_boundaries(boundary, self.options)
        mask = self.memory.store.write_mask(boundary, torch.ones_like(boundary, dtype=torch.bool))[1:]
        before, feedback = x.now[:-1], x.feedback[1:]
        content = self._content(before, feedback, x.now[1:], boundary[1:])
        for part in range(self.writes):
            self.memory.consolidate(self._key(before, feedback, part=part), content, mask)

    def _unroll_memory_first(
        self, x: CoreInput, state: CoreState, boundary: Tensor, last: bool
    ) -> tuple[Tensor, CoreState]:
        boundary, cleared = effective_boundaries(boundary, self.options)
        feedback = zero_feedback_where(cleared, x.feedback)
        before = torch.cat([state.previous[None], x.now[:-1]])
        has_previous = torch.cat([state.has_previous[None], torch.ones_like(boundary[1:], dtype=torch.bool)])
        query_mask, steps = self._query_mask(boundary, state)
        asked = self._asked(x.now, feedback)
        reads, store = self._run_memory(
            state.store,
            [self._key(before, x.feedback, part=part) for part in range(self.writes)],
            self._content(before, x.feedback, x.now, boundary),
            asked,
            reset=boundary == Boundary.TRIAL,
            write_mask=self.memory.store.write_mask(boundary, has_previous),
            query_mask=query_mask,
            last=last,
        )
        reads, held = self._hold(reads, query_mask, state.held)
        inputs, made = self._features(x._replace(feedback=feedback), reads)
        y, controller = run_controller(self.controller, inputs, state.controller, cleared)
        return self._outputs(y, made), CoreState(
            controller, store, x.now[-1], torch.ones_like(state.has_previous), steps, held, state.output
        )

    def _segment(
        self, x: CoreInput, state: CoreState, boundary: Tensor, donate: bool = False
    ) -> tuple[Tensor, CoreState]:
        """Inputs ``[T, B, D]`` of which only the first may stand at a boundary or complete a slot."""
        boundary, cleared = effective_boundaries(boundary, self.options)
        first, cleared = boundary[0], cleared[0]
        controller, output, feedback = state.controller, state.output, x.feedback
        store = state.store
        if some(wiped := first == Boundary.TRIAL):
            store = self.memory.store.reset(store, wiped, donate)
        rows = self.memory.store.write_mask(first, state.has_previous)
        if some(rows):
            before, outcome = state.previous, zero_feedback_where(~rows, x.feedback[0])
            if self.memory.value is None:
                last, _ = self._features(CoreInput(before, outcome), None)
                content = self.controller.cell(self.controller.unroll(last[None], controller)[1])
            else:
                content = self._content(before, outcome, x.now[0], first, output)
            only = None if every(rows) else rows
            for part in range(self.writes):
                key = self._key(before, outcome, output, part)
                store = self.memory.write(store, key, content, rows=only, donate=donate)
        if some(cleared):
            controller = tree.where(cleared, self.controller.initial_state(len(cleared)), controller)
            output = output.masked_fill(cleared[:, None], 0.0)
            feedback = torch.cat([zero_feedback_where(cleared[None], feedback[:1]), feedback[1:]])
        query_mask, steps = self._query_mask(boundary, state)
        address = self._query(x.now, feedback, output.expand(x.now.shape[0], -1, -1))
        reads, store = self._read(store, address, query_mask)
        reads, held = self._hold(reads, query_mask, state.held)
        inputs, made = self._features(x._replace(feedback=feedback), reads)
        y, controller = self.controller.unroll(inputs, controller, reads if self.options.reinstate else None)
        output = y[-1] if self.options.emit == "controller" else output
        state = CoreState(controller, store, x.now[-1], torch.ones_like(state.has_previous), steps, held, output)
        return self._outputs(y, made), state

    def _run_memory(
        self,
        store: State,
        keys: list[Tensor],
        content: Tensor,
        asked: Asked,
        *,
        reset: Tensor,
        write_mask: Tensor,
        query_mask: Tensor | None,
        last: bool,
    ) -> tuple[Tensor, State]:
        """All writes and reads of a stream; what is read is ``[T, B, queries * R]``."""
        address, queries, turns = keys[0], asked.address, self.writes
        if turns > 1:  # each step becomes one for each write: the first is reset, the last reads
            turn = (torch.arange(len(reset) * turns, device=reset.device) % turns)[:, None]
            read = torch.ones_like(reset) if query_mask is None else query_mask
            given = (content, queries, reset, write_mask, read)
            content, queries, reset, write_mask, read = (x.repeat_interleave(turns, 0) for x in given)
            address = torch.stack(keys, 1).flatten(0, 1)
            reset, query_mask = reset & (turn == 0), read & (turn == turns - 1)
        reads, store = self.memory.unroll(
            store,
            address,
            content,
            queries,
            reset=reset,
            write_mask=write_mask,
            query_mask=query_mask,
            chosen=asked.chosen,
            last=last,
        )
        return reads[turns - 1 :: turns].flatten(2), store

    def _read(self, store: State, address: Tensor, query_mask: Tensor | None) -> tuple[Tensor, State]:
        """Reads ``[T, B, queries * R]`` of a store that does not change meanwhile, by ``[T, B, queries, A]``."""
        if query_mask is not None and not some(query_mask):
            return address.new_zeros(*address.shape[:2], self.queries * self.memory.read_size), store
        one = None if query_mask is None else query_mask[0]
        reads, store = self.memory.read(store, address.transpose(0, 1).flatten(1, 2), one)
        return reads.unflatten(1, (-1, self.queries)).transpose(0, 1).flatten(2), store

    def _changes(self, boundary: Tensor) -> list[int]:
        """The steps at which the memory changes in any row; between them reads can be made together."""
        if self.options.emit == "controller":  # each query depends on the step before
            return list(range(len(boundary)))
        return [0, *(self.memory.store.changes_at(boundary)[1:].nonzero().flatten() + 1).tolist()]

    def _query_mask(self, boundary: Tensor, state: CoreState) -> tuple[Tensor | None, Tensor]:
        """Which rows read at which steps ``[T, B]`` (None: all at all), and the inputs of the trial so far."""
        every = self.options.read_every
        if every == 1:
            return None, state.steps
        at = torch.arange(len(boundary), device=boundary.device)[:, None]
        latest = torch.where(boundary == Boundary.TRIAL, at, -1).cummax(0).values
        step = torch.where(latest < 0, state.steps + at, at - latest)
        query_mask = step % every == 0 if isinstance(every, int) else (boundary != Boundary.INSIDE) | (step == 0)
        return query_mask, step[-1] + 1

    def _hold(self, reads: Tensor, query_mask: Tensor | None, held: Tensor) -> tuple[Tensor, Tensor]:
        """What was read last at each step ``[T, B, R]``, and at the end."""
        if query_mask is None:
            return reads, held
        at = torch.arange(len(reads), device=reads.device)[:, None]
        latest = torch.where(query_mask, at + 1, 0).cummax(0).values  # 0 is what is held from before
        known = torch.cat([held[None], reads])
        filled = known.gather(0, latest[..., None].expand_as(reads))
        return filled, filled[-1]

    def _key(self, before: Tensor, feedback: Tensor, output: Tensor | None = None, part: int = 0) -> Tensor:
        """The address of a slot, from o_{t-1} and feedback_t."""
        return self._address(before, feedback, output)

    def _content(
        self, before: Tensor, feedback: Tensor, now: Tensor, boundary: Tensor, output: Tensor | None = None
    ) -> Tensor:
        """What a slot's value is made from."""
        return torch.cat([before, feedback, now, *([] if output is None else [output])], -1)

    def _query(self, now: Tensor, feedback: Tensor, output: Tensor | None = None) -> Tensor:
        """The addresses ``[T, B, queries, A]`` that are read at each step."""
        return self._address(now, feedback, output)[..., None, :]

    def _asked(self, now: Tensor, feedback: Tensor) -> Asked:
        """The same for a whole stream."""
        return Asked(self._query(now, feedback), None)

    def _address(self, observation: Tensor, feedback: Tensor, output: Tensor | None = None) -> Tensor:
        parts = [observation, feedback] if self.options.address == "transition" else [observation]
        if self.options.emit == "controller" and output is not None:
            parts.append(output)
        return torch.cat(parts, -1) if len(parts) > 1 else observation

    def _features(self, x: CoreInput, reads: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The controller's input, and what :meth:`_outputs` needs beside its output."""
        if self.options.reinstate:
            return torch.cat([x.now, x.feedback], -1), None
        return torch.cat([x.now, x.feedback, self._gated(x.now, reads).flatten(-2)], -1), None

    def _outputs(self, y: Tensor, made: Tensor | None) -> Tensor:
        """What the core puts out, from what the controller does."""
        return y

    def _gated(self, now: Tensor, reads: Tensor | None) -> Tensor:
        """Reads ``[..., queries, R]`` as they enter the net; None is the empty read."""
        if reads is None:
            return now.new_zeros(*now.shape[:-1], self.queries, self.memory.read_size)
        reads = reads.unflatten(-1, (self.queries, -1))
        return reads if self.gate is None else reads * self.gate

"""The memory core: a controller with an episodic memory, run over a stream with boundaries.

At each input, in this order: what ends with a trial is wiped; the transition that this input completes is written;
working memory is cleared where it ends with an episode; the memory is read with the new observation; the controller
runs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metarl import tree
from metarl.memory.contract import Access, Content, Controller, MemoryCore, State
from metarl.memory.options import MemoryOptions
from metarl.memory.stores.episodic import Episodic, EpisodicState
from metarl.types import Boundary, CoreInput


class CoreState(NamedTuple):
    """The state of a controller with an episodic store."""

    controller: State
    store: EpisodicState
    previous: Tensor
    """``[B, D]`` o_{t-1}, the first half of the transition that the next input completes."""
    begun: Tensor
    """``[B]`` bool: whether there is an o_{t-1}."""


def boundaries(begin: Tensor, options: MemoryOptions) -> tuple[Tensor, Tensor]:
    """``begin`` as the core takes it, and where working memory is cleared (bool), both shaped like ``begin``."""
    if options.horizon == "episode":
        begin = torch.where(begin == Boundary.EPISODE, Boundary.TRIAL, begin)
    elif options.horizon == "step":
        begin = torch.full_like(begin, Boundary.TRIAL)
    cleared = begin == Boundary.TRIAL
    return begin, (begin != Boundary.INSIDE) if options.working_memory == "episode" else cleared


def blank(feedback: Tensor, cleared: Tensor) -> Tensor:
    """Feedback is working memory of one step: where that is cleared, it is zero."""
    return feedback.masked_fill(cleared[..., None], 0.0)


def run_cleared(controller: Controller, x: Tensor, state: State, cleared: Tensor) -> tuple[Tensor, State]:
    """Run a controller over ``x`` ``[T, B, D]``, beginning afresh in the rows ``cleared`` ``[T, B]`` says."""
    fresh = controller.initial_state(x.shape[1])
    if next(tree.leaves(fresh), None) is None:  # no state, so there is nothing to clear
        return controller.unroll(x, state)
    later = (cleared[1:].any(1).nonzero().flatten() + 1).tolist() if len(x) > 1 else []
    if 4 * len(later) > len(x):  # measured: from here on, cutting all rows at every row's beginnings costs more
        return run_apart(controller, x, state, cleared)
    outputs = []
    for start, end in pairwise([0, *later, len(x)]):
        if cleared[start].any():
            state = tree.where(cleared[start], fresh, state)
        y, state = controller.unroll(x[start:end], state)
        outputs.append(y)
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)), state


def run_apart(controller: Controller, x: Tensor, state: State, cleared: Tensor) -> tuple[Tensor, State]:
    """As :func:`run_cleared`, with every row cut at its own beginnings alone.

    The sequences between beginnings run side by side, in parts of 2^k steps by the binary digits of their lengths, the
    longest first. Parts of one length make a batch, so nothing is padded and there are at most log2 T + 1 of them.
    """
    steps, batch = cleared.shape
    begins = cleared.t().clone()
    begins[:, 0] = True
    row, first = begins.nonzero(as_tuple=True)  # of each sequence; those of a row follow one another
    place = row * steps + first
    length = place.diff(append=place.new_tensor([batch * steps]))
    goes_on = (first == 0) & ~cleared[0, row]
    states = tree.where(goes_on, tree.index(state, row), controller.initial_state(len(row)))
    flat, outputs, places = x.flatten(0, 1), [], []
    for digit in reversed(range(int(length.max()).bit_length())):
        part = (length >> digit & 1).nonzero().flatten()
        if not len(part):
            continue
        begin = first[part] + (length[part] >> digit + 1 << digit + 1)  # behind its longer parts
        at = (begin + torch.arange(1 << digit, device=x.device)[:, None]) * batch + row[part]
        inputs = flat.index_select(0, at.flatten()).unflatten(0, at.shape)
        y, ended = controller.unroll(inputs, tree.index(states, part))
        states = tree.map_tensors(lambda whole, new, part=part: whole.index_copy(0, part, new), states, ended)
        outputs.append(y.flatten(0, 1))
        places.append(at.flatten())
    order = torch.cat(places).argsort()
    last = torch.cat([row[1:] != row[:-1], row.new_ones(1, dtype=torch.bool)])
    return torch.cat(outputs).index_select(0, order).unflatten(0, (steps, batch)), tree.index(states, last)


class ControllerCore(MemoryCore):
    """A controller alone: plain RL² (Duan et al. 2016) where it is recurrent."""

    def __init__(self, controller: Controller, options: MemoryOptions) -> None:
        super().__init__()
        self.controller, self.options = controller, options
        self.output_size = controller.output_size

    def initial_state(self, batch_size: int) -> State:
        """See :meth:`metarl.memory.contract.MemoryCore.initial_state`."""
        return self.controller.initial_state(batch_size)

    def forward(self, x: CoreInput, state: State, begin: Tensor, *, donate: bool = False) -> tuple[Tensor, State]:
        """See :meth:`metarl.memory.contract.MemoryCore.forward`."""
        y, state = self.unroll(CoreInput(x.now[None], x.feedback[None]), state, begin[None])
        return y[0], state

    def unroll(self, x: CoreInput, state: State, begin: Tensor) -> tuple[Tensor, State]:
        """See :meth:`metarl.memory.contract.MemoryCore.unroll`."""
        _, cleared = boundaries(begin, self.options)
        inputs = torch.cat([x.now, blank(x.feedback, cleared)], -1)
        return run_cleared(self.controller, inputs, state, cleared)


class EpisodicCore(MemoryCore):
    """A controller that reads an episodic store of completed transitions.

    A slot's key comes from o_{t-1}; its value from (o_{t-1}, feedback_t, o_t), or it is the controller's cell state
    after (o_{t-1}, feedback_t). The query comes from o_t. What is read enters the controller's input through a gate
    that starts closed, or, with ``reinstate``, its cell (Ritter et al. 2018).
    """

    def __init__(
        self,
        controller: Controller,
        store: Episodic,
        access: Access,
        now_size: int,
        feedback_size: int,
        options: MemoryOptions,
    ) -> None:
        super().__init__()
        self.controller, self.store, self.access, self.options = controller, store, access, options
        self.output_size = controller.output_size
        self.now_size = now_size
        address_size = now_size + (feedback_size if options.address == "transition" else 0)
        self.key = nn.Linear(address_size, store.key_size)
        self.query = None if options.shared_key else nn.Linear(address_size, store.key_size)
        holds_transition = store.options.holds == "transition"
        self.value = nn.Linear(2 * now_size + feedback_size, store.value_size) if holds_transition else None
        self.gate = nn.Parameter(torch.zeros(store.value_size)) if options.gate and not options.reinstate else None

    def initial_state(self, batch_size: int) -> CoreState:
        """See :meth:`metarl.memory.contract.MemoryCore.initial_state`."""
        return CoreState(
            self.controller.initial_state(batch_size),
            self.store.initial_state(batch_size),
            torch.zeros(batch_size, self.now_size),
            torch.zeros(batch_size, dtype=torch.bool),
        )

    def forward(
        self, x: CoreInput, state: CoreState, begin: Tensor, *, donate: bool = False
    ) -> tuple[Tensor, CoreState]:
        """See :meth:`metarl.memory.contract.MemoryCore.forward`."""
        y, state = self._segment(CoreInput(x.now[None], x.feedback[None]), state, begin, donate)
        return y[0], state

    def unroll(self, x: CoreInput, state: CoreState, begin: Tensor) -> tuple[Tensor, CoreState]:
        """See :meth:`metarl.memory.contract.MemoryCore.unroll`; parallel over time where the store allows it."""
        if self.store.parallel:
            return self._parallel(x, state, begin)
        begin, _ = boundaries(begin, self.options)
        cuts = self._changes(begin)
        outputs = []
        for start, end in zip(cuts, [*cuts[1:], begin.shape[0]], strict=True):
            part = CoreInput(x.now[start:end], x.feedback[start:end])
            y, state = self._segment(part, state, begin[start])
            outputs.append(y)
        return torch.cat(outputs), state

    def _changes(self, begin: Tensor) -> list[int]:
        """The steps at which the store changes in any row; between them reads can be made together."""
        options = self.store.options
        if options.write == "step" or options.replace == "least_used":
            return list(range(begin.shape[0]))
        later = (begin[1:] != Boundary.INSIDE).any(1).nonzero().flatten() + 1
        return [0, *later.tolist()]

    def _key(self, before: Tensor, feedback: Tensor) -> Tensor:
        """The key of a completed transition, from o_{t-1} and feedback_t."""
        return self.access.prepare(self.key(self._address(before, feedback)))

    def _query(self, now: Tensor, feedback: Tensor) -> Tensor:
        """What the present asks, from o_t and feedback_t."""
        return self.access.prepare((self.key if self.query is None else self.query)(self._address(now, feedback)))

    def _address(self, observation: Tensor, feedback: Tensor) -> Tensor:
        return torch.cat([observation, feedback], -1) if self.options.address == "transition" else observation

    def _inputs(self, now: Tensor, feedback: Tensor, read: Tensor | None) -> Tensor:
        if self.options.reinstate:
            return torch.cat([now, feedback], -1)
        if read is None:
            read = now.new_zeros(*now.shape[:-1], self.store.value_size)
        return torch.cat([now, feedback, read if self.gate is None else read * self.gate], -1)

    def _writes(self, begin: Tensor, begun: Tensor) -> Tensor:
        if self.store.options.write == "episode":
            return begun & (begin == Boundary.EPISODE)
        return begun & (begin != Boundary.TRIAL)

    def _segment(self, x: CoreInput, state: CoreState, begin: Tensor, donate: bool = False) -> tuple[Tensor, CoreState]:
        """Inputs ``[T, B, D]`` of which only the first may stand at a boundary ``begin`` ``[B]`` or complete a slot."""
        begin, cleared = boundaries(begin, self.options)
        controller, store = state.controller, self.store.reset(state.store, begin == Boundary.TRIAL, donate)
        rows = self._writes(begin, state.begun)
        if rows.any():
            if self.value is None:
                closing = self._inputs(state.previous, x.feedback[0], None)
                value = self.controller.cell(self.controller.unroll(closing[None], controller)[1])
            else:
                value = self.value(torch.cat([state.previous, x.feedback[0], x.now[0]], -1))
            store = self.store.write(store, self._key(state.previous, x.feedback[0]), value, rows=rows, donate=donate)
        feedback = x.feedback
        if cleared.any():
            controller = tree.where(cleared, self.controller.initial_state(len(cleared)), controller)
            feedback = torch.cat([blank(feedback[:1], cleared[None]), feedback[1:]])
        read = self.access(self._query(x.now, feedback).transpose(0, 1), self.store.content(store))
        store = self.store.note_read(store, read)
        value = read.value.transpose(0, 1)
        inputs = self._inputs(x.now, feedback, value)
        y, controller = self.controller.unroll(inputs, controller, value if self.options.reinstate else None)
        return y, CoreState(controller, store, x.now[-1], torch.ones_like(state.begun))

    def _parallel(self, x: CoreInput, state: CoreState, begin: Tensor) -> tuple[Tensor, CoreState]:
        """All steps at once: a read of step t sees the slots of its own trial that were written up to t."""
        begin, cleared = boundaries(begin, self.options)
        feedback = blank(x.feedback, cleared)
        read, store = self._read_all(x, self._query(x.now, feedback).transpose(0, 1), state, begin)
        inputs = self._inputs(x.now, feedback, read)
        y, controller = run_cleared(self.controller, inputs, state.controller, cleared)
        return y, CoreState(controller, store, x.now[-1], torch.ones_like(state.begun))

    def _read_all(self, x: CoreInput, query: Tensor, state: CoreState, begin: Tensor) -> tuple[Tensor, EpisodicState]:
        steps, batch = begin.shape
        begun = torch.cat([state.begun[None], torch.ones_like(begin[1:], dtype=torch.bool)])
        written = self._writes(begin, begun)
        at = written.any(1).nonzero().flatten()
        before = torch.cat([state.previous[None], x.now[:-1]])
        assert self.value is not None  # a parallel store holds transitions
        keys = self._key(before[at], x.feedback[at]).transpose(0, 1)
        values = self.value(torch.cat([before[at], x.feedback[at], x.now[at]], -1)).transpose(0, 1)

        segment = (begin == Boundary.TRIAL).long().cumsum(0)
        writes = written.long().cumsum(0)
        at_trial = torch.where(begin == Boundary.TRIAL, writes, 0).cummax(0).values
        rank = writes - at_trial + torch.where(segment == 0, state.store.writes, 0)
        last = torch.where(written & (segment == segment[-1]), rank, 0)[at].t()
        start = torch.where(segment[-1] == 0, state.store.writes, 0)
        store = self.store.append(state.store, keys, values, last, start)
        if self.store.options.detach:
            keys, values = keys.detach(), values.detach()

        one_trial = bool((begin[0] == Boundary.TRIAL).all()) and not bool((begin[1:] == Boundary.TRIAL).any())
        if one_trial and bool(written[1:].all()) and self.store.capacity >= steps - 1:
            valid = torch.ones(batch, steps - 1, dtype=torch.bool, device=begin.device)
            read = self.access(query, Content(keys, values, valid), causal=True)
            return read.value.transpose(0, 1), store

        old = self.store.content(state.store)
        place = torch.arange(old.keys.shape[1], device=begin.device)
        count = state.store.writes[:, None]
        old_rank = (
            place + 1 + self.store.capacity * ((count - 1 - place).div(self.store.capacity, rounding_mode="floor"))
        )
        now_rank, now_segment = rank.t()[:, :, None], segment.t()[:, :, None]
        sees_old = (now_segment == 0) & (now_rank - old_rank[:, None] < self.store.capacity)
        sees_new = (
            written[at].t()[:, None]
            & (torch.arange(steps, device=begin.device)[:, None] >= at)
            & (segment[at].t()[:, None] == now_segment)
            & (now_rank - rank[at].t()[:, None] < self.store.capacity)
        )
        content = Content(
            torch.cat([old.keys, keys], 1),
            torch.cat([old.values, values], 1),
            torch.cat([old.valid, torch.ones_like(written[at].t())], 1),
        )
        read = self.access(query, content, torch.cat([sees_old, sees_new], 2))
        return read.value.transpose(0, 1), store

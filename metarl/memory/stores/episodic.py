"""The episodic buffer: slots that are written once and read until they are replaced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from metarl.config import ConfigError
from metarl.functional.branches import in_graph
from metarl.memory.contract import Access, Content, MemoryOps, Store, Write
from metarl.memory.ops import groups, in_rows, marks_of
from metarl.memory.reading import read_together
from metarl.memory.stores.replacing import SAME, Rule, Slots, costs_after, puts
from metarl.types import Boundary, Read

USAGE_DECAY = 0.95  # gamma of the usage weights (Santoro et al. 2016, eq. 5).


@dataclass(frozen=True)
class EpisodicOptions:
    """Options of the episodic store.

    Args:
        capacity: slots; None has room for a whole trial.
        write: when a slot is written: with every completed transition, or with the last one of each episode.
        holds: what a slot's value is: an embedding of the transition, or the controller's cell state after it.
        replace: what happens when the store is full: the ``oldest`` slot gives way, or the ``least_used`` one, which
            was read least of late; ``random``: as many of all items are held, each with the same chance;
            ``balanced``: a slot gives way whose value is held most often, the new one counted; ``nearest``: of all
            pairs of slots with equal values, the new one among them, the one that is nearest becomes one slot, which
            keeps the mean key and counts for both; where no value is held twice, any slot gives way. What is random
            depends on the number of writes alone.
        detach: write without gradient: learning then shapes how the store is read, not what is written.
        merge: transitions under equal keys share a slot, which keeps their mean value and their number. Attention reads
            the same from it, at the cost of the different keys alone.
    """

    capacity: Annotated[int, Ge(1)] | None = None
    write: Literal["step", "episode"] = "step"
    holds: Literal["transition", "state"] = "transition"
    replace: Rule = "oldest"
    detach: bool = False
    merge: bool = False


class EpisodicState(NamedTuple):
    """Slots of every row; those not yet written hold what was there before and are not valid.

    Keys ``[B, N, K]``, values ``[B, N, V]``, the number of writes ``[B]`` since the trial began (of slots, where equal
    keys are merged), the usage ``[B, N]``: how much each slot was read of late, ``counts`` ``[B, N]``: for how many
    transitions a slot stands, and ``marks`` ``[B, N]``: a number made of its key, by which an equal one is found;
    ``costs`` ``[B, N]``: of merging a slot (:class:`metarl.memory.stores.replacing.Slots`). The last four are
    ``[B, 0]`` where they aren't needed.
    """

    keys: Tensor
    values: Tensor
    writes: Tensor
    usage: Tensor
    counts: Tensor
    marks: Tensor
    costs: Tensor


class Episodic(Store):
    """A buffer of ``capacity`` slots per row, each written at once as a whole."""

    repeats = True

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: EpisodicOptions) -> None:
        super().__init__()
        capacity = options.capacity or trial_steps
        if capacity is None:
            raise ConfigError(
                key="memory.store_options.capacity",
                expected="a number of slots, as the length of a trial is not known",
            )
        for name in ("capacity", "replace", "write") if options.merge else ():  # no merged slot ever gives way
            if (given := getattr(options, name)) != (plain := getattr(EpisodicOptions, name)):
                expected = f"{plain}, or merge = false"
                raise ConfigError(key=f"memory.store_options.{name}", given=given, expected=expected)
        self.key_size, self.value_size, self.capacity = key_size, value_size, capacity
        self.options = replace(options, capacity=capacity)
        self.counted = options.merge or options.replace == "nearest"
        """Whether a slot may stand for several transitions."""
        self.parallel = options.replace == "oldest" and options.holds == "transition"  # so each step's sight is known

    def write_mask(self, boundary: Tensor, has_previous: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.write_mask`: each transition, or the last one of each episode."""
        if self.writable and self.options.write == "episode":
            return has_previous & (boundary == Boundary.EPISODE)
        return super().write_mask(boundary, has_previous)

    def changes_at(self, boundary: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.changes_at`: at boundaries, if written there and never by reading."""
        if not self.notes_reads and self.options.write == "episode":
            return (boundary != Boundary.INSIDE).any(1)
        return super().changes_at(boundary)

    def initial_state(self, batch_size: int) -> EpisodicState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        used = self.capacity if self.options.replace == "least_used" else 0
        return EpisodicState(
            torch.zeros(batch_size, self.capacity, self.key_size),
            torch.zeros(batch_size, self.capacity, self.value_size),
            torch.zeros(batch_size, dtype=torch.long),
            torch.zeros(batch_size, used),
            torch.zeros(batch_size, self.capacity if self.counted else 0),
            torch.zeros(batch_size, self.capacity if self.options.merge else 0),
            torch.zeros(batch_size, self.capacity if self.options.replace == "nearest" else 0),
        )

    def reset(self, state: EpisodicState, rows: Tensor, donate: bool = False) -> EpisodicState:
        """See :meth:`metarl.memory.contract.Store.reset`: old slots are no longer valid, so nothing need be erased."""
        usage = state.usage.masked_fill(rows[:, None], 0.0)
        return state._replace(writes=state.writes.masked_fill(rows, 0), usage=usage)

    def write(self, state: EpisodicState, item: Write, donate: bool = False) -> EpisodicState:
        """See :meth:`metarl.memory.contract.Store.write`."""
        rows = item.rows
        if rows is not None and in_graph():  # which has no room for some rows only
            return in_rows(rows, self.write(state, item._replace(rows=None)), state)
        key, value = self._detached(item.key, item.value)
        batch = torch.arange(key.shape[0], device=key.device)
        if rows is not None:
            batch, key, value = batch[rows], key[rows], value[rows]
        if self.options.replace not in ("oldest", "least_used"):
            return self._ruled(state, batch, key, value, donate)
        slot, usage = state.writes % self.capacity, state.usage
        if self.options.replace == "least_used":
            slot = torch.where(state.writes < self.capacity, state.writes, usage.argmin(1))
            usage = usage.index_put((batch, slot[batch]), usage.new_ones(()))
        slot = slot[batch]
        put = Tensor.index_put_ if donate else Tensor.index_put
        added, counts, marks = 1 if rows is None else rows.long(), state.counts, state.marks
        if self.options.merge:
            mark = marks_of(key.detach())[..., 0]
            known, at = self._find(state, batch, key, mark)
            slot = torch.where(known, at, slot)
            number = torch.where(known, counts[batch, slot], 0.0) + 1
            value = value + ((number - 1) / number)[:, None] * (state.values[batch, slot] - value)
            counts, marks = put(counts, (batch, slot), number), put(marks, (batch, slot), mark)
            added = torch.zeros_like(state.writes).index_put((batch,), (~known).long())
        keys, values = put(state.keys, (batch, slot), key), put(state.values, (batch, slot), value)
        return EpisodicState(keys, values, state.writes + added, usage, counts, marks, state.costs)

    def _ruled(self, state: EpisodicState, batch: Tensor, key: Tensor, value: Tensor, donate: bool) -> EpisodicState:
        """The state after a write to the rows ``batch`` ``[M]`` by :mod:`metarl.memory.stores.replacing`."""
        put = Tensor.index_put_ if donate else Tensor.index_put
        slots, seen = Slots(state.keys, state.values, state.counts, state.costs), state.writes[batch]
        done = puts(self.options.replace, slots, batch, key, value, seen)
        for one in done:
            at = (batch, one.slot)
            slots = slots._replace(keys=put(slots.keys, at, one.key), values=put(slots.values, at, one.value))
            slots = slots._replace(counts=put(slots.counts, at, one.number)) if self.counted else slots
        costs = costs_after(slots, batch, done, seen + 1) if self.counted else state.costs
        writes = state.writes.index_put((batch,), seen + 1)
        return EpisodicState(slots.keys, slots.values, writes, state.usage, slots.counts, state.marks, costs)

    def _find(self, state: EpisodicState, batch: Tensor, key: Tensor, mark: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each of the rows ``batch`` ``[M]`` has a slot with its key ``[M, K]``, and which."""
        used = self._used(state)
        if not used:
            return torch.zeros_like(batch, dtype=torch.bool), torch.zeros_like(batch)
        valid = torch.arange(used, device=key.device) < state.writes[batch, None]
        near = (state.marks[batch, :used] - mark[:, None]).abs().masked_fill(~valid, torch.inf).argmin(1)
        found = state.keys[batch, near].detach()
        same = ((found - key.detach()).abs() <= SAME * (1 + found.abs())).all(-1)
        return same & (state.writes[batch] > 0), near

    def write_all(self, state: EpisodicState, items: Write) -> EpisodicState:
        """See :meth:`metarl.memory.contract.Store.write_all`."""
        if self.options.replace != "oldest" or self.options.merge:
            return super().write_all(state, items)
        key, value, _, rows = items
        written = torch.ones(key.shape[:2], dtype=torch.bool, device=key.device) if rows is None else rows
        rank = torch.where(written, written.long().cumsum(0) + state.writes, 0).t()
        keys, values = self._detached(key.transpose(0, 1), value.transpose(0, 1))
        return self._append(state, keys, values, rank, state.writes)

    def unroll(self, state: EpisodicState, ops: MemoryOps, access: Access | None) -> tuple[Tensor, EpisodicState]:
        """See :meth:`metarl.memory.contract.Store.unroll`.

        A read sees the slots of its own trial that were written up to its step, and of these the last ``capacity``.
        """
        if access is None or not self.parallel:
            return super().unroll(state, ops.spread(), access)
        starts = ops.reset.any(1).nonzero().flatten().tolist()
        if ops.chosen is not None and len(starts) > 1 and starts[0] == 0 and bool(ops.reset[starts].all()):
            of_trials = []  # trials that begin together are run one by one, each with sums of its own
            for start, end in pairwise([*starts, len(ops.reset)]):
                read, state = self.unroll(state, ops.between(start, end), access)
                of_trials.append(read)
            return torch.cat(of_trials), state
        keys, values = self._detached(ops.key.transpose(0, 1), ops.value.transpose(0, 1))
        steps, batch = ops.reset.shape
        one_trial = bool(ops.reset[0].all()) and not bool(ops.reset[1:].any()) and bool(ops.write_mask[1:].all())
        if one_trial and len(ops.query_steps) == steps and self.capacity >= steps - 1:
            after = self._filled(state, keys, values) if ops.last else state
            slots = Content(keys, values, torch.ones(batch, steps - 1, dtype=torch.bool, device=keys.device))
            if ops.chosen is not None and self.learned() is None:
                reads = access.running(ops.query, slots, ops.chosen)
                if reads is not None:
                    return reads, after
            if ops.chosen is None and ops.query.shape[2] == 1:
                return read_together(self, access, ops, slots, None, causal=True), after
            if not access.leads:
                before = torch.ones(steps, steps - 1, dtype=torch.bool, device=keys.device).tril(-1)
                return read_together(self, access, ops.spread(), slots, before.expand(batch, -1, -1)), after
        if self.options.merge or access.leads:
            return super().unroll(state, ops.spread(), access)
        ops = ops.spread()
        after, slots, mask = self._masked(state, ops, keys, values)
        return read_together(self, access, ops, slots, mask), after

    def _masked(
        self, state: EpisodicState, ops: MemoryOps, keys: Tensor, values: Tensor
    ) -> tuple[EpisodicState, Content, Tensor]:
        """The last state; old and new slots side by side; and which of them each step sees, ``[B, R, N]``."""
        at, when, written = ops.write_steps, ops.query_steps, ops.write_mask
        segment = ops.reset.long().cumsum(0)
        writes = written.long().cumsum(0)
        at_trial = torch.where(ops.reset, writes - written.long(), 0).cummax(0).values
        rank = writes - at_trial + torch.where(segment == 0, state.writes, 0)
        last = torch.where(written & (segment == segment[-1]), rank, 0)[at].t()
        start = torch.where(segment[-1] == 0, state.writes, 0)
        after = self._append(state, keys, values, last, start)
        old = self.content(state)
        place = torch.arange(old.keys.shape[1], device=keys.device)
        count = state.writes[:, None]
        old_rank = place + 1 + self.capacity * ((count - 1 - place).div(self.capacity, rounding_mode="floor"))
        now_rank, now_segment = rank[when].t()[:, :, None], segment[when].t()[:, :, None]
        sees_old = (now_segment == 0) & (now_rank - old_rank[:, None] < self.capacity)
        sees_new = (
            written[at].t()[:, None]
            & (when[:, None] >= at)
            & (segment[at].t()[:, None] == now_segment)
            & (now_rank - rank[at].t()[:, None] < self.capacity)
        )
        slots = Content(
            torch.cat([old.keys, keys], 1),
            torch.cat([old.values, values], 1),
            torch.cat([old.valid, torch.ones_like(written[at].t())], 1),
        )
        return after, slots, torch.cat([sees_old, sees_new], 2)

    def content(self, state: EpisodicState) -> Content:
        """The written slots, as few as hold those of the fullest row."""
        used = self._used(state)
        valid = torch.arange(used, device=state.writes.device) < state.writes[:, None]
        counts = state.counts[:, :used] if self.counted else None
        return Content(state.keys[:, :used], state.values[:, :used], valid, counts=counts)

    def _used(self, state: EpisodicState) -> int:
        """How many slots hold those of the fullest row."""
        if in_graph():
            return self.capacity
        return min(int(state.writes.max()), self.capacity) if state.writes.numel() else 0

    @property
    def notes_reads(self) -> bool:
        """See :attr:`metarl.memory.contract.Store.notes_reads`."""
        return self.options.replace == "least_used"

    def note_read(self, state: EpisodicState, read: Read) -> EpisodicState:
        """Usage u_t = gamma u_{t-1} + w_r (Santoro et al. 2016, eq. 5); a write adds its own one."""
        if not self.notes_reads:
            return state
        if read.log_weights is None:
            raise ValueError("replace = 'least_used' needs an access that returns its weights")
        weights = read.log_weights.detach().exp().sum(1)
        grown = torch.nn.functional.pad(weights, (0, self.capacity - weights.shape[1]))
        return state._replace(usage=USAGE_DECAY * state.usage + grown)

    def _detached(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return (keys.detach(), values.detach()) if self.options.detach else (keys, values)

    def _filled(self, state: EpisodicState, keys: Tensor, values: Tensor) -> EpisodicState:
        """The state after a trial that began afresh and wrote ``keys`` ``[B, N, K]`` and ``values``, N <= capacity."""
        if self.options.merge:
            keys, values, counts, writes = merged(keys, values)
            room = self.capacity - keys.shape[1]
            marks = F.pad(marks_of(keys.detach())[..., 0], (0, room))
            keys, values = F.pad(keys, (0, 0, 0, room)), F.pad(values, (0, 0, 0, room))
            return EpisodicState(keys, values, writes, state.usage, F.pad(counts, (0, room)), marks, state.costs)
        count = keys.shape[1]
        return state._replace(
            keys=torch.cat([keys, state.keys[:, count:]], 1),
            values=torch.cat([values, state.values[:, count:]], 1),
            writes=torch.full_like(state.writes, count),
        )

    def _append(self, state: EpisodicState, keys: Tensor, values: Tensor, rank: Tensor, start: Tensor) -> EpisodicState:
        """The state after many writes, equal to writing slot by slot.

        Args:
            state: before them.
            keys: ``[B, N, K]`` new slots in the order of writing.
            values: ``[B, N, V]``
            rank: ``[B, N]`` how many slots of the current trial the row has written with this one, counted from the
                trial's beginning; 0 where it wrote none or where the slot belongs to a trial that has ended.
            start: ``[B]`` writes that still counted before them (0 where a trial began since).
        """
        writes = torch.maximum(rank.amax(1), start) if rank.shape[1] else start
        kept = (rank > 0) & (rank > writes[:, None] - self.capacity)
        batch, slot = kept.nonzero(as_tuple=True)
        place = (rank[batch, slot] - 1) % self.capacity
        return state._replace(
            keys=state.keys.index_put((batch, place), keys[batch, slot]),
            values=state.values.index_put((batch, place), values[batch, slot]),
            writes=writes,
        )


def merged(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Slots ``[B, N, ...]`` with one for each key, in the order in which keys came first.

    Returns:
        Keys ``[B, M, K]``, means of values ``[B, M, V]``, counts ``[B, M]``, and how many of the ``M`` each row has.
    """
    first, chosen = groups(keys.transpose(0, 1), SAME)
    counts = values.new_zeros(len(keys), len(first)).scatter_add(1, chosen.t(), torch.ones_like(values[..., 0]))
    sums = values.new_zeros(len(keys), len(first), values.shape[-1])
    sums = sums.scatter_add(1, chosen.t()[..., None].expand_as(values), values)
    rows = torch.arange(len(keys), device=keys.device)[:, None]
    return keys[rows, first.t()], sums / counts.clamp_min(1)[..., None], counts, (counts > 0).sum(1)

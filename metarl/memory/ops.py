"""What travels between the parts of a memory: states, slots, and what is done along a stream."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metarl import tree
from metarl.functional.branches import in_graph

State = Any  # a nested NamedTuple of tensors with the batch first in every leaf


class Content(NamedTuple):
    """What a store shows to an access: slots with keys ``[B, N, K]`` and values ``[B, N, V]``.

    Those that have been written are ``valid`` ``[B, N]`` (bool). ``learned`` are keys ``[L, K]`` and values ``[L, V]``
    that all rows have before these slots, where they are kept separate. Where a slot stands for several, ``counts``
    ``[B, N]`` says for how many.
    """

    keys: Tensor
    values: Tensor
    valid: Tensor
    learned: tuple[Tensor, Tensor] | None = None
    counts: Tensor | None = None


class Query(NamedTuple):
    """What an access is asked: ``Q`` queries side by side, and which slots each of them may see.

    Args:
        key: ``[B, Q, K]``, which has gone through the ``prepare`` of the access.
        mask: ``[B, Q, N]`` bool: which slots each query may see; None: all that are valid.
        control: ``[B, Q, control_size]`` of the access.
        causal: stands for the mask in which the last query sees every slot and each query before it one slot less,
            counted from the end (query i sees slots j with j <= i + N - Q), without building it.
    """

    key: Tensor
    mask: Tensor | None = None
    control: Tensor | None = None
    causal: bool = False


class Write(NamedTuple):
    """One write per row, or ``S`` of them with a first axis ``[S, ...]`` in every part.

    Key ``[B, K]``, value ``[B, V]``, the store's control ``[B, control_size]``, and the rows ``[B]`` (bool) that are
    written, None: all.
    """

    key: Tensor
    value: Tensor
    control: Tensor | None = None
    rows: Tensor | None = None


class MemoryOps(NamedTuple):
    """What is done to a store along a stream: at each step first reset, then write, then read.

    Where a parallel store is read by an access, keys and queries are given for the steps alone at which some row writes
    or reads; everywhere else for all steps, so that ``write_steps`` and ``query_steps`` are ``0 .. T-1``.

    The masks ``[T, B]`` (bool) are the rows that are emptied, written and read; all are read where ``query_mask`` is
    None, and what is read in other rows is never used. The steps ``[W]`` and ``[R]`` are in order, and what belongs to
    them is keys ``[W, B, K]``, values ``[W, B, V]``, write controls ``[W, B, control_size]``, queries ``[R, B, Q, K]``
    and read controls ``[R, B, Q, read_control_size]``.

    Only stores with ``repeats`` are given ``chosen`` ``[R, B]``: which of D queries ``[D, B, Q, K]`` each step asks.
    Without ``last`` a store need not make its last state.
    """

    reset: Tensor
    write_mask: Tensor
    query_mask: Tensor | None
    write_steps: Tensor
    key: Tensor
    value: Tensor
    write_control: Tensor | None
    query_steps: Tensor
    query: Tensor
    read_control: Tensor | None
    chosen: Tensor | None = None
    last: bool = True

    def between(self, start: int, end: int) -> MemoryOps:
        """What is done in the steps from ``start`` to before ``end``."""
        write = slice(*_range(self.write_steps, start, end))
        read = slice(*_range(self.query_steps, start, end))
        asked = read if self.chosen is None else slice(None)
        parts = (self.reset, self.write_mask, self.query_mask)
        reset, write_mask, query_mask = (None if part is None else part[start:end] for part in parts)
        assert reset is not None
        assert write_mask is not None
        return MemoryOps(
            reset,
            write_mask,
            query_mask,
            self.write_steps[write] - start,
            self.key[write],
            self.value[write],
            None if self.write_control is None else self.write_control[write],
            self.query_steps[read] - start,
            self.query[asked],
            None if self.read_control is None else self.read_control[asked],
            None if self.chosen is None else self.chosen[read],
            self.last,
        )

    def spread(self) -> MemoryOps:
        """The same with a query of its own for each step."""
        if self.chosen is None:
            return self
        at, rows = self.chosen, torch.arange(self.chosen.shape[1], device=self.chosen.device)
        control = None if self.read_control is None else self.read_control[at, rows]
        return self._replace(query=self.query[at, rows], read_control=control, chosen=None)


def _range(steps: Tensor, start: int, end: int) -> tuple[int, int]:
    """Which of ``steps``, in order, lie between."""
    first, last = torch.searchsorted(steps, torch.tensor([start, end], device=steps.device)).tolist()
    return first, last


def visible(query: Query, content: Content) -> Tensor:
    """``[B, Q, N]`` bool: which slots each query sees, given the arguments of an access."""
    queries, slots = query.key.shape[1], content.keys.shape[1]
    seen = content.valid[:, None, :].expand(-1, queries, -1)
    if query.causal:
        seen = seen & torch.ones(queries, slots, dtype=torch.bool, device=seen.device).tril(slots - queries)
    return seen if query.mask is None else seen & query.mask


def with_learned(learned: tuple[Tensor, Tensor] | None, slots: Content, separate: bool = False) -> Content:
    """The slots that an access sees: those that are parameters, if there are any, and then the others.

    Args:
        learned: keys ``[L, K]``, prepared, and values ``[L, V]``.
        slots: all other slots, ``[B, N, ...]``.
        separate: keep the learned ones apart in ``Content.learned`` instead of copying them to every row.
    """
    if learned is None:
        return slots
    if separate:
        return slots._replace(learned=learned)
    keys, values = learned
    batch = len(slots.keys)
    return Content(
        torch.cat([keys.expand(batch, -1, -1), slots.keys], 1),
        torch.cat([values.expand(batch, -1, -1), slots.values], 1),
        F.pad(slots.valid, (len(keys), 0), value=True),
        counts=None if slots.counts is None else F.pad(slots.counts, (len(keys), 0), value=1.0),
    )


def only_rows(rows: Tensor | None, x: Tensor) -> Tensor:
    """``x`` ``[..., D]`` with zeros outside of ``rows`` ``[...]`` (bool; None: all).

    Whatever stands there, also NaN, has no gradient.
    """
    return x if rows is None else x.masked_fill(~rows[..., None], 0.0)


def in_rows(rows: Tensor | None, new: State, old: State) -> State:
    """One state or another, row by row.

    Args:
        rows: ``[B]`` bool: where it is ``new``; None: everywhere.
        new: leaves ``[B, ...]``.
        old: leaves ``[B, ...]``.
    """
    return new if rows is None else tree.where(rows, new, old)


def by_step(*parts: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """The parts ``[T, ...]`` (or None) at each step.

    They are unbound once: the gradient of ``x[t]`` would fill all of ``x`` at each step.
    """
    return zip(*(repeat(None) if part is None else part.unbind(0) for part in parts), strict=False)


def marks_of(x: Tensor) -> Tensor:
    """Two numbers for each vector: ``[..., D]`` to ``[..., 2]``, equal where all of it is, and hardly anywhere else."""
    along = torch.linspace(1.0, 2.0, x.shape[-1], dtype=x.dtype, device=x.device)
    return x @ torch.stack([along.sin(), (7 * along).cos()], 1)


def groups(x: Tensor, tolerance: float = 0.0) -> tuple[Tensor, Tensor]:
    """What repeats along a stream, row by row.

    Args:
        x: ``[T, B, D]``
        tolerance: by how much equals may differ.

    Returns:
        ``first`` ``[M, B]``, the steps at which each row shows something new, in order, filled up with 0; and
        ``chosen`` ``[T, B]``: the place in ``first`` of what each step shows.
    """
    steps, batch, _ = x.shape
    if in_graph():  # how many are different is not known: each stands for itself
        each = torch.arange(steps, device=x.device)[:, None].expand(-1, batch)
        return each, each
    if steps and torch.equal(x, x[:1].expand_as(x)):
        same = torch.zeros(steps, batch, dtype=torch.long, device=x.device)
        return same[:1], same
    marks = marks_of(x.detach().double())
    order = marks[..., 0].sort(dim=0, stable=True).indices
    starts = torch.ones_like(order, dtype=torch.bool)
    starts[1:] = (marks.gather(0, order[..., None].expand_as(marks)).diff(dim=0).abs() > tolerance).any(-1)
    at = torch.arange(steps, device=x.device)[:, None].expand_as(order)
    leader = order.gather(0, torch.where(starts, at, 0).cummax(0).values)  # the sort is stable: the first of its group
    leader = torch.zeros_like(order).scatter(0, order, leader)
    new = leader == at
    chosen = (new.long().cumsum(0) - 1).gather(0, leader)
    first = order.new_zeros(int(new.sum(0).max()) if steps else 0, batch)
    step, row = new.nonzero(as_tuple=True)
    return first.index_put((chosen[step, row], row), step), chosen

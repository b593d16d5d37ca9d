"""Reading a buffer of slots along a whole sequence at once: which slots each step sees is known beforehand."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.memory.contract import Access, Content, Store
from metarl.memory.stores.episodic import Episodic, EpisodicState


class Course(NamedTuple):
    """What a memory is told along a sequence; at each step first reset, then write, then read."""

    reset: Tensor
    """``[T, B]`` bool: rows that are emptied."""
    written: Tensor
    """``[T, B]`` bool: rows in which something is written."""
    place: Tensor
    """``[T, B, A]`` the address under which it is written."""
    item: Tensor
    """``[T, B, I]`` what is written."""
    reading: Tensor | None
    """``[T, B]`` bool: rows that are read; None: all."""
    address: Tensor
    """``[T, B, A]`` the address that is asked for."""


Written = tuple[Tensor, Tensor, Tensor]
"""The steps ``[W]`` at which some row is written, keys ``[W, B, K]`` and values ``[W, B, V]``."""
Asked = tuple[Tensor | None, Tensor, Tensor | None]
"""The steps ``[Q]`` at which some row reads (None: all), queries ``[Q, B, K]`` and controls ``[Q, B, C]``."""


def read_slots(
    store: Episodic, access: Access, state: EpisodicState, course: Course, new: Written, asked: Asked
) -> tuple[Tensor, EpisodicState]:
    """What is read at the asked steps ``[Q, B, V]``, and the last state; equal to stepping.

    A read sees the slots of its own trial that were written up to its step, and of these the last ``capacity``.
    """
    at, keys, values = new[0], new[1].transpose(0, 1), new[2].transpose(0, 1)
    when, query = asked[0], asked[1].transpose(0, 1)
    control = None if asked[2] is None else asked[2].transpose(0, 1)
    steps, batch = course.reset.shape
    one_trial = bool(course.reset[0].all()) and not bool(course.reset[1:].any())
    if one_trial and when is None and bool(course.written[1:].all()) and store.capacity >= steps - 1:
        after = store.filled(state, keys, values)
        if store.options.detach:
            keys, values = keys.detach(), values.detach()
        valid = torch.ones(batch, steps - 1, dtype=torch.bool, device=query.device)
        read = access(query, with_learned(store, access, Content(keys, values, valid)), None, control, causal=True)
        return read.value.transpose(0, 1), after

    segment = course.reset.long().cumsum(0)
    writes = course.written.long().cumsum(0)
    at_trial = torch.where(course.reset, writes - course.written.long(), 0).cummax(0).values
    rank = writes - at_trial + torch.where(segment == 0, state.writes, 0)
    last = torch.where(course.written & (segment == segment[-1]), rank, 0)[at].t()
    start = torch.where(segment[-1] == 0, state.writes, 0)
    after = store.append(state, keys, values, last, start)
    if store.options.detach:
        keys, values = keys.detach(), values.detach()
    old = store.content(state)
    place = torch.arange(old.keys.shape[1], device=query.device)
    count = state.writes[:, None]
    old_rank = place + 1 + store.capacity * ((count - 1 - place).div(store.capacity, rounding_mode="floor"))
    now = torch.arange(steps, device=query.device) if when is None else when
    now_rank, now_segment = rank[now].t()[:, :, None], segment[now].t()[:, :, None]
    sees_old = (now_segment == 0) & (now_rank - old_rank[:, None] < store.capacity)
    sees_new = (
        course.written[at].t()[:, None]
        & (now[:, None] >= at)
        & (segment[at].t()[:, None] == now_segment)
        & (now_rank - rank[at].t()[:, None] < store.capacity)
    )
    slots = Content(
        torch.cat([old.keys, keys], 1),
        torch.cat([old.values, values], 1),
        torch.cat([old.valid, torch.ones_like(course.written[at].t())], 1),
    )
    content = with_learned(store, access, slots)
    mask = torch.cat([sees_old, sees_new], 2)
    always = content.keys.shape[1] - mask.shape[2]  # learned slots stand first
    read = access(query, content, F.pad(mask, (always, 0), value=True) if always else mask, control)
    return read.value.transpose(0, 1), after


def with_learned(store: Store, access: Access, slots: Content, apart: bool = False) -> Content:
    """``slots`` behind those that are parameters of the store, if it has any; or with these ``apart``."""
    learned = store.learned()
    if learned is None:
        return slots
    keys, values = access.prepare(learned[0]), learned[1]
    if apart:
        return slots._replace(learned=(keys, values))
    batch = len(slots.keys)
    return Content(
        torch.cat([keys.expand(batch, -1, -1), slots.keys], 1),
        torch.cat([values.expand(batch, -1, -1), slots.values], 1),
        F.pad(slots.valid, (len(keys), 0), value=True),
    )

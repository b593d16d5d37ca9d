"""What a full buffer does with a new item, where it gives up neither the oldest slot nor the least used one."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metarl.functional.branches import in_graph, some
from metarl.memory.ops import marks_of

Rule = Literal["oldest", "least_used", "random", "balanced", "nearest"]
SAME = 1e-5  # numbers of equal keys or values differ by rounding at most
NONE = 6e4  # a cost above all others, also in half precision
_STEP, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685  # splitmix64's, with a sign


class Slots(NamedTuple):
    """The slots of all rows: keys ``[B, N, K]``, values ``[B, N, V]``.

    With ``nearest`` also ``counts`` ``[B, N]``: for how many items each stands, and ``costs`` ``[B, N]``: what merging
    it with the nearest slot of the same value would add to the squared distances from means, :data:`NONE` without one.
    """

    keys: Tensor
    values: Tensor
    counts: Tensor
    costs: Tensor


class Put(NamedTuple):
    """What is put into the slots ``[M]``, one of each row: keys ``[M, K]``, values ``[M, V]``, items ``[M]``."""

    slot: Tensor
    key: Tensor
    value: Tensor
    number: Tensor


def puts(rule: Rule, slots: Slots, batch: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> list[Put]:
    """What a write changes: the first free slot, or where there is none what the rule says, one put after another.

    Args:
        rule: ``random``, ``balanced`` or ``nearest``.
        slots: before the write.
        batch: ``[M]`` the rows that write.
        key: ``[M, K]``
        value: ``[M, V]``
        seen: ``[M]`` writes of these rows before this one.
    """
    capacity, one = slots.keys.shape[1], torch.ones_like(key[:, 0])
    new, full = Put(seen.clamp_max(capacity - 1), key, value, one), seen >= capacity
    if not some(full):
        return [new]
    if rule == "nearest":
        return _joined(slots, batch, new, seen, full)
    if rule == "balanced":
        return [new._replace(slot=torch.where(full, of_the_most(slots.values[batch], value, seen), new.slot))]
    at = drawn(seen, seen + 1)  # reservoir sampling (Vitter 1985, algorithm R)
    slot, left_out = torch.where(full, at.clamp_max(capacity - 1), new.slot), (full & (at >= capacity))[:, None]
    held = Put(slot, slots.keys[batch, slot], slots.values[batch, slot], one)
    return [Put(slot, torch.where(left_out, held.key, key), torch.where(left_out, held.value, value), one)]


def drawn(count: Tensor, below: Tensor) -> Tensor:
    """Whole numbers from 0 to before ``below`` ``[M]``, spread evenly; the same for the same ``count`` ``[M]`` (int64).

    They are made from the count alone (Steele et al. 2014, splitmix64), so that a state needs no random generator, and
    the same trial leaves the same memory.
    """
    z = (count + 1) * _STEP
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return _shifted(z ^ _shifted(z, 31), 1) % below


def _shifted(z: Tensor, bits: int) -> Tensor:
    """To the right, filled up with zeros whatever the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


def of_the_most(values: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """``[M]``: one of the slots whose value most have, the new item counted (after Chrysakis & Moens 2020).

    Args:
        values: ``[M, N, V]`` of the slots.
        value: ``[M, V]`` of the new item.
        seen: ``[M]`` items before this one, from which it is drawn.
    """
    marks = marks_of(torch.cat([values, value[:, None]], 1).detach().float())[..., 0].contiguous()
    ordered, room = marks.sort(1).values, SAME * (1 + marks.abs())
    times = torch.searchsorted(ordered, marks + room, right=True) - torch.searchsorted(ordered, marks - room)
    times = times[:, :-1]
    most = times == times.amax(1, keepdim=True)
    place = drawn(seen, most.sum(1))
    return (most.long().cumsum(1) > place[:, None]).to(torch.uint8).argmax(1)


def _joined(slots: Slots, batch: Tensor, new: Put, seen: Tensor, full: Tensor) -> list[Put]:
    """Of all pairs of equal values the one whose merging adds least to the squared distances from means (Ward 1963).

    The new item is one of those that may be merged; if it isn't, it takes the slot of the second.
    """
    capacity, rows = slots.keys.shape[1], torch.arange(len(batch), device=batch.device)
    mine, there = _with_value(slots, batch, new.value, seen)
    to_new = _added(slots.keys[batch[:, None], mine], slots.counts[batch[:, None], mine], new.key, new.number, there)
    fresh, at = to_new.min(1)
    held, first = (
        slots.costs[batch].masked_fill(torch.arange(capacity, device=batch.device) >= seen[:, None], NONE).min(1)
    )
    joins = full & (fresh < NONE) & (fresh <= held)
    merges = full & ~joins & (held < NONE)

    key, value, count = slots.keys[batch, first], slots.values[batch, first], slots.counts[batch, first]
    others, there = _with_value(slots, batch, value, seen)
    there = there & (others != first[:, None])
    to_first = _added(slots.keys[batch[:, None], others], slots.counts[batch[:, None], others], key, count, there)
    second = others[rows, to_first.argmin(1)]
    one = torch.where(joins, mine[rows, at], torch.minimum(first, second))
    other = torch.maximum(first, second)

    a = slots.counts[batch, one]
    b = torch.where(joins, new.number, slots.counts[batch, other])
    there, held_key = joins | merges, slots.keys[batch, one]
    with_key = torch.where(joins[:, None], new.key, slots.keys[batch, other])
    mean = torch.where(there[:, None], held_key + (b / (a + b).clamp_min(1))[:, None] * (with_key - held_key), held_key)
    merged = Put(one, mean, slots.values[batch, one], torch.where(there, a + b, a))
    free = torch.where(merges, other, drawn(seen, torch.full_like(seen, capacity)))
    slot = torch.where(full, torch.where(joins, one, free), new.slot)
    key, count = torch.where(joins[:, None], mean, new.key), torch.where(joins, a + b, new.number)
    return [merged, Put(slot, key, new.value, count)]


def costs_after(slots: Slots, batch: Tensor, done: list[Put], seen: Tensor) -> Tensor:
    """The costs ``[B, N]`` after ``done`` was put into the slots: those of the values concerned are made anew.

    Args:
        slots: after the write, but for the costs.
        batch: ``[M]`` the rows that wrote.
        done: what :func:`puts` returned.
        seen: ``[M]`` writes of these rows, this one included.
    """
    costs = slots.costs
    for one in done:
        at, there = _with_value(slots, batch, one.value, seen)
        keys, counts = slots.keys[batch[:, None], at], slots.counts[batch[:, None], at]
        pairs = there[:, None] & there[:, :, None]
        pairs = pairs & ~torch.eye(at.shape[1], dtype=torch.bool, device=at.device)
        least = _added(keys[:, None], counts[:, None], keys[:, :, None], counts[:, :, None], pairs).amin(2)
        rows = batch[:, None].expand_as(at)
        costs = costs.index_put((rows, at), torch.where(there, least.to(costs.dtype), costs[rows, at]))
    return costs


def _added(keys: Tensor, counts: Tensor, key: Tensor, count: Tensor, there: Tensor) -> Tensor:
    """What merging adds to the squared distances from means, :data:`NONE` where not ``there`` or more than it.

    Args:
        keys: ``[M, ..., G, K]``
        counts: ``[M, ..., G]``
        key: ``[M, ..., K]``
        count: ``[M, ...]``
        there: ``[M, ..., G]``
    """
    key, count = (key[:, None], count[:, None]) if key.dim() == 2 else (key, count)
    a, b = counts.float(), count.float()
    apart = (keys.detach().float() - key.detach().float()).square().sum(-1)
    return (apart * a * b / (a + b).clamp_min(1)).clamp_max(NONE).masked_fill(~there, NONE)


def _with_value(slots: Slots, batch: Tensor, value: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The slots ``[M, G]`` of the rows ``batch`` that hold ``value`` ``[M, V]``, and which ``[M, G]`` of these do.

    G is the most that a row has, at least 1; in a graph all slots.
    """
    held, valid = (
        slots.values[batch].detach().float(),
        torch.arange(slots.keys.shape[1], device=batch.device) < seen[:, None],
    )
    value = value.detach().float()[:, None]
    same = valid & ((held - value).abs() <= SAME * (1 + value.abs())).all(-1)
    most = same.shape[1] if in_graph() else max(int(same.sum(1).max()), 1)
    there, at = same.to(torch.uint8).topk(most, dim=1)
    return at, there > 0

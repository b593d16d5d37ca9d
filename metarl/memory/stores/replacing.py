"""What a full buffer does with a new item, where it gives up neither the oldest slot nor the least used one."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metarl.functional.branches import in_graph, some
from metarl.memory.ops import marks_of

Rule = Literal["oldest", "least_used", "random", "balanced", "nearest"]
SAME = 1e-5  # numbers of equal keys or values differ by rounding at most
_STEP, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685  # splitmix64's, with a sign


class Slots(NamedTuple):
    """The slots of all rows: keys ``[B, N, K]``, values ``[B, N, V]``, counts ``[B, N]`` (``[B, 0]``: all are 1)."""

    keys: Tensor
    values: Tensor
    counts: Tensor


class Put(NamedTuple):
    """What is put into the slots ``[M]``, one of each row: keys ``[M, K]``, values ``[M, V]``, counts ``[M]``."""

    slot: Tensor
    key: Tensor
    value: Tensor
    count: Tensor


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

    The new item is the last of those that may be merged; if it isn't, it takes the slot of the second.
    """
    capacity, rows = slots.keys.shape[1], torch.arange(len(batch), device=batch.device)
    values = torch.cat([slots.values[batch], new.value[:, None]], 1).detach().float()
    counts = torch.cat([slots.counts[batch], new.count[:, None]], 1)

    def key_at(row: Tensor, at: Tensor) -> Tensor:
        held = slots.keys[batch[row], at.clamp_max(capacity - 1)]
        return torch.where((at == capacity)[:, None], new.key[row], held)

    row, first, second = _candidates(marks_of(values)[..., 0])
    a, b = counts[row, first], counts[row, second]
    apart = (key_at(row, first) - key_at(row, second)).detach().float().square().sum(-1)
    same = ((values[row, first] - values[row, second]).abs() <= SAME * (1 + values[row, first].abs())).all(-1)
    added = (apart * a * b / (a + b)).masked_fill(~same, torch.inf)
    least = added.new_full((len(rows),), torch.inf).scatter_reduce(0, row, added, "amin")
    place = torch.arange(len(row), device=row.device).masked_fill(added != least[row], len(row))
    place = place.new_full((len(rows),), len(row)).scatter_reduce(0, row, place, "amin")
    merges = full & torch.isfinite(least)
    chosen = torch.stack([torch.minimum(first, second), torch.maximum(first, second)])
    one, other = torch.cat([chosen, chosen.new_zeros(2, 1)], 1)[:, torch.where(merges, place, -1)]

    a, b = counts[rows, one], counts[rows, other]
    mean = key_at(rows, one) + (b / (a + b))[:, None] * (key_at(rows, other) - key_at(rows, one))
    into = merges & (other == capacity)  # the new item itself is merged
    here = merges[:, None]
    kept = Put(one, slots.keys[batch, one], slots.values[batch, one], counts[rows, one])
    merged = Put(one, torch.where(here, mean, kept.key), kept.value, torch.where(merges, a + b, kept.count))
    free = torch.where(merges, other.clamp_max(capacity - 1), drawn(seen, torch.full_like(seen, capacity)))
    slot = torch.where(full, torch.where(into, one, free), new.slot)
    key, count = torch.where(into[:, None], mean, new.key), torch.where(into, a + b, new.count)
    return [merged, Put(slot, key, new.value, count)]


def _candidates(marks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows ``[P]`` and pairs ``[P]``, ``[P]`` of items whose ``marks`` ``[M, N]`` are equal; all pairs in a graph."""
    rows, items = marks.shape
    if in_graph():
        one, other = torch.triu_indices(items, items, 1, device=marks.device)
        row = torch.arange(rows, device=marks.device).repeat_interleave(len(one))
        return row, one.repeat(rows), other.repeat(rows)
    order = marks.argsort(dim=1, stable=True)
    ordered = marks.gather(1, order)
    found = [torch.zeros(3, 0, dtype=torch.long, device=marks.device)]
    for apart in range(1, items):  # equals stand side by side, so only few distances have any
        low, high = ordered[:, :-apart], ordered[:, apart:]
        row, at = (high - low <= 2 * SAME * (1 + low.abs())).nonzero(as_tuple=True)
        if not len(row):
            break
        found.append(torch.stack([row, order[row, at], order[row, at + apart]]))
    row, one, other = torch.cat(found, 1)
    return row, one, other

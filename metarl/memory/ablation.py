"""The same weights with their memory taken away or misled: shows what a trained agent owes to its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from metarl.memory.contract import Access, Content, MemoryCore, Query
from metarl.memory.memory import Memory
from metarl.types import Read

Ablation = Literal["off", "shuffled", "episode", "step"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)

SAME_MARK = 1e-5  # marks of equal keys differ by rounding at most


class ShuffledKeys(Access):
    """Values stay where they are; keys are permuted among the valid slots of other contexts.

    Slots with equal keys are one context. In the order of contexts the keys move on by the size of the largest
    context, so that every slot gets the key of another one; a slot for which there is none is left unread.
    """

    def __init__(self, access: Access) -> None:
        super().__init__()
        self.access = access
        self.control_size = access.control_size

    def prepare(self, address: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Access.prepare`: as the wrapped access does."""
        return self.access.prepare(address)

    def forward(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.forward`: the wrapped access, over the permuted content."""
        if query.mask is not None or query.causal:
            raise ValueError("shuffled keys are defined for acting, where a read sees all that is valid")
        read: Read = self.access(query, shuffle_keys(content))
        return read


def shuffle_keys(content: Content) -> Content:
    """``content`` ``[B, N, ...]`` with the keys of its valid slots permuted among contexts."""
    keys, valid = content.keys, content.valid
    slots = keys.shape[1]
    if slots == 0:
        return content
    direction = torch.linspace(1.0, 2.0, keys.shape[2], dtype=torch.float64, device=keys.device).sin()
    mark = torch.where(valid, (keys.double() @ direction), torch.inf)  # one number a key: equal keys, equal marks
    ordered, order = mark.sort(dim=1, stable=True)
    starts = ordered.diff(dim=1) > SAME_MARK
    context = torch.cat([starts.new_zeros(len(keys), 1), starts], 1).long().cumsum(1)
    sizes = torch.zeros_like(context).scatter_add(1, context, valid.gather(1, order).long())
    count = valid.sum(1, keepdim=True)
    place = torch.arange(slots, device=keys.device).expand_as(order)
    source = (place + sizes.amax(1, keepdim=True)) % count.clamp(min=1)
    elsewhere = (context.gather(1, source) != context) & (place < count)
    moved = torch.zeros_like(keys).scatter(
        1, order[..., None].expand_as(keys), keys.gather(1, order.gather(1, source)[..., None].expand_as(keys))
    )
    return content._replace(keys=moved, valid=torch.zeros_like(valid).scatter(1, order, elsewhere))


@contextmanager
def ablated(core: MemoryCore, ablation: Ablation) -> Iterator[None]:
    """Run ``core`` with its memory ablated.

    ``off``: empty reads, and working memory cleared at each episode. ``shuffled``: the store's keys belong to other
    contexts. ``episode`` and ``step``: all memory is emptied at each episode, or at each step.

    Raises:
        ValueError: ``shuffled`` for a core without a store, or with one that is read by its native access.
    """
    memory: Memory | None = getattr(core, "memory", None)
    access = None if memory is None else memory.access
    if ablation == "shuffled" and access is None:
        raise ValueError("this core has no slots whose keys could be shuffled; use ablation 'off'")
    kept = core.options
    try:
        if ablation == "off":
            core.options = replace(kept, working_memory="episode")
            if memory is not None:
                memory.reads_disabled = True
        elif ablation == "shuffled" and memory is not None and access is not None:
            memory.access = ShuffledKeys(access)
        elif ablation in ("episode", "step"):
            core.options = replace(kept, horizon=ablation)
        yield
    finally:
        core.options = kept
        if memory is not None:
            memory.access, memory.reads_disabled = access, False

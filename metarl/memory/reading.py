"""All reads of a stream at once, for stores whose slots are known beforehand."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from metarl.memory.contract import Access, Store
from metarl.memory.ops import Content, MemoryOps, Query, with_learned


def read_together(
    store: Store, access: Access, ops: MemoryOps, slots: Content, mask: Tensor | None, *, causal: bool = False
) -> Tensor:
    """All reads of a stream at once, ``[R, B, Q, V]``, for the ``unroll`` of a store whose slots are known beforehand.

    Args:
        store: gives its learned slots, if it has any.
        access: reads.
        ops: queries and read controls.
        slots: all slots that any step sees, side by side.
        mask: ``[B, R, N]`` bool: which of them each step sees; None with ``causal``.
        causal: see :class:`Query`; for one query a step.
    """
    queries = ops.query.shape[2]
    query = ops.query.transpose(0, 1).flatten(1, 2)
    control = None if ops.read_control is None else ops.read_control.transpose(0, 1).flatten(1, 2)
    content = with_learned(access.learned(store), slots)
    if mask is not None:
        learned = content.keys.shape[1] - slots.keys.shape[1]  # they stand first and are always seen
        mask = mask.repeat_interleave(queries, 1) if queries > 1 else mask
        mask = F.pad(mask, (learned, 0), value=True) if learned else mask
    if not query.shape[1]:
        return query.new_zeros(0, len(query), queries, slots.values.shape[-1])
    read = access(Query(query, mask, control, causal), content)
    return read.value.unflatten(1, (-1, queries)).transpose(0, 1)

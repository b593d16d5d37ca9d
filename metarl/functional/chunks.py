"""Working through many queries a few at a time, where doing all at once would not fit in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LIMIT = 2**20
"""Numbers that one chunk may hold of its largest tensor: measured, larger ones miss the cache and take longer."""


def by_queries(
    part: Callable[..., Tensor], queried: tuple[Tensor, ...], shared: tuple[Tensor, ...], each: int
) -> Tensor:
    """``part(*queried, *shared)``, in chunks along axis 1 of ``queried`` and of the result.

    What a chunk computed inside is dropped and computed again when gradients are taken, so memory does not grow with
    the number of chunks. ``each`` is the size of the largest tensor that one query (of every row) needs.
    """
    queries = queried[0].shape[1]
    size = max(LIMIT // max(each, 1), 1)
    if size >= queries:
        return part(*queried, *shared)
    chunks = zip(*(x.split(size, 1) for x in queried), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([part(*chunk, *shared) for chunk in chunks], 1)
    run = (checkpoint(part, *c, *shared, use_reentrant=False, preserve_rng_state=False) for c in chunks)
    return torch.cat(list(run), 1)

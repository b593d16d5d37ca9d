"""Working through many queries a few at a time, where doing all at once would not fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

LIMIT = 2**20
"""Numbers that one chunk may hold of its largest tensor: measured, larger ones miss the cache and take longer."""


def by_queries(
    part: Callable[..., Tensor], queried: tuple[Tensor, ...], shared: tuple[Tensor, ...], each: int
) -> Tensor:
    """``part(*queried, *shared)``, in chunks along the axis of queries.

    What a chunk computes is dropped and computed again for its gradient, so memory does not grow with the number of
    chunks.

    Args:
        part: the function; gets every tensor that needs a gradient as an argument.
        queried: ``[B, Q, ...]``, split along ``Q``.
        shared: tensors that every chunk gets whole.
        each: numbers in the largest tensor that one query (of all rows) needs.

    Returns:
        ``[B, Q, ...]``
    """
    queries = queried[0].shape[1]
    size = max(LIMIT // max(each, 1), 1)
    if size >= queries:
        return part(*queried, *shared)
    chunks = zip(*(x.split(size, 1) for x in queried), strict=True)
    return torch.cat([_Recomputed.apply(part, *chunk, *shared) for chunk in chunks], 1)


class _Recomputed(Function):
    """A call that keeps its arguments alone, and is made again for the gradient.

    torch's own checkpoint repeats the call as soon as a gradient is taken inside it, as an inner loop does.
    """

    @staticmethod
    def forward(ctx: Any, part: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.part = part
        ctx.save_for_backward(*inputs)
        return part(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        twice = torch.is_grad_enabled()  # as it is where the gradient is to be differentiated again
        wanted = ctx.needs_input_grad[1:]
        with torch.enable_grad():
            inputs = [x.view_as(x) for x in ctx.saved_tensors]  # apart, even where one was made from another
            sources = [x for x, needed in zip(inputs, wanted, strict=True) if needed]
            found = iter(
                torch.autograd.grad(ctx.part(*inputs), sources, gradients, create_graph=twice, materialize_grads=True)
            )
        return None, *(next(found) if needed else None for needed in wanted)

"""The linear recurrence over time, a scan that all gated linear recurrent networks share.

A custom gradient: autograd through the loop would keep and visit T small graphs; here both directions are one loop over
preallocated storage, which on a CPU also beats parallel prefix sums (Blelloch 1990), which do log T times the work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

CHUNK = 48  # of all lengths tried from 16 to 128 the fastest on long sequences
WHOLE = 128  # a sequence up to this long is one chunk
PART = 16  # of all lengths tried from 6 to 50 the fastest on 100 and on 1,000 steps


def sums_before(x: Tensor) -> Tensor:
    """The sums of all that comes before each step: ``[B, T, D]`` to ``[B, T + 1, D]``, beginning with zeros.

    Products with a triangular matrix, chunk by chunk: on a CPU several times as fast as a cumulative sum.
    """
    batch, steps, width = x.shape
    size = steps if steps <= WHOLE else CHUNK
    if not steps:
        return x.new_zeros(batch, 1, width)
    below = torch.ones(size + 1, size, dtype=x.dtype, device=x.device).tril(-1)
    if size == steps:
        return below @ x
    chunks = F.pad(x, (0, 0, 0, -steps % size)).unflatten(1, (-1, size))
    within = below @ chunks  # the last of each is the sum of the chunk
    earlier = within[:, :, -1].cumsum(1) - within[:, :, -1]
    whole = (within[:, :, :-1] + earlier[:, :, None]).flatten(1, 2)
    last = (within[:, -1, -1] + earlier[:, -1])[:, None]
    return torch.cat([whole, last], 1)[:, : steps + 1]


def chosen_sums_before(weights: Tensor, values: Tensor, chosen: Tensor) -> Tensor:
    """Weighted sums of all that comes before each step, by those weights that the step chooses.

    Within a chunk each step's own weights are taken; of the chunks before, sums by all weights are kept, one a chunk.

    Args:
        weights: ``[B, T, H, D, Q]``
        values: ``[B, T, H, V]``
        chosen: ``[B, T + 1]``: which of the D each step takes.

    Returns:
        ``[B, T + 1, H, Q, V]``
    """
    steps, distinct, queries = weights.shape[1], *weights.shape[3:]
    if distinct == 1:
        every = weights[:, :, :, 0, :, None] * values[:, :, :, None]
        return sums_before(every.flatten(2)).unflatten(2, every.shape[2:])
    parts = steps // PART + 1
    more = parts * PART - steps
    values = F.pad(values, (0, 0, 0, 0, 0, more)).unflatten(1, (parts, PART)).transpose(2, 3)
    weights = F.pad(weights.flatten(3), (0, 0, 0, 0, 0, more)).unflatten(1, (parts, PART)).permute(0, 1, 3, 4, 2)
    takes = F.one_hot(F.pad(chosen, (0, more - 1)).unflatten(1, (parts, PART)), distinct).to(weights.dtype)

    def taken(x: Tensor) -> Tensor:  # [B, parts, H, D * Q, X] to [B, parts, H, PART, Q, X]
        by_choice = x.unflatten(3, (distinct, queries)).flatten(4)
        return (takes[:, :, None] @ by_choice).unflatten(4, (queries, -1))  # a product, whose gradient is one too

    sums = weights @ values
    earlier = sums_before(sums.flatten(2))[:, :-1].unflatten(2, sums.shape[2:])
    own = taken(weights) * torch.ones(PART, PART, dtype=weights.dtype, device=weights.device).tril(-1)[:, None]
    total = taken(earlier) + (own.flatten(3, 4) @ values).unflatten(3, (PART, queries))
    return total.transpose(2, 3).flatten(1, 2)[:, : steps + 1]


def linear_scan(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """h_t = a_t * h_{t-1} + b_t, elementwise, beginning with ``h0`` (Martin & Cundy 2018, eq. 6).

    Differentiable any number of times.

    Args:
        a: ``[T, B, D]``; zero where the recurrence begins afresh.
        b: ``[T, B, D]``
        h0: ``[B, D]`` what comes before the first step.

    Returns:
        h_1 ... h_T, ``[T, B, D]``.

    Raises:
        ValueError: shapes that do not fit, or no step at all.
    """
    if a.shape != b.shape or a.shape[1:] != h0.shape or not len(a):
        raise ValueError(
            f"a linear scan takes a and b of one shape [T, B, D] with T >= 1 and h0 of [B, D]; "
            f"got {list(a.shape)}, {list(b.shape)} and {list(h0.shape)}"
        )
    if len(a) == 1:
        return torch.addcmul(b, a, h0)
    return _Scan.apply(a, b, h0)


def _before(h: Tensor, h0: Tensor) -> Tensor:
    """h_{t-1} for every t."""
    return torch.cat([h0[None], h[:-1]])


class _Scan(Function):
    """The recurrence."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        h = torch.empty_like(b, memory_format=torch.contiguous_format)
        last = h0
        for a_t, b_t, h_t in zip(a.unbind(), b.unbind(), h.unbind(), strict=True):
            last = torch.addcmul(b_t, a_t, last, out=h_t)
        return h

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output, inputs[2])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        return _Scan.apply(*_batch_last(info, in_dims, inputs)), -1

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _ScanGradient.apply(*ctx.saved_tensors, *grads)


class _ScanGradient(Function):
    """The same recurrence run backwards: g_t = dh_t + a_{t+1} * g_{t+1}; da = g * h_{t-1}, db = g, dh0 = a_1 * g_1."""

    @staticmethod
    def forward(a: Tensor, h: Tensor, h0: Tensor, dh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        g, da = torch.empty_like(h), torch.empty_like(h)
        a_t, dh_t, h_t, g_t, da_t = (x.unbind() for x in (a, dh, h, g, da))
        g_t[-1].copy_(dh_t[-1])
        for t in range(len(a) - 1, 0, -1):
            torch.mul(g_t[t], h_t[t - 1], out=da_t[t])
            torch.addcmul(dh_t[t - 1], a_t[t], g_t[t], out=g_t[t - 1])
        torch.mul(g_t[0], h0, out=da_t[0])
        return da, g, a_t[0] * g_t[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:3], output[1])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[tuple[Tensor, ...], int]:
        return _ScanGradient.apply(*_batch_last(info, in_dims, inputs)), -1

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The adjoint of a recurrence that runs backwards is one that runs forwards, from the gradient of dh0."""
        a, h, h0, g = ctx.saved_tensors
        of_da, of_db, of_dh0 = grads
        s = linear_scan(a, torch.addcmul(of_db, of_da, _before(h, h0)), of_dh0)
        of_before = of_da * g
        return _before(s, of_dh0) * g, torch.cat([of_before[1:], torch.zeros_like(h0)[None]]), of_before[0], s


def _batch_last(info: Any, in_dims: tuple[int | None, ...], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Inputs of a call under ``torch.vmap`` with its axis last, where an elementwise recurrence takes it as width."""
    return [
        x[..., None].expand(*x.shape, info.batch_size) if dim is None else x.movedim(dim, -1)
        for x, dim in zip(inputs, in_dims, strict=True)
    ]

"""Addressing and changing an external memory: the pure functions of NTM, LRUA and DNC.

A memory is ``[B, N, W]``: N slots that hold words of width W. Weights ``[..., N]`` lie in [0, 1] and sum to at most
one; H heads stand before the slots, ``[B, H, N]``, and what is one number for each head keeps its axis, ``[B, H, 1]``.

Sources: NTM is Graves et al. 2014, "Neural Turing Machines"; LRUA is Santoro et al. 2016, "Meta-Learning with
Memory-Augmented Neural Networks"; DNC is Graves et al. 2016, "Hybrid computing using a neural network with dynamic
external memory", whose equations are in its Methods section.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

FAINT = 1e-2
"""Added to a slot's squared length: what little leaks into an unused slot is not found like a word of its own."""
STRENGTH_LIMIT = 50.0  # the greatest strength: a stronger one only rounds the weights to one and zero
SHARPNESS_LIMIT = 20.0  # the greatest power of sharpening, above one
SHARPENED_FLOOR = 1e-8  # added to weights whose log is taken
EQUAL_USE = 1e-3  # usages that differ by less count as equal, so that rounding never decides which slot is written


def bounded(x: Tensor, limit: float) -> Tensor:
    """Softplus of ``x`` ``[...]`` that levels off at ``limit``: log(1 + e^x) where that is far below it."""
    return limit * torch.tanh(F.softplus(x) / limit)


class _Cosine(torch.autograd.Function):
    """Cosine ``[B, H, N]`` of unit keys with words, and 1 / length of the words ``[B, N]``.

    Written out because torch's own backward goes over the whole memory five times. Both outputs are differentiable, so
    that the backward, which is made of them, is so, too.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(key: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        shrink = torch.rsqrt(torch.linalg.vector_norm(memory, dim=-1).square() + FAINT)
        return torch.bmm(key, memory.mT) * shrink[:, None], shrink

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, for_cosine: Tensor | None, for_shrink: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        key, memory, cosine, shrink = ctx.saved_tensors
        along, keys, words = None, None, None
        if for_cosine is not None:
            slope = for_cosine * shrink[:, None]
            along = -(for_cosine * cosine).sum(1) * shrink.square()
            keys, words = torch.bmm(slope, memory), torch.einsum("bhn,bhw->bnw", slope, key)
        if for_shrink is not None:
            along_shrink = -for_shrink * shrink.pow(3)
            along = along_shrink if along is None else along + along_shrink
        if along is not None:
            words = along[..., None] * memory if words is None else words.addcmul_(along[..., None], memory)
        return keys, words


def content_weights(key: Tensor, memory: Tensor, strength: Tensor) -> Tensor:
    """Weights ``[B, H, N]`` by similarity: softmax of strength times cosine.

    NTM eq. 5-6; LRUA eq. 2-3 (strength 1); DNC C(M, k, beta). An empty slot has cosine 0 with everything.

    Args:
        key: ``[B, H, W]``, which has gone through :func:`kernels.unit`.
        memory: ``[B, N, W]``
        strength: ``[B, H, 1]``
    """
    cosine, _ = _Cosine.apply(key, memory)
    return torch.softmax(strength * cosine, -1)


def interpolate(first: Tensor, second: Tensor, gate: Tensor) -> Tensor:
    """The mixture g first + (1 - g) second (NTM eq. 7), ``[..., N]``.

    Args:
        first: ``[..., N]``
        second: ``[..., N]``
        gate: g ``[..., 1]`` in [0, 1].
    """
    return torch.lerp(second, first, gate)


def shift(weights: Tensor, kernel: Tensor) -> Tensor:
    """Circular convolution sum_j w(j) s(i - j) (NTM eq. 8).

    ``kernel`` ``[..., 2S + 1]`` holds the weights of the shifts -S to S; a shift of +1 leads from slot i to i + 1, and
    from the last to the first.
    """
    reach = kernel.shape[-1] // 2
    stay, *rest = kernel.roll(-reach, -1).split(1, -1)  # shifts by 0, 1, ..., S, -S, ..., -1
    moved = weights * stay
    for by, share in zip([*range(1, reach + 1), *range(-reach, 0)], rest, strict=True):
        moved = torch.addcmul(moved, weights.roll(by, -1), share)
    return moved


def sharpen(weights: Tensor, power: Tensor) -> Tensor:
    """Weights w^gamma / sum w^gamma (NTM eq. 9) by way of logs, with ``power`` ``[..., 1]`` >= 1."""
    return torch.softmax(power * torch.log(weights + SHARPENED_FLOOR), -1)


class _EraseAdd(torch.autograd.Function):
    """M (1 - w e^T) + w a^T, which keeps nothing of the size of the memory for its backward but the memory itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(memory: Tensor, weights: Tensor, erase: Tensor, word: Tensor) -> Tensor:
        return _change(memory, weights, erase, word).add_(memory)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        memory, weights, erase, word = ctx.saved_tensors
        both = grad * memory
        for_weights = torch.bmm(word[:, None], grad.mT) - torch.bmm(erase[:, None], both.mT)
        for_memory = torch.addcmul(grad, -weights[..., None] * erase[:, None], grad)
        for_erase, for_word = -torch.bmm(weights[:, None], both), torch.bmm(weights[:, None], grad)
        return for_memory, for_weights[:, 0], for_erase[:, 0], for_word[:, 0]


def erase_and_add(memory: Tensor, weights: Tensor, erase: Tensor, word: Tensor, in_place: bool = False) -> Tensor:
    """The memory M (1 - w e^T) + w a^T ``[B, N, W]`` after a write (NTM eq. 3-4; DNC).

    Args:
        memory: M ``[B, N, W]``
        weights: w ``[B, N]``
        erase: e ``[B, W]`` in [0, 1].
        word: a ``[B, W]``
        in_place: change ``memory`` itself; without gradients only.
    """
    if not in_place:
        return _EraseAdd.apply(memory, weights, erase, word)
    return memory.add_(_change(memory, weights, erase, word))


def _change(memory: Tensor, weights: Tensor, erase: Tensor, word: Tensor) -> Tensor:
    """What is added to the memory: w (a - e M)."""
    return torch.addcmul(word[:, None], erase[:, None], memory, value=-1.0).mul_(weights[..., None])


def clear_and_add(memory: Tensor, cleared: Tensor, weights: Tensor, word: Tensor, in_place: bool = False) -> Tensor:
    """The memory ``[B, N, W]`` after some slots are emptied and w a^T is added (LRUA eq. 8).

    Args:
        memory: ``[B, N, W]``
        cleared: ``[B, N]``, 1 for the slots to empty and 0 for the others.
        weights: w ``[B, N]``
        word: a ``[B, W]``
        in_place: change ``memory`` itself; without gradients only.
    """
    kept = 1.0 - cleared[..., None]
    cleaned = memory.mul_(kept) if in_place else memory * kept
    return (Tensor.addcmul_ if in_place else torch.addcmul)(cleaned, weights[..., None], word[:, None])


def least_used(usage: Tensor) -> Tensor:
    """One-hot ``[B, N]`` of the slot of least usage (LRUA eq. 6, one read); the first of those that tie."""
    least = usage <= usage.amin(-1, keepdim=True) + EQUAL_USE
    first = least.int().argmax(-1, keepdim=True)
    return torch.zeros_like(usage).scatter(-1, first, 1.0)  # one_hot looks at its numbers, which a graph can't


def retention(free: Tensor, read: Tensor) -> Tensor:
    """How much of each slot's use ``[B, N]`` stays: prod_h (1 - f_h w_h) (DNC psi).

    Free gates are ``[B, H, 1]``, read weights ``[B, H, N]``.
    """
    return (1.0 - free * read).prod(1)


def use(usage: Tensor, weights: Tensor) -> Tensor:
    """Usage ``[B, N]`` in [0, 1] after a write: u + w - u w (DNC u_t before retention)."""
    return 1.0 - (1.0 - usage) * (1.0 - weights)


def allocation(usage: Tensor) -> Tensor:
    """Weights ``[B, N]`` over free slots, the freest first (DNC a_t): a[phi_j] = (1 - u[phi_j]) prod_{i<j} u[phi_i].

    phi sorts usage in ascending order, slots of equal usage by their place.
    """
    order = torch.sort(torch.round(usage / EQUAL_USE), dim=-1, stable=True).indices
    ascending = usage.gather(-1, order)
    taken = torch.log(ascending.clamp_min(1e-6))
    before = torch.exp(taken.cumsum(-1) - taken)
    return torch.zeros_like(usage).scatter(-1, order, (1.0 - ascending) * before)


def precede(precedence: Tensor, weights: Tensor) -> Tensor:
    """How much each slot ``[B, N]`` was the one last written: (1 - sum w) p + w (DNC p_t)."""
    return torch.relu(1.0 - weights.sum(-1, keepdim=True)) * precedence + weights


def link(links: Tensor, precedence: Tensor, weights: Tensor) -> Tensor:
    """How much slot i was written right after slot j, ``[B, N, N]`` (DNC L_t).

    L[i, j] = (1 - w_i - w_j) L[i, j] + w_i p_j, and 0 on the diagonal.

    Args:
        links: L ``[B, N, N]`` before the write.
        precedence: p ``[B, N]`` before the write.
        weights: w ``[B, N]`` of the write.
    """
    column, apart = weights[:, :, None], 1.0 - torch.eye(weights.shape[-1], dtype=links.dtype, device=links.device)
    new = column * precedence[:, None]
    return torch.addcmul(new, (1.0 - column) - weights[:, None], links) * apart


def follow(links: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``[B, H, N]`` one write later, L w, and one earlier, L^T w (DNC f_t and b_t)."""
    return torch.bmm(weights, links.mT), torch.bmm(weights, links)

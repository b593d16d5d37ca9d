"""The gated recurrent unit over a sequence, with its backward written out (Cho et al. 2014).

torch's own goes back through some twenty operations a step on a CPU, each of which fills memory anew, and takes a
product for the weights at each. Here a step's numbers stay in the cache, and the weights take one product in all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def gru_unroll(x: Tensor, h: Tensor, weight_x: Tensor, weight_h: Tensor, bias_x: Tensor, bias_h: Tensor) -> Tensor:
    """h_t for all steps, ``[T, B, H]``, as :class:`torch.nn.GRU` has it::

        r, z = sigmoid(W_x x + b_x + W_h h + b_h)       n = tanh(W_x x + b_x + r (W_h h + b_h))
        h_t = (1 - z) n + z h_{t-1}

    It can be differentiated twice; the second time goes through each operation of a step.

    Args:
        x: ``[T, B, I]``
        h: h_0 ``[B, H]``
        weight_x: W_x of r, z and n, in this order, ``[3H, I]``.
        weight_h: W_h ``[3H, H]``
        bias_x: b_x ``[3H]``
        bias_h: b_h ``[3H]``
    """
    size = h.shape[-1]
    outside, inside = bias_h.split([2 * size, size])
    states, *_ = _GRU.apply(F.linear(x, weight_x, bias_x + F.pad(outside, (0, size))), h, weight_h, inside)
    return states[1:]


class _GRU(torch.autograd.Function):
    """h_0 to h_T ``[T + 1, B, H]``, and what the backward needs: r and z, W_h h + b_h of n, and n.

    Of what the input adds to r, z and n ``[T, B, 3H]``, h_0, W_h and the part of b_h that is within n ``[H]``.
    """

    @staticmethod
    def forward(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        steps, batch, size = x.shape[0], *h.shape
        states, gates = x.new_empty(steps + 1, batch, size), x.new_empty(steps, batch, 2 * size)
        inner, candidates = (x.new_empty(steps, batch, size) for _ in range(2))
        product, transposed = x.new_empty(batch, 3 * size), weight.t()
        product_rz, product_n = _split(product, [2 * size, size])
        states[0] = h
        parts = (*_split(x, [2 * size, size]), gates, *_split(gates, size), inner, candidates, states[:-1], states[1:])
        for x_rz, x_n, rz, r, z, m, n, before, after in zip(*(part.unbind() for part in parts), strict=True):
            torch.mm(before, transposed, out=product)
            torch.add(x_rz, product_rz, out=rz).sigmoid_()
            torch.add(product_n, bias, out=m)
            torch.addcmul(x_n, r, m, out=n).tanh_()
            torch.lerp(n, before, z, out=after)
        return states, gates, inner, candidates

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, *output)
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None, None
        *inputs, states, gates, inner, candidates = ctx.saved_tensors
        if torch.is_grad_enabled():  # this backward is to be differentiated itself
            return torch.func.vjp(_plain, *inputs)[1](grad)
        x, h, weight, _ = inputs
        size = h.shape[-1]
        for_h, for_n = torch.empty_like(x), torch.empty_like(inner)
        back, slope, other = torch.zeros_like(h), torch.empty_like(h), torch.empty_like(h)
        parts = (grad[1:], states[:-1], *_split(gates, size), inner, candidates, *_split(for_h, size), for_n, for_h)
        steps = list(zip(*(part.unbind() for part in parts), strict=True))
        for grad_t, h_t, r, z, m, n, to_r, to_z, to_m, to_n, to_h in reversed(steps):
            back.add_(grad_t)
            torch.sub(h_t, n, out=other).mul_(back)
            torch.addcmul(z, z, z, value=-1, out=slope)
            torch.mul(other, slope, out=to_z)
            torch.addcmul(back, back, z, value=-1, out=other)
            torch.mul(n, n, out=slope)
            torch.addcmul(other, other, slope, value=-1, out=to_n)
            torch.mul(to_n, r, out=to_m)
            torch.addcmul(r, r, r, value=-1, out=slope).mul_(m)
            torch.mul(to_n, slope, out=to_r)
            back.mul_(z).addmm_(to_h, weight)
        all_h, before = for_h.flatten(0, 1), states[:-1].flatten(0, 1)
        for_weight, for_bias = all_h.t() @ before, all_h[:, 2 * size :].sum(0)
        for_h[..., 2 * size :] = for_n  # now as it is for x
        return for_h, back.add_(grad[0]), for_weight, for_bias


def _split(x: Tensor, sizes: int | list[int]) -> tuple[Tensor, ...]:
    return x.split(sizes, -1)


def _plain(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """h_0 to h_T, an operation at a time."""
    size, states = h.shape[-1], [h]
    for x_rz, x_n in zip(*(part.unbind() for part in _split(x, [2 * size, size])), strict=True):
        product_rz, product_n = _split(states[-1] @ weight.t(), [2 * size, size])
        r, z = _split(torch.sigmoid(x_rz + product_rz), size)
        states.append(torch.lerp(torch.tanh(x_n + r * (product_n + bias)), states[-1], z))
    return torch.stack(states)

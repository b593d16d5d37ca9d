"""Similarity kernels: how well a key answers a query, as a logit (log weight before normalisation).

Queries are ``[..., Q, K]``, keys ``[..., N, K]``, logits ``[..., Q, N]``.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Kernel = Literal["dot", "cosine", "inverse_distance", "euclidean"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)

NORM_FLOOR = 1e-6  # added to squared norms, so that a zero key is far from everything instead of undefined
DISTANCE_FLOOR = 1e-3  # delta of the inverse-distance kernel (Pritzel et al. 2017, Neural Episodic Control).


def unit(x: Tensor) -> Tensor:
    """Scale ``[..., K]`` to x / sqrt(|x|^2 + floor): at most unit length, finite gradient at zero."""
    scale = x.detach().abs().amax(-1, keepdim=True).clamp_min(1.0)  # keeps the square of a huge vector finite
    x = x / scale
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + NORM_FLOOR)


def prepare(kernel: Kernel, x: Tensor) -> Tensor:
    """The form ``[..., K]`` in which queries and keys of ``kernel`` are compared: of unit length for ``cosine``."""
    return unit(x) if kernel == "cosine" else x


def logits(kernel: Kernel, query: Tensor, key: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Log weights ``[..., Q, N]`` of every key for every query, before normalisation.

    ``dot``: q.k / sqrt(K) (Vaswani et al. 2017, eq. 1). ``cosine``: q.k / (|q| |k|) (Graves et al. 2014, eq. 6).
    ``inverse_distance``: -log(|q - k|^2 + delta), whose softmax is the normalised 1 / (d^2 + delta) of Pritzel et al.
    2017, eq. 5. ``euclidean``: -|q - k|^2 / (2 sqrt(K)) (Snell et al. 2017, eq. 2, whose sharpness is that of a
    temperature of 1 / (2 sqrt(K))), so scaled that it is ``dot`` where all keys are equally long. Its part in |q|^2 is
    the same for every slot and left out: the empty slot, of logit 0, is then as far away as a key of zeros.

    Args:
        kernel: how keys and queries are compared.
        query: ``[..., Q, K]``, which has gone through :func:`prepare`, as has ``key``.
        key: ``[..., N, K]``
        temperature: divides the logits; a number, or a tensor that broadcasts against them.
    """
    if kernel == "inverse_distance":
        squared = (query * query).sum(-1)[..., None] + (key * key).sum(-1)[..., None, :] - 2 * query @ key.mT
        return -torch.log(squared.clamp_min(0.0) + DISTANCE_FLOOR) / temperature
    sharpness = 1 / (temperature * scale_of(kernel, query.shape[-1]))
    products = (query * sharpness) @ key.mT  # far fewer queries than logits
    return products - half_square(key).mT * sharpness if kernel == "euclidean" else products


def half_square(key: Tensor) -> Tensor:
    """``[..., N, 1]``: |k|^2 / 2, by which ``euclidean`` differs from ``dot``."""
    return (key * key).sum(-1, keepdim=True) / 2


def scale_of(kernel: Kernel, width: int) -> float:
    """What a product of width ``width`` is divided by: sqrt(K) for ``dot`` and ``euclidean``, 1 for ``cosine``."""
    return 1.0 if kernel == "cosine" else width**0.5

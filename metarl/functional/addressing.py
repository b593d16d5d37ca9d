"""Turning logits into weights over memory slots, with masks, an empty slot and a limit on how many are read."""

from __future__ import annotations

import torch
from torch import Tensor

TIE = 1e-3  # logits that differ by no more, relative to their size where that exceeds one, count as equal


def keep_top(logits: Tensor, k: int) -> Tensor:
    """Set all but the ``k`` largest logits of each query ``[..., Q, N]`` to -inf.

    Slots that tie with the k-th are kept with it: equal keys are read together, and rounding, which is not the same in
    a step and in an unroll, never decides between them.
    """
    if k >= logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least - TIE * least.abs().clamp(min=1.0), -torch.inf)


def log_weights(logits: Tensor, visible: Tensor | None, empty_slot: bool | Tensor) -> Tensor:
    """Log of the softmax over slots (Vaswani et al. 2017, eq. 1).

    Args:
        logits: ``[..., Q, N]``
        visible: bool, broadcasts against ``logits``; the other slots get -inf. None: all are visible.
        empty_slot: one more entry that holds nothing, so that the weights sum to less than one and a query that matches
            no key reads nothing. Its logit is 0, or that which is given, which broadcasts against ``[..., Q, 1]``.

    Returns:
        ``[..., Q, N]``, -inf everywhere for a query that sees no slot.
    """
    if visible is not None:
        logits = logits.masked_fill(~visible, -torch.inf)
    if empty_slot is not False:
        logit = logits.new_zeros(()) if empty_slot is True else empty_slot
        nothing = logit.expand(*logits.shape[:-1], 1)
        total = torch.logsumexp(torch.cat([logits, nothing], -1), -1, keepdim=True)
        return logits - total
    if logits.shape[-1] == 0:
        return logits
    blind = torch.isneginf(logits).all(-1, keepdim=True)  # kept out of logsumexp, whose gradient there is undefined
    total = torch.logsumexp(logits.masked_fill(blind, 0.0), -1, keepdim=True)
    return (logits - total).masked_fill(blind, -torch.inf)

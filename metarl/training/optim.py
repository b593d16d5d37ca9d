"""One step of an optimiser that never takes in a number that is not finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metarl.training.collect import NonFiniteError


def descend(
    model: nn.Module,
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float,
    *,
    where: str,
    name: str = "",
    advice: str,
) -> float:
    """Backward, clip to ``max_grad_norm``, step; returns the norm of the gradient before it was clipped.

    Args:
        model: whose parameters are stepped.
        loss: of a batch, a scalar.
        optimizer: of the parameters.
        max_grad_norm: gradients are scaled down to this norm.
        where: what is trained on and how far, for the error.
        name: of the loss, for the error, if it has one.
        advice: what to try, for the error.

    Raises:
        NonFiniteError: the loss or a gradient is not finite; the parameters stay as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        what, culprit = ("gradient", _culprit(model)) if torch.isfinite(loss) else ("loss", name)
        raise NonFiniteError(
            f"the {what} is not finite{f' ({culprit})' if culprit else ''} in training on {where}; "
            f"the parameters were left as they were: {advice}"
        )
    nn.utils.clip_grads_with_norm_(model.parameters(), max_grad_norm, norm)
    optimizer.step()
    return float(norm)


def _culprit(model: nn.Module) -> str:
    """The name of the first parameter whose gradient is not finite."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return name
    return "their norm overflows"

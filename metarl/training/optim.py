"""An optimizer step that refuses non-finite losses and gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from metarl import parallel
from metarl.types import NonFiniteError


def optimizer_step(
    model: nn.Module,
    terms: Iterable[Tensor],
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float,
    *,
    where: str,
    name: str = "",
    advice: str,
    weight: float = 1.0,
) -> float:
    """Backpropagate the loss term by term, average gradients over the processes, clip and step.

    Args:
        model: whose parameters are changed.
        terms: scalars ``[]`` whose sum is the loss of a batch; each is asked for when the one before it has been
            backpropagated, so that what backpropagation holds of two of them never exists at the same time. There may
            be none where another process has some.
        optimizer: of the parameters.
        max_grad_norm: gradients are scaled down to this global norm.
        where: the data and the step of training, for the error.
        name: of the loss, for the error; may be empty.
        advice: what to try, for the error.
        weight: how much this process counts beside others: what its loss is a mean over.

    Returns:
        The norm of the gradient before it was clipped.

    Raises:
        NonFiniteError: the loss or a gradient is not finite; the parameters stay as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    found = []
    for term in terms:
        term.backward()
        found.append(term.detach())
    parameters = [p for group in optimizer.param_groups for p in group["params"]]  # a model would be searched for them
    loss = torch.stack(found).sum() if found else parameters[0].new_zeros(())
    loss = parallel.average_gradients(parameters, loss, weight)
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        what, source = ("gradient", first_nonfinite_grad(model)) if torch.isfinite(loss) else ("loss", name)
        raise NonFiniteError(
            f"the {what} is not finite{f' ({source})' if source else ''} in training on {where}; "
            f"the parameters were not changed: {advice}"
        )
    nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, norm)
    optimizer.step()
    return float(norm)


def first_nonfinite_grad(model: nn.Module) -> str:
    """The name of the first parameter whose gradient is not finite; or a note that only the norm overflows."""
    gradients = ((name, parameter.grad) for name, parameter in model.named_parameters())
    found = (name for name, grad in gradients if grad is not None and not torch.isfinite(grad).all())
    return next(found, "their norm overflows")

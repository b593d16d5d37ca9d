"""The inner loop of gradient-based meta-learning: a few steps of gradient descent that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Params = Mapping[str, Tensor]


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """|f - y|^2 / 2 of each example: ``[..., n, V]`` to ``[..., n]``."""
    return 0.5 * (predictions - targets).square().sum(-1)


def adapt(
    fn: Callable[[Params, Tensor], Tensor],
    params: Params,
    data: tuple[Tensor, Tensor],
    weights: Tensor | None = None,
    *,
    steps: int,
    lr: float | Tensor | Mapping[str, float | Tensor],
    second_order: bool = False,
    loss: Callable[[Tensor, Tensor], Tensor] = squared_error,
) -> dict[str, Tensor]:
    """Fit ``params`` to ``data`` by gradient descent: phi <- phi - lr grad L(phi), L = sum_i w_i loss(f_phi(x_i), y_i).

    This is the inner loop of MAML (Finn et al. 2017, section 2.2) and the local adaptation of MbPA (Sprechmann et al.
    2018). Many tasks go side by side where params and data carry leading axes: the losses of all are summed, so that
    each gets its own gradient.

    With ``second_order`` the result is a differentiable function of everything that goes in. Without it the gradients
    inside are constants (FOMAML): the result depends on ``params`` and ``lr`` but not on ``data`` and ``weights``. The
    same steps are made under ``torch.no_grad`` and ``torch.inference_mode``, whose results record no gradients.

    Args:
        fn: maps params and inputs ``[..., n, K]`` to predictions ``[..., n, V]``; of elementary operations, or of
            torch's attention, which then takes its unfused form where ``second_order`` is asked for.
        params: tensors by name; those that ``fn`` does not use stay as they are.
        data: inputs and targets, given to ``fn`` and ``loss``.
        weights: ``[..., n]`` of each example; None: their mean.
        steps: number of steps.
        lr: the step size: one for all, or one for each name; tensors must broadcast against their params.
        second_order: keep the graph of the steps.
        loss: of each example, ``[..., n]``, from predictions and targets.

    Returns:
        The params by name after the steps.

    Raises:
        ValueError: ``lr`` lacks a parameter, or names one that does not exist.
        RuntimeError: ``second_order`` through an operation that can be differentiated but once.
    """
    if isinstance(lr, Mapping) and lr.keys() != params.keys():
        raise ValueError(
            f"lr is given for {sorted(lr)}, params are {sorted(params)}; give one for each, or one for all"
        )
    rates = lr if isinstance(lr, Mapping) else dict.fromkeys(params, lr)
    if torch.is_inference_mode_enabled():  # its tensors can't be differentiated: take copies outside
        with torch.inference_mode(False), torch.no_grad():
            params, rates = _copies(params), _copies(rates)
            data, weights = (data[0].clone(), data[1].clone()), None if weights is None else weights.clone()
            return adapt(fn, params, data, weights, steps=steps, lr=rates, second_order=second_order, loss=loss)
    recording = torch.is_grad_enabled()
    kept = second_order and recording
    if not kept:
        data = (data[0].detach(), data[1].detach())
        weights = None if weights is None else weights.detach()

    def total(at: Params) -> Tensor:
        each = loss(fn(at, data[0]), data[1])
        return each.mean(-1).sum() if weights is None else (weights * each).sum()

    adapted, transformed = dict(params), _transformed()
    for _ in range(steps):
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH) if second_order else nullcontext():
            if transformed:
                at = {name: p if kept else p.detach() for name, p in adapted.items()}
                gradients = tuple(torch.func.grad(total)(at).values())
            else:
                at = {n: p if kept and p.requires_grad else p.detach().requires_grad_() for n, p in adapted.items()}
                gradients = torch.autograd.grad(total(at), list(at.values()), create_graph=kept, materialize_grads=True)
        if kept and not transformed:
            _check_twice(gradients)
        for (name, p), gradient in zip(adapted.items(), gradients, strict=True):
            rate = rates[name]
            if isinstance(rate, Tensor):
                adapted[name] = torch.addcmul(p, rate, gradient, value=-1)
            else:
                adapted[name] = torch.sub(p, gradient, alpha=rate)
    return adapted if recording else {name: p.detach() for name, p in adapted.items()}


def _copies(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x.clone() if isinstance(x, Tensor) else x for name, x in tensors.items()}


def _transformed() -> bool:
    """Whether a transform of ``torch.func`` is running, within which no leaf can be made to require a gradient."""
    try:
        torch.empty(0).requires_grad_()
    except RuntimeError:
        return True
    return False


def _check_twice(gradients: tuple[Tensor, ...]) -> None:
    """Raise now what torch would raise later, far from its cause: an operation whose gradient has none itself."""
    nodes: list[Any] = [gradient.grad_fn for gradient in gradients]
    known = set(nodes)
    while nodes:
        node = nodes.pop()
        if node is None:
            continue
        if node.name() in ("torch::autograd::NotImplemented", "torch::autograd::Error"):
            raise RuntimeError(
                f"second_order needs every operation of the inner loop to be differentiable twice: {_complaint(node)}; "
                "use second_order=False, or another kernel for it"
            )
        new = {child for child, _ in node.next_functions} - known
        known |= new
        nodes.extend(new)


def _complaint(node: Any) -> str:
    """What torch says of a node that only raises; it wants as many arguments as its operation has results."""
    for results in range(1, 10):
        try:
            node(*[None] * results)
        except RuntimeError as error:
            return str(error).splitlines()[0]
        except TypeError:
            continue
    return "one is not"

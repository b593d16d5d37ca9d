"""Supervised training of any model on any batches, within a budget of updates, of seconds, or of both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeVar

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from metarl.training.descent import descend
from metarl.training.ppo import between

Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class SupervisedOptions:
    """Options of supervised training by Adam; at least one of ``updates`` and ``seconds`` must be given."""

    updates: Annotated[int, Ge(1)] | None = None
    """Most updates; with this budget alone a training can be repeated exactly."""
    seconds: Annotated[float, Gt(0)] | None = None
    """Longest time, validation included; what has begun is finished."""
    learning_rate: Annotated[float, Ge(0)] = 1e-3
    """Adam's step size."""
    learning_rate_end: Annotated[float, Ge(0)] | None = None
    """Its value when the budget is used up, linear in between; None: it stays."""
    warmup: Annotated[int, Ge(0)] = 0
    """Updates over which the step size grows linearly from zero."""
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    """Gradients are scaled down to this norm."""
    validate_every: Annotated[int, Ge(1)] = 100
    """Updates between validations."""
    target: float | None = None
    """Training ends early once a validation reaches this accuracy; None: never."""

    def __post_init__(self) -> None:
        if self.updates is None and self.seconds is None:
            raise ValueError("supervised training has no end: give updates, seconds or both")

    def learning_rate_at(self, update: int, progress: float) -> float:
        """The step size of the ``update``-th update (from 0), with the fraction ``progress`` of the budget behind."""
        rate = self.learning_rate
        if self.learning_rate_end is not None:
            rate = between(rate, self.learning_rate_end, progress)
        return rate * min(1.0, (update + 1) / self.warmup) if self.warmup else rate


class Validation(NamedTuple):
    """How far training is."""

    updates: int
    seconds: float
    loss: float
    """The mean over the updates since the last validation."""
    accuracy: float
    """What the validation said."""


class Trained(NamedTuple):
    """What a training came to."""

    updates: int
    seconds: float
    loss: float
    """That of the last batch, before its update; NaN without one."""
    curve: tuple[Validation, ...]
    """The validations in order, the last one after the last update; none where there is nothing to validate with."""


def fit(
    model: Model,
    loss_fn: Callable[[Model, Batch], Tensor],
    batches: Iterable[Batch],
    options: SupervisedOptions,
    *,
    validate: Callable[[Model], float] | None = None,
    progress: Callable[[Validation], object] = lambda validation: None,
    clock: Callable[[], float] = time.monotonic,
    name: str = "the batches",
) -> Trained:
    """Train ``model`` in place, until the budget is used up, the target is reached or ``batches`` end.

    Args:
        model: what is trained; in training mode during updates and on return, in evaluation mode in ``validate``.
        loss_fn: the loss of a batch, a number.
        batches: what to learn from, in order; one more update is made of each.
        options: budget, step size and when to validate.
        validate: the accuracy of the model on data of its own, called without gradients.
        progress: told of each validation.
        clock: the time in seconds.
        name: what is learned from, for the error.

    Raises:
        NonFiniteError: a loss or gradient is not finite; the parameters stay as they were before that batch.
        ValueError: a target without a way to validate.
    """
    if options.target is not None and validate is None:
        raise ValueError(f"the target is an accuracy of {options.target}, but there is no validate; give one")
    optimizer = torch.optim.Adam(model.parameters(), options.learning_rate)
    start = clock()
    updates, loss, total, curve = 0, math.nan, 0.0, list[Validation]()

    def behind() -> float:
        """The fraction of the budget that is used up."""
        parts = [updates / options.updates] if options.updates is not None else []
        return max([*parts, (clock() - start) / options.seconds] if options.seconds is not None else parts)

    def reached() -> bool:
        """Validate, where that can be done, and say whether it is good enough."""
        nonlocal total
        if validate is None:
            return False
        model.eval()
        with torch.no_grad():
            accuracy = float(validate(model))
        model.train()
        mean = total / (updates - (curve[-1].updates if curve else 0))
        curve.append(Validation(updates, clock() - start, mean, accuracy))
        total = 0.0
        progress(curve[-1])
        return options.target is not None and accuracy >= options.target

    model.train()
    for batch in batches:
        rate = options.learning_rate_at(updates, behind())
        for group in optimizer.param_groups:
            group["lr"] = rate
        objective, where = loss_fn(model, batch), f"{name} at update {updates}"
        advice = "try a lower learning_rate, or look at the inputs"
        descend(model, objective, optimizer, options.max_grad_norm, where=where, advice=advice)
        loss = float(objective.detach())
        updates += 1
        total += loss
        if (updates % options.validate_every == 0 and reached()) or behind() >= 1:
            break
    if updates > (curve[-1].updates if curve else 0):
        reached()
    return Trained(updates, clock() - start, loss, tuple(curve))

"""Supervised training of any model on any batches, within a budget of updates, of seconds, or of both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, TypeVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from metarl.functional.schedules import cosine, linear
from metarl.training.optim import optimizer_step

Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class SupervisedOptions:
    """Options of supervised training by Adam; at least one of ``updates`` and ``seconds`` must be given."""

    updates: Annotated[int, Ge(1)] | None = None
    """Maximum number of updates; only without ``seconds`` can a training be repeated exactly."""
    seconds: Annotated[float, Gt(0)] | None = None
    """Maximum time, validation included; an update or validation that has begun is finished."""
    learning_rate: Annotated[float, Ge(0)] = 1e-3
    """Adam's step size."""
    learning_rate_end: Annotated[float, Ge(0)] | None = None
    """Its value when the budget is used up; None: constant."""
    schedule: Literal["linear", "cosine"] = "linear"
    """See :mod:`metarl.functional.schedules`."""
    warmup: Annotated[int, Ge(0)] = 0
    """Updates over which the step size grows linearly from zero."""
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    """Gradients are scaled down to this norm."""
    validate_every: Annotated[int, Ge(1)] = 100
    """Updates between validations."""
    target: float | None = None
    """Training ends early once a validation reaches this accuracy; None: never."""
    patience: Annotated[int, Ge(1)] | None = None
    """Training ends early after this many validations in a row without a better accuracy. The parameters of the best
    validation are then restored, as also at the end of the budget; None: never, and the last parameters are kept."""
    average: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Decay of a moving average of parameters and buffers, which is validated and kept instead of them; 0: none."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Decoupled from the gradient, times the step size (Loshchilov & Hutter 2019)."""

    def __post_init__(self) -> None:
        if self.updates is None and self.seconds is None:
            raise ValueError("supervised training without a budget: give updates, seconds or both")

    def learning_rate_at(self, update: int, progress: float) -> float:
        """The step size of an update.

        Args:
            update: its number, from 0.
            progress: the fraction of the budget that is used up.
        """
        rate = self.learning_rate
        if self.learning_rate_end is not None:
            rate = (linear if self.schedule == "linear" else cosine)(rate, self.learning_rate_end, progress)
        return rate * min(1.0, (update + 1) / self.warmup) if self.warmup else rate


class Validation(NamedTuple):
    """The state of training at a validation."""

    updates: int
    seconds: float
    loss: float
    """The mean over the updates since the last validation."""
    accuracy: float
    """What ``validate`` returned, from 0 to 1."""


class Trained(NamedTuple):
    """The outcome of a training."""

    updates: int
    seconds: float
    loss: float
    """Of the last batch, before its update; NaN without one."""
    curve: tuple[Validation, ...]
    """The validations in order, the last one after the last update; empty without ``validate``."""


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
        model: what is trained; in training mode during updates and on return, in evaluation mode in ``validate``. It
            stays on its device; moving batches there is up to ``loss_fn``.
        loss_fn: the loss of a batch, a scalar.
        batches: one update is made of each, in order.
        options: budget, step size and when to validate.
        validate: the accuracy of the model on other data, called without gradients.
        progress: called with each validation.
        clock: the time in seconds.
        name: of the batches, for errors.

    Raises:
        NonFiniteError: a loss or gradient is not finite; the parameters stay as they were before that batch.
        ValueError: a target or patience without ``validate``.
    """
    for name_of, value in (("target", options.target), ("patience", options.patience)):
        if value is not None and validate is None:
            raise ValueError(f"the {name_of} is {value}, but there is no validate that returns an accuracy; give one")
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    averaged = _Average(model, options.average) if options.average else None
    best: dict[str, Tensor] | None = None
    start = clock()
    updates, loss, total, curve = 0, math.nan, 0.0, list[Validation]()

    def used_up() -> float:
        """The fraction of the budget that is used up."""
        parts = [updates / options.updates] if options.updates is not None else []
        return max([*parts, (clock() - start) / options.seconds] if options.seconds is not None else parts)

    def reached() -> bool:
        """Validate, where that can be done, and say whether training should end."""
        nonlocal total, best
        if validate is None:
            return False
        model.eval()
        with torch.no_grad(), averaged.inside() if averaged else nullcontext():
            accuracy = float(validate(model))
            if options.patience and accuracy > max((v.accuracy for v in curve), default=-math.inf):
                best = {name: value.clone() for name, value in model.state_dict().items()}
        model.train()
        mean = total / (updates - (curve[-1].updates if curve else 0))
        curve.append(Validation(updates, clock() - start, mean, accuracy))
        total = 0.0
        progress(curve[-1])
        late = [v.accuracy for v in curve]
        waited = options.patience is not None and len(late) - 1 - late.index(max(late)) >= options.patience
        return waited or (options.target is not None and accuracy >= options.target)

    model.train()
    for batch in batches:
        rate = options.learning_rate_at(updates, used_up())
        for group in optimizer.param_groups:
            group["lr"] = rate
        objective, where = loss_fn(model, batch), f"{name} at update {updates}"
        advice = "try a lower learning_rate, or look at the inputs"
        optimizer_step(model, objective, optimizer, options.max_grad_norm, where=where, advice=advice)
        loss = float(objective.detach())
        if averaged:
            averaged.update()
        updates += 1
        total += loss
        if (updates % options.validate_every == 0 and reached()) or used_up() >= 1:
            break
    if updates > (curve[-1].updates if curve else 0):
        reached()
    if best is not None:
        model.load_state_dict(best)
    elif averaged:
        averaged.copy_to_model()
    return Trained(updates, clock() - start, loss, tuple(curve))


class _Average:
    """A moving average of a model's parameters and buffers, beside the model."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.copy = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def update(self) -> None:
        """Take in the model as it is now."""
        self.copy.update_parameters(self.model)

    def copy_to_model(self) -> None:
        """Put the average into the model."""
        self.model.load_state_dict(self.copy.module.state_dict())

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Within, the model has the average's parameters and buffers."""
        own = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.copy_to_model()
        try:
            yield
        finally:
            self.model.load_state_dict(own)

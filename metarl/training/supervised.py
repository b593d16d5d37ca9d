"""Supervised training of any model on any batches, within a budget of updates, of seconds, or of both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from metarl import parallel
from metarl.config import ConfigError
from metarl.functional.schedules import cosine, linear
from metarl.limits import keep_freed_memory
from metarl.training.best import Best
from metarl.training.checkpoint import optimizer_from_tensors, optimizer_to_tensors
from metarl.training.optim import optimizer_step
from metarl.training.resume import get_random, restoring, set_random

Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class SupervisedOptions:
    """Options of supervised training by Adam; at least one of ``updates`` and ``seconds`` must be given.

    Args:
        updates: maximum number of updates; a training is only reproducible without ``seconds``.
        seconds: maximum time, with validation; an update or validation that has begun is finished.
        learning_rate: Adam's step size.
        learning_rate_end: its value when the budget is used up; None: constant.
        schedule: see :mod:`metarl.functional.schedules`.
        warmup: updates over which the step size grows linearly from zero.
        max_grad_norm: gradients are scaled down to this norm.
        validate_every: updates between validations.
        target: training ends early once a validation reaches this accuracy; None: never.
        patience: training ends early after this many validations in a row without a better accuracy, and whenever it
            ends, the best parameters are kept; None: never.
        keep: which parameters are kept: the last, or those with the best accuracy in a validation.
        average: decay of a moving average of parameters and buffers, which is validated and kept in their place; 0:
            none.
        weight_decay: decoupled from the gradient, times the step size (Loshchilov & Hutter 2019).
    """

    updates: Annotated[int, Ge(1)] | None = None
    seconds: Annotated[float, Gt(0)] | None = None
    learning_rate: Annotated[float, Ge(0)] = 1e-3
    learning_rate_end: Annotated[float, Ge(0)] | None = None
    schedule: Literal["linear", "cosine"] = "linear"
    warmup: Annotated[int, Ge(0)] = 0
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    validate_every: Annotated[int, Ge(1)] = 100
    target: float | None = None
    patience: Annotated[int, Ge(1)] | None = None
    keep: Literal["last", "best"] = "last"
    average: Annotated[float, Ge(0), Lt(1)] = 0.0
    weight_decay: Annotated[float, Ge(0)] = 0.0

    def __post_init__(self) -> None:
        if self.updates is None and self.seconds is None:
            raise ConfigError("there is no budget", key="updates", expected="updates, seconds or both")

    @property
    def keeps_best(self) -> bool:
        """Whether the best parameters are kept, not the last."""
        return self.keep == "best" or self.patience is not None

    def learning_rate_at(self, update: int, progress: float) -> float:
        """The step size of an update.

        Args:
            update: its number, from 0.
            progress: the fraction of the budget that is used up, from 0.
        """
        rate = self.learning_rate
        if self.learning_rate_end is not None:
            rate = (linear if self.schedule == "linear" else cosine)(rate, self.learning_rate_end, progress)
        return rate * min(1.0, (update + 1) / self.warmup) if self.warmup else rate


class Validation(NamedTuple):
    """The state of training at a validation.

    The loss is the mean over the updates since the last validation, the accuracy what ``validate`` returned, 0 to 1.
    """

    updates: int
    seconds: float
    loss: float
    accuracy: float


Ended = Literal["updates", "seconds", "target", "patience"]


class Trained(NamedTuple):
    """The outcome of a training.

    The loss is that of the last batch, before its update; NaN without one. The curve has the validations in order, the
    last one after the last update; it is empty without ``validate``. ``kept`` says after how many updates the
    parameters were the best, where these are kept; None: the last are. ``ended`` says what ended it: a budget, the
    target or patience; None: ``batches`` did.
    """

    updates: int
    seconds: float
    loss: float
    curve: tuple[Validation, ...]
    kept: int | None = None
    ended: Ended | None = None


class FitState(NamedTuple):
    """A training between two updates, from which it goes on bit for bit.

    Args:
        meta: plain data.
        groups: named groups of tensors ``[...]`` by name.
    """

    meta: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, Tensor]]


def fit(
    model: Model,
    loss_fn: Callable[[Model, Batch], Tensor],
    batches: Iterable[Batch],
    options: SupervisedOptions,
    *,
    validate: Callable[[Model], float] | None = None,
    progress: Callable[[Validation], object] = lambda validation: None,
    between: Callable[[int, Callable[[], FitState]], object] = lambda updates, state: None,
    state: FitState | None = None,
    clock: Callable[[], float] = time.monotonic,
    name: str = "the batches",
) -> Trained:
    """Train ``model`` in place, until the budget is used up, the target is reached or ``batches`` end.

    Where several processes train together, each has its share of every batch, of equal size, and as many of them.

    Args:
        model: in training mode during updates and on return. It stays on its device; moving batches there is up to
            ``loss_fn``.
        loss_fn: the loss of a batch, a scalar ``[]``.
        batches: one update is made of each, in order.
        options: budget, step size and when to validate.
        validate: the accuracy on other data of the model that it is given, which is ``model`` or its moving average, in
            evaluation mode and without gradients; of several processes only the first calls it.
        progress: called with each validation.
        between: called between updates with their number and what gives the state then; torch's global generators are
            part of it, the batches are not.
        state: where to go on; ``batches`` are those that follow. None: from the beginning.
        clock: the time in seconds.
        name: of the batches, for errors.

    Raises:
        NonFiniteError: a loss or gradient is not finite; the parameters are those before that batch.
        ConfigError: a target, patience or keeping the best without ``validate``.
    """
    best_asked = "best" if options.keep == "best" else None
    for name_of, value in (("target", options.target), ("patience", options.patience), ("keep", best_asked)):
        if value is not None and validate is None:
            raise ConfigError(key=name_of, given=value, expected="none without validate, which returns an accuracy")
    keep_freed_memory()
    parallel.check_model(model)
    parallel.copy_first(model)
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    averaged = None
    if options.average:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.average), use_buffers=True)
    judged: Model = averaged.module if averaged else model  # type: ignore[assignment]  # a copy of the model
    best = Best()
    start = clock()
    updates, loss, total, curve = 0, math.nan, 0.0, list[Validation]()
    if state is not None:
        with restoring("the saved training"):
            parts = {name: dict(group) for name, group in state.groups.items()}
            model.load_state_dict(parts["model"])
            optimizer_from_tensors(optimizer, parts["optimizer"])
            if averaged:
                averaged.load_state_dict(parts["averaged"])
            device = next(model.parameters()).device
            set_random(parts["random"])
            updates, loss, total = (state.meta[name] for name in ("updates", "loss", "total"))
            curve = [Validation(*one) for one in state.meta["curve"]]
            if parts["best"]:
                first = max(curve, key=lambda one: one.accuracy)
                tensors = {name: value.to(device) for name, value in parts["best"].items()}
                best = Best(first.updates, first.accuracy, tensors)
            start -= state.meta["seconds"]

    def now() -> FitState:
        meta = {"updates": updates, "loss": loss, "total": total, "curve": curve, "seconds": clock() - start}
        groups = {"model": model.state_dict(), "optimizer": optimizer_to_tensors(optimizer), "best": best.tensors}
        kept = {"averaged": averaged.state_dict()} if averaged else {}
        return FitState(meta, {**groups, **kept, "random": get_random()})

    def used_up() -> tuple[float, Ended]:
        """The fraction of the budget that is used up, and of which part of it."""
        parts: list[tuple[float, Ended]] = []
        if options.updates is not None:
            parts.append((updates / options.updates, "updates"))
        if options.seconds is not None:
            spent = parallel.from_first(lambda: clock() - start)
            parts.append((spent / options.seconds, "seconds"))
        return max(parts, key=lambda part: part[0])

    def reached() -> Ended | None:
        """Validate, if there is ``validate``; returns why training should end, if it should."""
        nonlocal total
        if validate is None:
            return None
        judged.eval()
        with torch.no_grad():
            accuracy = parallel.from_first(lambda: float(validate(judged)))
        if options.keeps_best:
            best.offer(updates, accuracy, judged.state_dict)
        judged.train()
        mean = parallel.mean(total / (updates - (curve[-1].updates if curve else 0)), 1.0)
        curve.append(Validation(updates, clock() - start, mean, accuracy))
        total = 0.0
        progress(curve[-1])
        accuracies = [v.accuracy for v in curve]
        since_best = len(curve) - 1 - accuracies.index(max(accuracies))
        if options.target is not None and accuracy >= options.target:
            return "target"
        return "patience" if options.patience is not None and since_best >= options.patience else None

    model.train()
    ended: Ended | None = None
    for batch in batches:
        rate = options.learning_rate_at(updates, used_up()[0])
        for group in optimizer.param_groups:
            group["lr"] = rate
        objective, where = loss_fn(model, batch), f"{name} at update {updates}"
        advice = "try a lower learning_rate, or look at the inputs"
        optimizer_step(model, [objective], optimizer, options.max_grad_norm, where=where, advice=advice)
        loss = float(objective.detach())
        if averaged:
            averaged.update_parameters(model)
        updates += 1
        total += loss
        if updates % options.validate_every == 0 and (ended := reached()) is not None:
            break
        share, budget = used_up()
        if share >= 1:
            ended = budget
            break
        between(updates, now)
    else:
        if updates:
            between(updates, now)
    if updates > (curve[-1].updates if curve else 0):
        reached()
    if best.tensors or averaged:
        model.load_state_dict(best.tensors or judged.state_dict())
    return Trained(updates, clock() - start, loss, tuple(curve), best.step, ended)

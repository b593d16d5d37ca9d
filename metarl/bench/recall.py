"""One cell of the recall benchmark: a candidate is trained on a task, and tested on sequences drawn for the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.bench.candidates import candidates, classifier, parameters, sized
from metarl.data.recall import TEST_SEQUENCES
from metarl.data.sequences import RecallTask, Sequences
from metarl.evaluation.recall import RecallCell, RecallResult, RecallSettings
from metarl.functional.stats import standard_error
from metarl.memory.options import MemoryOptions
from metarl.nets.sequence import SequenceClassifier, asked_loss
from metarl.seeding import torch_rng
from metarl.training.supervised import SupervisedOptions, Trained, Validation, fit
from metarl.types import CoreInput, Floats, Split

VALIDATION_SEQUENCES = 1000
VALIDATE_EVERY = 50
"""Updates between validations."""
WARMUP = 20
"""Updates over which a step size grows from zero."""
AT_ONCE = 500
"""Sequences that are tested side by side."""


def training(settings: RecallSettings, rate: float) -> SupervisedOptions:
    """How the part of the budget that belongs to one learning rate is used."""
    parts = len(settings.learning_rates)
    return SupervisedOptions(
        updates=None if settings.updates is None else settings.updates // parts,
        seconds=None if settings.seconds is None else settings.seconds / parts,
        learning_rate=rate,
        learning_rate_end=rate / 10,
        warmup=WARMUP,
        validate_every=VALIDATE_EVERY,
        target=settings.target,
    )


def options_of(cell: RecallCell) -> MemoryOptions:
    """The candidate of a cell, brought to its size.

    Raises:
        ValueError: it can't be given so many parameters.
    """
    options = replace(candidates()[cell.memory], key_size=cell.settings.key_size)
    if options.store != "none":
        options = replace(options, value_size=cell.settings.key_size)
    with torch.random.fork_rng(devices=[]):  # models are built to be counted
        return sized(options, cell.make_task(), cell.settings.parameters, cell.memory)


def measure(
    cell: RecallCell,
    progress: Callable[[Validation], object] = lambda validation: None,
    sequences: int = TEST_SEQUENCES,
) -> RecallResult:
    """Train and test on one thread; nothing else that is random is touched.

    Args:
        cell: what to measure.
        progress: told of each validation.
        sequences: how many to test on.

    Raises:
        NonFiniteError: a loss or gradient is not finite.
        ValueError: the candidate can't be given so many parameters.
    """
    task, given, options = cell.make_task(), cell.settings, options_of(cell)
    with one_thread(), torch.random.fork_rng(devices=[]):
        validation = list(_batches(task, "validation", AT_ONCE, VALIDATION_SEQUENCES, cell.seed))

        def attempt(rate: float) -> Attempt:
            torch.manual_seed(torch_rng(cell.seed, "init").initial_seed())
            model = classifier(options, task)
            batches = _batches(task, "train", given.batch, None, cell.seed)
            name = f"{cell.task} by {cell.memory}"
            accuracy = partial(_accuracy, validation)
            trained = fit(model, _loss, batches, training(given, rate), validate=accuracy, progress=progress, name=name)
            return Attempt(trained.curve[-1].accuracy, rate, model, trained)

        attempts: list[Attempt] = []
        for rate in given.learning_rates:
            attempts.append(attempt(rate))
            if given.target is not None and attempts[-1].accuracy >= given.target:
                break
        best = max(attempts, key=lambda each: each.accuracy)
        best.model.eval()
        with torch.no_grad():
            tested = _batches(task, "test", AT_ONCE, sequences, cell.seed)
            right = np.concatenate([_right(best.model, batch) for batch in tested])
    return RecallResult(
        cell=cell,
        accuracy=float(right.mean()),
        se=standard_error(right),
        sequences=len(right),
        chance=task.chance,
        validation=best.accuracy,
        parameters=parameters(best.model),
        hidden_size=options.controller_options["hidden_size"],
        learning_rate=best.rate,
        updates=sum(each.trained.updates for each in attempts),
        seconds=round(sum(each.trained.seconds for each in attempts), 2),
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch take one thread, so that times can be compared whatever runs beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Attempt(NamedTuple):
    """A training with one learning rate."""

    accuracy: float
    """On validation sequences at its end."""
    rate: float
    model: SequenceClassifier
    trained: Trained


class _Batch(NamedTuple):
    x: CoreInput
    begin: Tensor
    target: Tensor
    asked: Tensor


def _batches(task: RecallTask, split: Split, size: int, total: int | None, seed: int) -> Iterator[_Batch]:
    for drawn in task.batches(split, size, total=total, seed=seed):
        yield _tensors(drawn)


def _tensors(drawn: Sequences) -> _Batch:
    now, feedback, begin, target, asked = (
        torch.from_numpy(array) for array in (drawn.now, drawn.feedback, drawn.begin, drawn.target, drawn.asked)
    )
    return _Batch(CoreInput(now, feedback), begin, target, asked)


def _loss(model: SequenceClassifier, batch: _Batch) -> Tensor:
    return asked_loss(model(batch.x, batch.begin), batch.target, batch.asked)


def _accuracy(batches: Sequence[_Batch], model: SequenceClassifier) -> float:
    return float(np.concatenate([_right(model, batch) for batch in batches]).mean())


def _right(model: SequenceClassifier, batch: _Batch) -> Floats:
    """``[B]``: the share of right answers in each sequence."""
    hit = (model(batch.x, batch.begin).argmax(-1) == batch.target) & batch.asked
    return (hit.sum(0) / batch.asked.sum(0)).double().numpy()

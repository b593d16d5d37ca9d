"""One cell of the recall benchmark: a candidate is trained on a task, and tested on sequences drawn for the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor

from metarl.bench.candidates import candidates, classifier, parameters, sized
from metarl.data.recall import RECALL_TASKS, TEST_SEQUENCES
from metarl.data.sequences import RecallTask, Sequences
from metarl.functional.stats import standard_error
from metarl.memory.options import MemoryOptions
from metarl.nets.sequence import SequenceClassifier, query_loss
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


@dataclass(frozen=True)
class Settings:
    """What all candidates are given alike."""

    updates: Annotated[int, Ge(1)] | None = 3000
    """Most updates in all; None: as many as there is time for."""
    seconds: Annotated[float, Gt(0)] | None = None
    """Longest training in all."""
    batch: Annotated[int, Ge(1)] = 64
    """Fresh sequences in each update."""
    parameters: Annotated[int, Ge(1)] = 40_000
    """Of the whole model, within 10 %."""
    key_size: Annotated[int, Ge(1)] = 32
    """Width of keys and of values."""
    learning_rates: tuple[Annotated[float, Gt(0)], ...] = (3e-3, 1e-2)
    """Adam's step sizes, each tried anew with an equal part of the budget, over which it falls to a tenth; what did
    best on validation sequences is tested."""
    target: float | None = 0.999
    """Training ends early at this accuracy on validation sequences, without further step sizes; None: never."""

    def __post_init__(self) -> None:
        if self.updates is None and self.seconds is None:
            raise ValueError("the benchmark's budget has no end: give updates, seconds or both")
        if not self.learning_rates:
            raise ValueError("the benchmark has no learning rate to train with; give one or more")
        if self.updates is not None and self.updates < len(self.learning_rates):
            raise ValueError(
                f"{self.updates} updates can't be parted among {len(self.learning_rates)} learning rates; give more"
            )

    def training(self, rate: float) -> SupervisedOptions:
        """How the part of the budget that belongs to one learning rate is used."""
        parts = len(self.learning_rates)
        return SupervisedOptions(
            updates=None if self.updates is None else self.updates // parts,
            seconds=None if self.seconds is None else self.seconds / parts,
            learning_rate=rate,
            learning_rate_end=rate / 10,
            warmup=WARMUP,
            validate_every=VALIDATE_EVERY,
            target=self.target,
        )


@dataclass(frozen=True)
class Cell:
    """What is measured."""

    task: str
    """The name of a task."""
    memory: str
    """The name of a candidate."""
    seed: Annotated[int, Ge(0)] = 0
    settings: Settings = field(default_factory=Settings)
    sizes: dict[str, int] = field(default_factory=dict)
    """All fields of the task; those left out are filled in with its defaults."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", dict(vars(self.make_task())))  # so that equal cells compare equal

    def make_task(self) -> RecallTask:
        """The task itself."""
        return RECALL_TASKS[self.task](**self.sizes)


@dataclass(frozen=True)
class Result:
    """What came of a cell."""

    cell: Cell
    accuracy: float
    """The share of right answers on the test sequences."""
    se: float
    """Its standard error over sequences."""
    sequences: int
    """Test sequences."""
    chance: float
    """The best accuracy without a memory."""
    validation: float
    """Accuracy on validation sequences when its training ended."""
    parameters: int
    hidden_size: int
    """Units of the controller that make it so many parameters."""
    learning_rate: float
    """The one that did best on validation sequences."""
    updates: int
    """Updates in all, with every learning rate that was tried."""
    seconds: float
    """Of training, likewise, validation included."""


def options_of(cell: Cell) -> MemoryOptions:
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
    cell: Cell, progress: Callable[[Validation], object] = lambda validation: None, sequences: int = TEST_SEQUENCES
) -> Result:
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
            training = _batches(task, "train", given.batch, None, cell.seed)
            name = f"{cell.task} by {cell.memory}"
            accuracy = partial(_accuracy, validation)
            trained = fit(model, _loss, training, given.training(rate), validate=accuracy, progress=progress, name=name)
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
    return Result(
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
    return query_loss(model(batch.x, batch.begin), batch.target, batch.asked)


def _accuracy(batches: Sequence[_Batch], model: SequenceClassifier) -> float:
    return float(np.concatenate([_right(model, batch) for batch in batches]).mean())


def _right(model: SequenceClassifier, batch: _Batch) -> Floats:
    """``[B]``: the share of right answers in each sequence."""
    hit = (model(batch.x, batch.begin).argmax(-1) == batch.target) & batch.asked
    return (hit.sum(0) / batch.asked.sum(0)).double().numpy()

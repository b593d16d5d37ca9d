"""A memory on a recall task as an experiment: trained with several step sizes, tested on fresh sequences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from metarl.config import ConfigError, choice
from metarl.config import build as build_options
from metarl.data.recall import RECALL_TASKS, TEST_SEQUENCES
from metarl.data.sequences import RecallTask, Sequences
from metarl.evaluation.recall import RecallCell, RecallResult, RecallSettings
from metarl.evaluation.results import RecallEvaluation
from metarl.experiments.base import (
    Experiment,
    Validated,
    config_errors,
    load_module,
    save_fit,
    save_module,
    torch_threads,
)
from metarl.experiments.recall.candidates import candidates, classifier, parameters, sized
from metarl.functional.stats import standard_error
from metarl.limits import check_count
from metarl.memory.options import MemoryOptions
from metarl.nets.sequence import SequenceClassifier, query_loss
from metarl.runs.rows import Row
from metarl.runs.session import Saved, Session
from metarl.seeding import torch_rng
from metarl.training.allowance import Allowance
from metarl.training.checkpoint import CheckpointError
from metarl.training.resume import restoring
from metarl.training.supervised import Ended, FitState, SupervisedOptions, Validation, fit
from metarl.types import CoreInput, Floats, Split

VALIDATION_SEQUENCES = 1000
VALIDATE_EVERY = 50  # updates between validations
WARMUP = 20  # updates over which a step size grows from zero
AT_ONCE = 500  # sequences that are tested side by side
ANSWER_BYTES = 16  # of a tested sequence: its share of correct answers, twice as they are joined


@dataclass(frozen=True)
class Training:
    """How a model was trained: see :class:`metarl.evaluation.recall.RecallResult`."""

    learning_rate: float
    validation: float
    updates: Annotated[int, Ge(0)]
    seconds: float


@dataclass
class RecallModel:
    """A memory core as a classifier of sequences, and how it was trained.

    Args:
        options: with the size of the controller that gives it the wanted number of parameters.
        training: ``learning_rate``, ``validation``, ``updates`` and ``seconds`` of :class:`RecallResult`.
    """

    net: SequenceClassifier
    options: MemoryOptions
    training: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RecallExperiment(Experiment):
    """A memory that is trained and tested on a recall task.

    Args:
        task: the name of a task of :data:`metarl.data.recall.RECALL_TASKS`.
        memory: a controller, or STORE+ACCESS; see ``metarl list memories``.
        sizes: fields of the task; those left out take its defaults.
        sequences: test sequences.
    """

    kind: ClassVar[str] = "recall"
    axis: ClassVar[str] = "sequences"
    unit: ClassVar[str] = "sequences"

    task: str = "associative"
    memory: str = "episodic+attention"
    sizes: dict[str, int] = field(default_factory=dict)
    fit: RecallSettings = field(default_factory=RecallSettings)
    sequences: Annotated[int, Ge(1)] = TEST_SEQUENCES
    threads: Annotated[int, Ge(1)] | None = 1

    def cell(self, seed: int) -> RecallCell:
        """The same as a cell of the benchmark."""
        return RecallCell(self.task, self.memory, seed, self.fit, self.sizes)

    def describe(self) -> str:
        """See :class:`Experiment`."""
        return f"task: {self.task}, memory: {self.memory}"

    def check(self) -> Self:
        """See :class:`Experiment`."""
        choice(self.task, RECALL_TASKS, "task")
        choice(self.memory, candidates(), "memory")
        with config_errors(None, TypeError):
            options_of(self.cell(0))
        check_count(self.sequences, ANSWER_BYTES, key="sequences")
        return self

    @property
    def validates_every(self) -> int | None:
        """See :class:`Experiment`."""
        return VALIDATE_EVERY * self.fit.batch

    def validation_of(self, rows: Sequence[Row], kept: int | None) -> Validated | None:
        """See :class:`Experiment`: of the step size that did best at its end."""
        last = {row["train/learning_rate"]: row for row in rows if row.get(self.validation) is not None}
        found = [value for row in last.values() if (value := super(RecallExperiment, self).validation_of([row], None))]
        return max(found, key=lambda one: one.value, default=None)

    def build(self, seed: int, device: torch.device) -> RecallModel:
        """See :class:`Experiment`."""
        return build(self.cell(seed), device)

    def learn(self, model: RecallModel, session: Session) -> int:
        """See :class:`Experiment`."""
        begun = 0 if session.saved is None else session.saved.step // self.fit.batch
        with session.stoppable(), session.progress(self.fit.updates, "update", begun) as shown:

            def progress(updates: int, rate: float, state: Validation) -> None:
                row = {"train/loss": state.loss, "validation/accuracy": state.accuracy, "train/learning_rate": rate}
                session.validated(row, step=updates * self.fit.batch)
                shown.show({"loss": f"{state.loss:.3f}", "accuracy": f"{state.accuracy:.2%}"})
                shown.reach(updates)

            def between(updates: int, write: Callable[[Path, dict[str, Any]], object]) -> None:
                session.save_due(updates * self.fit.batch, write)

            ended = train(model, self.cell(session.seed), progress, lambda: session.stopped, between, session.saved)
        session.facts["ended"] = ended
        return int(model.training["updates"]) * self.fit.batch

    def evaluate(
        self,
        model: RecallModel,
        *,
        split: Split = "test",
        n: int | None = None,
        seed: int = 0,
        quiet: bool = False,
        alone: bool = False,
    ) -> RecallEvaluation:
        """See :class:`Experiment`; ``n`` counts sequences."""
        if split == "train":
            raise ConfigError(key="split", given=split, expected="validation or test: sequences not trained on")
        return RecallEvaluation(results=(result_of(model, self.cell(seed), split, self.sequences if n is None else n),))

    def save(self, model: RecallModel, path: Path) -> None:
        """See :class:`Experiment`."""
        save_module(self.kind, model.net, path, training=model.training)

    def load(self, path: Path, device: torch.device) -> RecallModel:
        """See :class:`Experiment`."""
        model = self.build(0, device)
        training = load_module(self.kind, model.net, path).get("training", {})
        try:
            model.training = dict(vars(build_options(Training, training, f"{path}: training")))
        except ConfigError as error:
            raise CheckpointError.of(error) from None
        model.net.eval()
        return model


def build(cell: RecallCell, device: torch.device) -> RecallModel:
    """The untrained model of a cell; the global random generators stay as they were.

    Raises:
        ValueError: the memory can't be given as many parameters.
    """
    options = options_of(cell)
    with torch.random.fork_rng(), Allowance():
        return RecallModel(_net(cell, options, device), options)


def options_of(cell: RecallCell) -> MemoryOptions:
    """The memory of a cell, with the controller's size that gives it the wanted number of parameters.

    Raises:
        ValueError: no size does, or a batch or the validation sequences are more than memory can hold.
    """
    sizes = cell.make_task().sizes
    each = 4 * sizes.steps * (sizes.now + sizes.feedback)
    check_count(VALIDATION_SEQUENCES, each, key="sizes", remedy="give smaller ones")
    check_count(cell.settings.batch, each, key="fit.batch")
    options = replace(candidates()[cell.memory], key_size=cell.settings.key_size)
    if options.store != "none":
        options = replace(options, value_size=cell.settings.key_size)
    with torch.random.fork_rng(), Allowance():  # models are built to be counted
        return sized(options, cell.make_task(), cell.settings.parameters, cell.memory)


def train(
    model: RecallModel,
    cell: RecallCell,
    progress: Callable[[int, float, Validation], object] = lambda updates, rate, validation: None,
    stopped: Callable[[], bool] = lambda: False,
    between: Callable[[int, Callable[[Path, dict[str, Any]], object]], object] = lambda updates, write: None,
    saved: Saved | None = None,
) -> Ended | None:
    """Train anew with each learning rate, until one reaches the target; the best on validation sequences stays.

    Args:
        model: of :func:`build`; it is left in evaluation mode.
        cell: the task, the seed and the budget.
        progress: called after each validation with the updates so far over all learning rates, and the one at hand.
        stopped: whether to stop early.
        between: called between updates with the updates so far and what writes a checkpoint of the training.
        saved: such a checkpoint, to go on from; None: from the beginning.

    Returns:
        What ended the last training; None where it was stopped.

    Raises:
        NonFiniteError: a loss or gradient is not finite.
        CheckpointError: the saved state is of another training.
    """
    task, settings, device = cell.make_task(), cell.settings, next(model.net.parameters()).device
    held = list(_batches(task, "validation", AT_ONCE, VALIDATION_SEQUENCES, cell.seed, device))
    best, updates, seconds, shares = -1.0, 0, 0.0, len(settings.learning_rates)
    first, start, ended = 0, None, None
    if saved is not None:
        with restoring("the saved training"):
            first, best, updates, seconds = (
                saved.meta[name] for name in ("number", "best_accuracy", "before", "seconds")
            )
            model.net.load_state_dict(dict(saved.groups["chosen"]))
            model.training = dict(saved.meta["training"])
            start = FitState(saved.meta["fit"], saved.groups)
    for number, rate in enumerate(settings.learning_rates[first:], start=first):
        options = SupervisedOptions(
            updates=None if settings.updates is None else settings.updates // shares,
            seconds=None if settings.seconds is None else settings.seconds / shares,
            learning_rate=rate,
            learning_rate_end=rate / 10,
            warmup=WARMUP,
            validate_every=VALIDATE_EVERY,
            target=settings.target,
        )
        fresh: Iterator[Any] = _batches(task, "train", settings.batch, None, cell.seed, device)
        if start is not None:
            fresh = itertools.islice(fresh, start.meta["updates"], None)  # those that were trained on
        course = {"number": number, "best_accuracy": best, "before": updates, "seconds": seconds}

        def offer(done: int, state: Callable[[], FitState], course: dict[str, Any] = course) -> None:
            def write(path: Path, session: dict[str, Any]) -> None:
                chosen = {"chosen": model.net.state_dict()}
                save_fit("recall", path, session, state(), chosen, training=model.training, **course)

            between(course["before"] + done, write)

        with torch.random.fork_rng():
            net = _net(cell, model.options, device)
            trained = fit(
                net,
                _loss,
                itertools.takewhile(lambda _: not stopped(), fresh),
                options,
                validate=lambda net: float(_correct(held, net).mean()),
                progress=lambda state, before=updates, rate=rate: progress(before + state.updates, rate, state),  # type: ignore[misc]
                between=offer,
                state=start,
                name=f"{cell.task} by {cell.memory}",
            )
        start, ended = None, trained.ended
        updates, seconds = updates + trained.updates, seconds + trained.seconds
        accuracy = trained.curve[-1].accuracy if trained.curve else 0.0  # none where it was stopped at once
        if accuracy > best:
            best = accuracy
            model.net.load_state_dict(net.state_dict())
            model.training = {"learning_rate": rate, "validation": accuracy}
        if stopped() or (settings.target is not None and accuracy >= settings.target):
            break
    model.net.eval()
    model.training |= {"updates": updates, "seconds": round(seconds, 2)}
    return ended


@torch.no_grad()
def result_of(
    model: RecallModel, cell: RecallCell, split: Split = "test", sequences: int = TEST_SEQUENCES
) -> RecallResult:
    """The accuracy of a trained model on fresh sequences.

    Args:
        model: trained.
        cell: the task and the seed of the sequences.
        split: validation or test.
        sequences: how many.
    """
    check_count(sequences, ANSWER_BYTES, key="sequences")
    task, device = cell.make_task(), next(model.net.parameters()).device
    correct = _correct(_batches(task, split, AT_ONCE, sequences, cell.seed, device), model.net)
    known = model.training
    return RecallResult(
        cell=cell,
        accuracy=float(correct.mean()),
        se=standard_error(correct),
        sequences=len(correct),
        chance=task.chance,
        validation=known["validation"],
        parameters=parameters(model.net),
        hidden_size=model.options.controller_options["hidden_size"],
        learning_rate=known["learning_rate"],
        updates=int(known["updates"]),
        seconds=known["seconds"],
    )


def measure(cell: RecallCell, sequences: int = TEST_SEQUENCES, device: torch.device | str = "cpu") -> RecallResult:
    """Train and test a cell on one thread, so that times can be compared whatever else runs.

    Args:
        cell: what to measure.
        sequences: how many to test on.
        device: the torch device.

    Raises:
        NonFiniteError: a loss or gradient is not finite.
        ValueError: the memory can't be given as many parameters.
    """
    with torch_threads(1):
        model = build(cell, torch.device(device))
        train(model, cell)
        return result_of(model, cell, "test", sequences)


def _net(cell: RecallCell, options: MemoryOptions, device: torch.device) -> SequenceClassifier:
    """A net with the initial parameters of the cell's seed; torch's generator is seeded with it too."""
    torch.manual_seed(torch_rng(cell.seed, "init").initial_seed())
    return classifier(options, cell.make_task()).to(device)


def _batches(
    task: RecallTask, split: Split, size: int, total: int | None, seed: int, device: torch.device
) -> Iterator[Any]:
    """:class:`metarl.data.sequences.Sequences` of tensors; see :meth:`RecallTask.batches`."""
    for drawn in task.batches(split, size, total=total, seed=seed):
        yield Sequences._make(torch.from_numpy(array).to(device) for array in drawn)


def _logits(net: SequenceClassifier, batch: Any) -> Tensor:
    return net(CoreInput(batch.now, batch.feedback), batch.boundary)


def _loss(net: SequenceClassifier, batch: Any) -> Tensor:
    return query_loss(_logits(net, batch), batch.target, batch.query_mask)


def _correct(batches: Iterable[Any], net: SequenceClassifier) -> Floats:
    """The share of correct answers in each sequence, ``[n]``."""
    shares = []
    for batch in batches:
        hit = (_logits(net, batch).argmax(-1) == batch.target) & batch.query_mask
        shares.append((hit.sum(0) / batch.query_mask.sum(0)).double().cpu().numpy())
    return np.concatenate(shares)

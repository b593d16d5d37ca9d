"""What every experiment is: a frozen dataclass of options that builds, trains, evaluates, saves and loads one model."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import torch
from annotated_types import Ge
from torch import nn

from metarl import parallel
from metarl.config import ConfigError, to_plain
from metarl.evaluation.results import Evaluation
from metarl.runs.rows import Row
from metarl.runs.session import Session
from metarl.training.checkpoint import CheckpointError, check_tensors, read_checkpoint, write_checkpoint
from metarl.training.supervised import FitState
from metarl.types import Array, Split

WITHOUT_EFFECT = ("about", "device", "checkpoint_seconds", "checkpoint_steps")
"""Options that change nothing in what is learned."""


class Validated(NamedTuple):
    """How a model did on validation tasks.

    Args:
        value: the mean; more is better.
        error: its standard error over these tasks; None: it was not logged.
    """

    value: float
    error: float | None


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """Everything that a run is made from; :func:`metarl.experiments.run.run` carries it out.

    A subclass is a frozen dataclass whose fields are the tables of its presets. Its models are of any type: an agent,
    a few-shot learner, a sequence classifier.

    Args:
        name: of the preset.
        about: what the preset is for and what to expect of it.
        device: the torch device: cpu, cuda, cuda:1, ...; auto: CUDA where there is any.
        threads: threads of torch; left out: as many as torch chooses. Equal results need equal threads.
        checkpoint_seconds: between two checkpoints of training, from which a run that was cut off is resumed.
        checkpoint_steps: steps, episodes or sequences after which there is one in any case; left out: by time alone.
    """

    kind: ClassVar[str]
    """Written in presets and in config.json."""
    axis: ClassVar[str]
    """The x-axis of the metrics."""
    unit: ClassVar[str]
    """What the steps of the x-axis are called in messages."""
    records: ClassVar[str | None] = None
    """The file that :meth:`record` fills."""
    weights: ClassVar[str] = "model"
    """The group of tensors of a checkpoint that is needed to use the model."""
    validation: ClassVar[str] = "validation/accuracy"
    """The metric of a validation in training, by which models and settings are chosen; more is better."""

    name: str = ""
    about: str = ""
    device: str = "auto"
    threads: Annotated[int, Ge(1)] | None = None
    checkpoint_seconds: Annotated[float, Ge(0)] = 60.0
    checkpoint_steps: Annotated[int, Ge(1)] | None = None

    @property
    def group(self) -> str:
        """The Weights & Biases group of its runs, which differ in nothing but their seed and where they were made."""
        same = {key: value for key, value in self.config().items() if key not in WITHOUT_EFFECT}
        return f"{self.name or self.kind}-{sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:8]}"

    def not_allowed(self, allowed: Container[str]) -> list[str]:
        """The modules of code that the options name, but for those that are ``allowed``; a file may name none."""
        return []

    @abstractmethod
    def describe(self) -> str:
        """One line or two for the user: what is trained on."""

    @abstractmethod
    def check(self) -> Self:
        """The experiment itself, with choices left open (``auto``) made.

        Raises:
            ConfigError: the model can't be built, or the data can't be had.
        """

    @property
    @abstractmethod
    def validates_every(self) -> int | None:
        """Units of :attr:`axis` between two validations in training; None: there are none."""

    def validating(self) -> Self:
        """The experiment itself, with validations in training where it has none.

        Raises:
            ConfigError: no tasks are left to validate on.
        """
        return self

    @property
    def planned(self) -> int | None:
        """Units of :attr:`axis` that are to be trained; None: that is not known before."""
        return None

    def validation_of(self, rows: Sequence[Row], kept: int | None) -> Validated | None:
        """How the model that a training has left did on validation tasks.

        Args:
            rows: of metrics.
            kept: the step after which it was the best, where that one was kept; None: the last.

        Returns:
            None where it was never validated.
        """
        found = [row for row in rows if row.get(self.validation) is not None]
        if kept is not None:
            found = [row for row in found if row.get(self.axis) == kept]
        if not found:
            return None
        value, error = (found[-1].get(name) for name in (self.validation, f"{self.validation}_se"))
        return Validated(float(value or 0.0), None if error is None else float(error))

    def share(self, processes: int) -> Self:
        """The experiment of each of several processes that train together: with its share of every batch.

        Raises:
            ConfigError: a batch can't be divided so, or experiments of this kind can't be shared.
        """
        if processes > 1:
            expected = f"1 for experiments of kind {self.kind}, which can't be shared"
            raise ConfigError(key="processes", given=processes, expected=expected)
        return self

    @abstractmethod
    def build(self, seed: int, device: torch.device) -> Any:
        """The untrained model; the global random generators stay as they were."""

    @abstractmethod
    def learn(self, model: Any, session: Session) -> int:
        """Train ``model`` in place, from the session's saved state where there is one, until it is stopped.

        Between updates the whole state of training is offered to :meth:`metarl.runs.session.Session.save_due`.

        Returns:
            The steps trained, in units of :attr:`axis`: environment steps, few-shot episodes or sequences.

        Raises:
            NonFiniteError: a loss, gradient or observation is not finite.
            CheckpointError: the saved state doesn't fit this experiment.
        """

    @abstractmethod
    def evaluate(
        self,
        model: Any,
        *,
        split: Split = "test",
        n: int | None = None,
        seed: int = 0,
        quiet: bool = False,
        alone: bool = False,
    ) -> Evaluation:
        """Test ``model`` on held-out tasks.

        Args:
            model: trained.
            split: validation or test.
            n: tasks: trials, episodes or sequences; None: as the options say.
            seed: of the tasks.
            quiet: no progress bar.
            alone: leave out what the model is compared with, where there is any.

        Raises:
            ValueError: the split is that of training, or can't be had.
        """

    def record(self, model: Any, seed: int) -> Mapping[str, Array]:
        """A few test tasks with what the model did, for images.

        Args:
            model: trained.
            seed: of the tasks.

        Returns:
            Arrays by name, written to :attr:`records`; for their shapes see :mod:`metarl.evaluation.records`.
        """
        return {}

    def film(self, model: Any, seed: int, path: Path) -> bool:
        """Write a short animation of a test task to ``path``; whether there is one.

        Args:
            model: trained.
            seed: of the tasks.
            path: of a GIF.
        """
        return False

    @abstractmethod
    def save(self, model: Any, path: Path) -> None:
        """Write a checkpoint."""

    @abstractmethod
    def load(self, path: Path, device: torch.device) -> Any:
        """The model of a checkpoint, ready to be evaluated.

        Raises:
            CheckpointError: the file is missing, damaged, or doesn't fit this experiment.
        """

    def load_from(self, own: Experiment, path: Path, device: torch.device) -> Any:
        """The model of a checkpoint for tests by these options, which differ from those it was trained by.

        Args:
            own: what it was trained by.
            path: of the checkpoint.
            device: where it is to be.

        Raises:
            CheckpointError: see :meth:`load`.
            ConfigError: the model can't be tested by these options.
        """
        return self.load(path, device)

    def config(self) -> dict[str, Any]:
        """The options as plain data with their kind: what config.json holds."""
        return {"kind": self.kind, **to_plain(self)}


def pick_device(name: str) -> torch.device:
    """The torch device called ``name``; ``auto`` is CUDA where there is any, else the CPU.

    Of several processes that train together on GPUs, each takes the one of its number on its machine.

    Raises:
        ConfigError: there is no such device on this machine.
    """
    found = parallel.launched() if parallel.size() > 1 else None
    if found is not None and name != "cpu" and (name != "auto" or torch.cuda.is_available()):
        if name not in ("auto", "cuda"):
            raise ConfigError(key="device", given=name, expected="auto, cpu or cuda: each process takes its own GPU")
        if found.local_rank >= torch.cuda.device_count():
            remedy = "start as many processes as there are GPUs (--nproc-per-node), or give --device cpu"
            problem = f"process {found.local_rank} of this machine has no GPU of its own: there are "
            raise ConfigError(f"{problem}{torch.cuda.device_count()}", key="device", given=name, remedy=remedy)
        return torch.device("cuda", found.local_rank)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # torch's own messages run over many lines
        raise ConfigError(key="device", given=name, expected="auto, cpu or a CUDA device that is there") from None
    return device


@contextmanager
def config_errors(where: str | None = None, *also: type[Exception]) -> Iterator[None]:
    """Turn errors about options into ConfigErrors.

    Args:
        where: what the options are from, named first in the error.
        also: kinds of errors that are converted too, besides ValueError.

    Raises:
        ConfigError: instead of any of these.
    """
    converted: tuple[type[Exception], ...] = (ValueError, *also)
    try:
        yield
    except ConfigError:
        raise
    except converted as error:
        raise ConfigError.of(error, where) from None


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch compute with ``count`` threads; None: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save_module(kind: str, model: nn.Module, path: Path, **facts: Any) -> None:
    """Write the parameters and buffers of ``model`` to a checkpoint.

    Args:
        kind: of the experiment.
        model: what is saved.
        path: of the checkpoint.
        facts: plain data to keep with it.
    """
    write_checkpoint(path, {"kind": kind, **facts}, {"model": model.state_dict()})


def load_module(kind: str, model: nn.Module, path: Path) -> dict[str, Any]:
    """Load what :func:`save_module` wrote.

    Args:
        kind: of the experiment.
        model: its parameters and buffers are overwritten.
        path: of the checkpoint.

    Returns:
        The facts.

    Raises:
        CheckpointError: the file is missing or damaged, of another kind, or of a model with other options.
    """
    meta, groups = read_checkpoint(path)
    if meta.get("kind") != kind or "model" not in groups:
        raise CheckpointError(f"{path} holds no model of kind {kind!r}; use the checkpoint that its run wrote")
    check_tensors(groups["model"], model.state_dict(), f"{path} is damaged or doesn't fit its config.json")
    model.load_state_dict(groups["model"])
    return meta


def save_fit(
    kind: str, path: Path, session: Mapping[str, Any], state: FitState, groups: Mapping[str, Any], **more: Any
) -> None:
    """Write a supervised training that goes on from here.

    Args:
        kind: of the experiment.
        path: of the checkpoint.
        session: what the session gave.
        state: of :func:`metarl.training.supervised.fit`.
        groups: further groups of tensors.
        more: further plain data.
    """
    write_checkpoint(path, {"kind": kind, "session": session, "fit": state.meta, **more}, {**state.groups, **groups})

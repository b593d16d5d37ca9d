"""The one way from an experiment to its report: train, evaluate, record, draw, and leave a run folder behind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metarl.config import Assignment, ConfigError, apply, to_plain
from metarl.evaluation.records import write_record
from metarl.evaluation.results import Evaluation, read_evaluation, write_evaluation
from metarl.experiments.base import Experiment, pick_device, torch_threads
from metarl.experiments.presets import from_config, load_experiment
from metarl.report.draw import draw_run
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.session import training_session
from metarl.runs.tracking import WandbMode
from metarl.tasks.family.code import import_modules
from metarl.types import Split


@dataclass
class Run:
    """A trained model with its experiment and its folder.

    Args:
        model: an :class:`metarl.agents.rl2.RL2PPO`, a :class:`metarl.agents.fewshot.learner.FewShotLearner` in
            evaluation mode, or a :class:`metarl.nets.sequence.SequenceClassifier`.
        evaluation: on test tasks; None where training was interrupted.
        images: paths of the images drawn, by name.
        missing: images that could not be drawn, and why.
        signal: the signal that ended training early, or None.
    """

    experiment: Experiment
    seed: int
    folder: RunFolder
    model: Any
    evaluation: Evaluation | None = None
    images: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    signal: int | None = None

    @property
    def steps(self) -> int:
        """Steps trained: of the environment, few-shot episodes or sequences."""
        return int(self.folder.status.get("train_steps", 0))

    @property
    def seconds(self) -> float:
        """Seconds trained, validation included."""
        return float(self.folder.status.get("train_seconds", 0.0))

    def evaluate(
        self, *, split: Split = "test", n: int | None = None, seed: int | None = None, quiet: bool = False
    ) -> Evaluation:
        """Evaluate the model on held-out tasks; nothing is written.

        Args:
            split: validation or test.
            n: tasks: trials, episodes or sequences; None: as the experiment says.
            seed: of the tasks; None: that of the run.
            quiet: no progress bar.
        """
        evaluation = self.experiment.evaluate(
            self.model, split=split, n=n, seed=self.seed if seed is None else seed, quiet=quiet
        )
        return replace(evaluation, train_seconds=self.seconds, train_steps=self.steps, train_seed=self.seed)

    def complete(self, evaluation: Evaluation) -> None:
        """Write ``evaluation`` and the records of a few test tasks into the folder, where they are missing."""
        self.evaluation = evaluation
        if not self.folder.evaluation.is_file():
            write_evaluation(self.folder, evaluation)
        name = self.experiment.records
        if name is not None and not (self.folder.path / name).is_file():
            write_record(self.folder.path / name, self.experiment.record(self.model, self.seed))


def run(
    experiment: Experiment,
    folder: RunFolder | str | Path | None = None,
    *,
    seed: int = 0,
    wandb: WandbMode = "disabled",
    quiet: bool = False,
) -> Run:
    """Carry out a checked experiment: train, checkpoint, evaluate on test tasks, record some of them and draw.

    SIGINT and SIGTERM end training early; the checkpoint is written and the run returned without an evaluation.

    Args:
        experiment: see :func:`metarl.experiments.presets.load_experiment`.
        folder: to make, or a new run folder; None: ``runs/NAME-TIME-sSEED``.
        seed: of everything random.
        wandb: whether Weights & Biases logs too.
        quiet: no progress bars.

    Raises:
        FileExistsError: there is something in the folder.
        NonFiniteError: a loss, gradient or observation is not finite.
    """
    device = pick_device(experiment.device)
    if not isinstance(folder, RunFolder):
        folder = new_folder(experiment, folder, seed)
    config, group, axis = experiment.config() | {"seed": seed}, experiment.group or None, experiment.axis
    with (
        torch_threads(experiment.threads),
        training_session(folder, config, seed=seed, wandb=wandb, group=group, axis=axis, quiet=quiet) as session,
    ):
        model = experiment.build(seed, device)
        began = time.perf_counter()
        steps = experiment.learn(model, session)
        seconds = time.perf_counter() - began
        session.complete(train_seconds=seconds, train_steps=steps, device=str(device))
        done = Run(experiment, seed, folder, model, signal=session.signals[0] if session.stopped else None)
        if not session.stopped:
            done.complete(done.evaluate(quiet=quiet))
            session.tracker.log_summary({"evaluation": to_plain(done.evaluation)})
            done.images, done.missing = draw_run(folder)
            for name, image in done.images.items():
                session.tracker.log_image(image, f"figures/{name}")
    return done


def new_folder(experiment: Experiment, path: str | Path | None, seed: int) -> RunFolder:
    """Make a run folder.

    Args:
        experiment: what it is for.
        path: of the folder; None: a new one in ``runs``, with a name made from experiment, time and seed.
        seed: of the run.

    Raises:
        FileExistsError: there is something in the folder.
    """
    if path is not None:
        return RunFolder.create_at(path)
    return RunFolder.create(Path("runs"), experiment.name or experiment.kind, seed=seed)


def train(
    preset: str | Path,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    device: str | None = None,
    wandb: WandbMode = "disabled",
    quiet: bool = False,
) -> Run:
    """Train a preset and evaluate it on held-out tasks: what ``metarl train`` does.

    Args:
        preset: the name of a preset (``metarl list presets``), or the path of a TOML file.
        seed: of everything random.
        settings: options to change, such as ``{"env.arms": 5}``.
        folder: the run folder to make; None: ``runs/PRESET-TIME-sSEED``.
        device: the torch device; None: as the preset says.
        wandb: whether Weights & Biases logs too.
        quiet: no progress bars.

    Returns:
        The run: its model, evaluation, folder and images.

    Raises:
        ConfigError: an unknown preset, key or value.
        FileExistsError: there is something in the folder.
    """
    own = {} if device is None else {"device": device}
    return run(load_experiment(preset, {**(settings or {}), **own}), folder, seed=seed, wandb=wandb, quiet=quiet)


def open_run(
    path: str | Path, settings: Sequence[Assignment] = (), *, device: str = "auto", imports: str | Sequence[str] = ()
) -> Run:
    """The run in a folder, with its trained model.

    A folder may come from somebody else, so no module is imported because a file in it names it.

    Args:
        path: of the run folder.
        settings: options to change for the evaluation, such as where data are now.
        device: the torch device.
        imports: modules whose code the run may use; they are imported.

    Raises:
        RunError, ConfigError, CheckpointError: the folder holds no run of this version, a file of it is damaged, or it
            names code of modules that are not allowed.
    """
    import_modules([imports] if isinstance(imports, str) else imports)
    folder = RunFolder.open(path)
    config = dict(folder.config)
    seed = config.pop("seed", None)
    if type(seed) is not int or seed < 0:
        problem = f"{folder.path} has no seed in its config.json, so it is damaged or no run of metarl"
        raise RunError(problem, key="seed", given=seed, expected="a whole number of at least 0")
    experiment = from_config(apply(config, settings), f"{folder.path}: config")
    if missing := experiment.not_allowed(imports):
        raise ConfigError(
            f"{folder.path} names code of modules that are not allowed: {', '.join(missing)}",
            key="imports",
            given=missing,
            remedy=f"if you trust it, give {' '.join(f'--import {name}' for name in missing)} (in Python: "
            f"open_run(path, imports={missing}))",
        )
    model = experiment.load(folder.checkpoint, pick_device(device))
    return Run(experiment, seed, folder, model, read_evaluation(folder))

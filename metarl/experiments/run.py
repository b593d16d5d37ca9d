"""The one way from an experiment to its report: train, evaluate, record, draw, and leave a run folder behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from metarl import parallel
from metarl.config import Assignment, ConfigError, apply, to_plain
from metarl.evaluation.records import write_record
from metarl.evaluation.results import Evaluation, read_evaluation, write_evaluation
from metarl.experiments.base import Experiment, pick_device, torch_threads
from metarl.experiments.presets import assignments, from_config, load_experiment
from metarl.experiments.resume import Start, check_same, starting_point
from metarl.limits import peak_bytes
from metarl.report.draw import draw_run
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.session import Follower, Judge, training_session
from metarl.runs.status import PRUNED, cut_short
from metarl.runs.tracking import WandbMode
from metarl.tasks.family.code import import_modules
from metarl.types import Split


@dataclass
class Run:
    """A trained model with its experiment and its folder.

    Args:
        model: an :class:`metarl.agents.rl2.RL2PPO`, a :class:`metarl.agents.fewshot.learner.FewShotLearner` in
            evaluation mode, or a :class:`metarl.nets.sequence.SequenceClassifier`.
        evaluation: on test tasks; None where training was interrupted, or none was asked for.
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

    @property
    def cut_short(self) -> str | None:
        """What ended training before the updates that were asked for, such as a time limit; None: nothing did."""
        return cut_short(self.folder.config, self.folder.status)

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that the process held until it was trained, without its workers; None if not known."""
        return self.folder.status.get("train_peak_bytes")

    def evaluate(
        self,
        *,
        split: Split = "test",
        n: int | None = None,
        seed: int | None = None,
        quiet: bool = False,
        alone: bool = False,
    ) -> Evaluation:
        """Evaluate the model on held-out tasks; nothing is written.

        Args:
            split: validation or test.
            n: tasks: trials, episodes or sequences; None: as the experiment says.
            seed: of the tasks; None: that of the run.
            quiet: no progress bar.
            alone: leave out what the model is compared with, where there is any.
        """
        seed = self.seed if seed is None else seed
        evaluation = self.experiment.evaluate(self.model, split=split, n=n, seed=seed, quiet=quiet, alone=alone)
        kept = self.folder.status.get("kept_step")
        trained: dict[str, Any] = {"train_seconds": self.seconds, "train_steps": self.steps, "train_seed": self.seed}
        return replace(evaluation, **trained, kept_step=None if kept is None else int(kept))

    def complete(self, evaluation: Evaluation) -> None:
        """Write ``evaluation`` and the records of a few test tasks into the folder, where they are missing.

        An entry of the zoo is never written to.
        """
        self.evaluation = evaluation
        if self.folder.is_entry:
            return
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
    verbose: bool = False,
    resume: bool = False,
    evaluate: bool = True,
    judge: Judge | None = None,
) -> Run:
    """Carry out a checked experiment: train, checkpoint, evaluate on test tasks, record some of them and draw.

    A signal (SIGINT, SIGTERM, SIGHUP) ends training early; the model is saved and the run returned without an
    evaluation. A second one ends the process at once.

    Processes that ``torchrun`` started train together (docs/scaling.md). The first alone writes and evaluates; the
    others return as soon as training ends, without an evaluation, and without a model where there was nothing to train.

    Args:
        experiment: see :func:`metarl.experiments.presets.load_experiment`.
        folder: to make, or a new run folder; None: ``runs/NAME-TIME-sSEED``.
        seed: of everything random.
        wandb: whether Weights & Biases logs too.
        quiet: no progress.
        verbose: print each row of metrics on stderr too.
        resume: go on with the run in the folder, which must have the same experiment and seed, from its newest
            checkpoint; see also :func:`resume`.
        evaluate: whether to evaluate, record and draw once it is trained; :func:`resume` does so later.
        judge: is told each validation in training, with its step, and may end training there: see
            :class:`metarl.runs.session.Session`. The run then says that it was pruned.

    Raises:
        FileExistsError: there is something in the folder.
        NonFiniteError: a loss, gradient or observation is not finite.
        RunError: another process trains in the folder, or there is nothing to resume.
        ConfigError: the run in the folder has other options.
        Stopped: a signal arrived before or after training; a KeyboardInterrupt.
    """
    with parallel.joined(), torch_threads(experiment.threads):
        device, share = pick_device(experiment.device), experiment.share(parallel.size())
        if parallel.rank():
            return _follow(share, seed, device)
        return _lead(experiment, share, folder, seed, device, wandb, quiet, verbose, resume, evaluate, judge)


def _lead(
    experiment: Experiment,
    share: Experiment,
    folder: RunFolder | str | Path | None,
    seed: int,
    device: torch.device,
    wandb: WandbMode,
    quiet: bool,
    verbose: bool,
    resume: bool,
    evaluate: bool,
    judge: Judge | None,
) -> Run:
    """Train in the first process, write and evaluate; see :func:`run`."""
    config, group, axis = experiment.config() | {"seed": seed}, experiment.group or None, experiment.axis
    if resume:
        folder = RunFolder.open(folder.path if isinstance(folder, RunFolder) else folder or "")
        check_same(config, folder)
    elif not isinstance(folder, RunFolder):
        folder = new_folder(experiment, folder, seed)
    with folder.locked():
        start = starting_point(experiment, folder, device) if resume else Start()
        parallel.from_first(lambda: (str(folder.path), start.saved, start.trained is not None))
        options: dict[str, Any] = {"wandb": wandb, "group": group, "axis": axis, "quiet": quiet, "verbose": verbose}
        options |= {"rows": start.rows, "saved": start.saved, "facts": start.facts}
        options |= {"seconds": experiment.checkpoint_seconds, "steps": experiment.checkpoint_steps, "judge": judge}
        with training_session(folder, config, seed=seed, **options) as session:
            model = share.build(seed, device) if start.trained is None else start.trained
            steps = 0 if start.trained is not None else share.learn(model, session)
            parallel.leave()  # the rest is for the first process alone
            session.facts |= {"ended": PRUNED} if session.pruned else {}
            if start.trained is None:
                seconds, whole = session.elapsed, not session.stopped
                with session.stoppable():
                    for stale in (folder.evaluation, folder.path / (experiment.records or folder.evaluation.name)):
                        stale.unlink(missing_ok=True)  # of the model that an interrupted training left
                    experiment.save(model, folder.checkpoint)
                    facts = {"train_seconds": seconds, "train_steps": steps, "train_peak_bytes": peak_bytes()}
                    session.trained(whole=whole, **facts, device=str(device))
            done = Run(experiment, seed, folder, model, signal=session.stopped_by)
            if session.stopped:
                session.set_status("interrupted")
                return done
            if not evaluate:
                session.set_status("finished")
                return done
            done.complete(done.evaluate(quiet=quiet))
            session.set_status("finished")
            session.tracker.log_summary({"evaluation": to_plain(done.evaluation)})
            done.images, done.missing = draw_run(folder)
            for name, image in done.images.items():
                session.tracker.log_image(image, f"figures/{name}")
            if (film := film_run(done)) is not None:
                done.images["trial"] = film
                session.tracker.log_video(film, "figures/trial")
    return done


def film_run(done: Run) -> Path | None:
    """Write the animation of a run; None where there is none."""
    path = done.folder.film
    return path if done.experiment.film(done.model, done.seed, path) else None


def _follow(share: Experiment, seed: int, device: torch.device) -> Run:
    """Train in another process than the first."""
    start: Any = parallel.from_first(lambda: None)
    path, saved, trained = start
    session, model = Follower(RunFolder(Path(path)), seed, saved), None
    if not trained:
        with session.signals_handled():
            model = share.build(seed, device)
            share.learn(model, session)
    return Run(share, seed, session.folder, model, signal=session.stopped_by)


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
    verbose: bool = False,
) -> Run:
    """Train a preset and evaluate it on held-out tasks: what ``metarl train`` does.

    Args:
        preset: the name of a preset (``metarl list presets``), or the path of a TOML file.
        seed: of everything random.
        settings: options to change, such as ``{"env.arms": 5}``.
        folder: the run folder to make; None: ``runs/PRESET-TIME-sSEED``.
        device: the torch device; None: as the preset says.
        wandb: whether Weights & Biases logs too.
        quiet: no progress.
        verbose: print each row of metrics on stderr too.

    Returns:
        The run: its model, evaluation, folder and images.

    Raises:
        ConfigError: an unknown preset, key or value.
        FileExistsError: there is something in the folder.
    """
    own = {} if device is None else {"device": device}
    return run(
        load_experiment(preset, {**(settings or {}), **own}),
        folder,
        seed=seed,
        wandb=wandb,
        quiet=quiet,
        verbose=verbose,
    )


def open_run(
    path: str | Path,
    settings: Mapping[str, Any] | Sequence[Assignment] = (),
    *,
    device: str = "auto",
    imports: str | Sequence[str] = (),
) -> Run:
    """The run in a folder, with its trained model.

    A folder may come from somebody else, so no module is imported because a file in it names it.

    Args:
        path: of the run folder; ``zoo:NAME`` is an entry of the zoo.
        settings: options to change for the evaluation, such as where data are now, or ``{"eval.cells": [[40, 1]]}``:
            the ways and shots of few-shot tests.
        device: the torch device.
        imports: modules whose code the run may use; they are imported.

    Raises:
        RunError, ConfigError, CheckpointError: the folder holds no run of this version, a file of it is damaged, or it
            names code of modules that are not allowed.
    """
    settings = assignments(settings)
    experiment, seed, folder = _opened(path, settings, imports)
    if not folder.checkpoint.is_file():
        problem = f"the run {folder.path} was cut off in training: it has no checkpoint.zip"
        raise RunError(problem, key=str(folder.checkpoint), remedy=f"metarl train --resume {folder.path} goes on")
    if settings:
        own = _opened(path, (), imports)[0]
        model = experiment.load_from(own, folder.checkpoint, pick_device(device))
    else:
        model = experiment.load(folder.checkpoint, pick_device(device))
    return Run(experiment, seed, folder, model, read_evaluation(folder))


def resume(
    path: str | Path,
    *,
    device: str | None = None,
    wandb: WandbMode = "disabled",
    quiet: bool = False,
    verbose: bool = False,
    imports: str | Sequence[str] = (),
) -> Run:
    """Go on with a run that was cut off: what ``metarl train --resume`` does.

    Training goes on from the newest checkpoint in the folder; a run that is trained is evaluated.
    docs/reliability.md says what is exactly the same as without a break.

    Args:
        path: of the run folder.
        device: the torch device; None: as the run has it.
        wandb: whether Weights & Biases logs too, to the same run.
        quiet: no progress.
        verbose: print each row of metrics on stderr too.
        imports: modules whose code the run may use; they are imported.

    Raises:
        RunError: the folder holds no run, there is nothing to resume, or another process trains in it.
        ConfigError, CheckpointError: a file of it is damaged, or names code of modules that are not allowed.
    """
    settings: list[Assignment] = [] if device is None else [(("device",), device)]
    experiment, seed, folder = _opened(path, settings, imports)
    return run(experiment.check(), folder, seed=seed, wandb=wandb, quiet=quiet, verbose=verbose, resume=True)


def _opened(
    path: str | Path, settings: Sequence[Assignment], imports: str | Sequence[str]
) -> tuple[Experiment, int, RunFolder]:
    """The experiment of a run folder and its seed; errors are those of :func:`open_run`."""
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
    return experiment, seed, folder

"""One few-shot run from its configuration: train a learner, and leave a run folder behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.config import ConfigError, apply, to_plain
from metarl.data.fewshot import FewShotSource
from metarl.evaluation.accuracy import prepared, right_in_streams
from metarl.experiments.fewshot.build import make_learner, make_source, training_source
from metarl.experiments.fewshot.options import EpisodeOptions, FewShotExperiment, from_config
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.session import stop_signals, training_run
from metarl.runs.tracking import Tracker, WandbMode
from metarl.seeding import numpy_rng, sequence, split_key
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from metarl.training.supervised import Validation, fit

AXIS = "episodes"
"""The x-axis of a few-shot run's metrics."""
KIND = "fewshot"


@dataclass(frozen=True)
class Trained:
    """What :func:`train` made."""

    learner: FewShotLearner
    seconds: float
    updates: int
    signal: int | None
    """The signal that ended training early, or None."""


def check(experiment: FewShotExperiment) -> FewShotExperiment:
    """Raise ValueError if data or learner can't be had, or episodes can't be drawn; returns the experiment."""
    train, validation = experiment.train, experiment.eval
    fixed = experiment.gradient is not None and experiment.gradient.head == "each"
    source = training_source(experiment)
    held = make_source(experiment.data, "validation", rotations=False)
    test = make_source(experiment.data, "test", rotations=validation.rotations)
    if experiment.stream is not None:
        trained = ("train", source, train.ways), ("validation", held, train.ways)
        for name, pool, ways in (*trained, *(("test", test, n) for n in validation.streams)):
            _named(name, pool, ways, train.shots, f"streams of {train.shots} examples of each class")
    else:
        _named("train", source, train.ways, train.shots + train.queries, _words(train.shots, train.queries))
        ways, shots = validation.validation
        _named("validation", held, ways, shots + validation.queries, _words(shots, validation.queries))
    for ways, shots in validation.cells:
        _named("test", test, ways, shots + validation.queries, _words(shots, validation.queries))
        if fixed and ways != experiment.ways:
            raise ConfigError(
                f"eval.cells asks for {ways} ways, but this learner by gradient descent has a head of as many as "
                f"train.ways = {experiment.ways}; give cells of these"
            )
    if fixed and validation.validation[0] != experiment.ways:
        raise ConfigError(
            f"eval.validation has {validation.validation[0]} ways; expected train.ways = {experiment.ways}"
        )
    if not any(p.numel() for p in make_learner(experiment, source.shape, seed=0).parameters()):
        raise ConfigError(
            "this learner has nothing to train: its pixels are its embeddings; give classifier.encoder another net, or "
            "an embedding_size"
        )
    return experiment


def _words(shots: int, queries: int) -> str:
    return f"{shots} shots and {queries} queries"


def _named(split: str, source: FewShotSource, ways: int, count: int, asked: str) -> None:
    try:
        source.check(ways, count, asked)
    except ValueError as error:
        raise ConfigError(f"of the {split} split, {error}") from None


def draw(source: FewShotSource, rng: np.random.Generator, options: EpisodeOptions, streams: bool) -> Any:
    """A batch of training: episodes, or streams."""
    if streams:
        return source.sample_streams(rng, options.batch, options.ways, options.shots, options.labels)
    return source.sample(rng, options.batch, options.ways, options.shots, options.queries)


def train(
    experiment: FewShotExperiment,
    run: RunFolder,
    *,
    seed: int,
    wandb: WandbMode = "disabled",
    quiet: bool = False,
    conclude: Callable[[Trained, Tracker], None] = lambda trained, tracker: None,
) -> Trained:
    """Train in ``run``: metrics, checkpoint and status are written there, also when it is interrupted or fails.

    ``conclude`` is called with what was trained, unless that was interrupted, while the run is still tracked.
    """
    if experiment.threads:
        torch.set_num_threads(experiment.threads)
    source = training_source(experiment)
    config = {"kind": KIND} | to_plain(experiment) | {"seed": seed}
    accuracy = "train/accuracy" if experiment.data.trainval else "validation/accuracy"
    with training_run(run, config, wandb, experiment.name or None, AXIS) as under_way:
        learner = make_learner(experiment, source.shape, seed)
        rng = numpy_rng(seed, "data", split_key("train"))
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True

        bar = tqdm(total=experiment.fit.updates, unit="update", disable=quiet or None)

        def batches() -> Iterator[Any]:
            while not stopped:
                yield draw(source, rng, experiment.train, experiment.stream is not None)
                bar.update()

        def on_validation(state: Validation) -> None:
            row = {"train/loss": state.loss, accuracy: state.accuracy}
            under_way.tracker.log(row, step=state.updates * experiment.train.batch)
            bar.set_description(f"training, loss {state.loss:.3f}, accuracy {state.accuracy:.2%}", refresh=False)

        began = time.perf_counter()
        with stop_signals(stop) as signals, bar, torch.random.fork_rng():
            torch.manual_seed(int(sequence(seed, "policy").generate_state(1)[0]))
            trained = fit(
                learner,
                lambda model, batch: model.loss(batch),
                batches(),
                experiment.fit,
                validate=validator(experiment, seed),
                progress=on_validation,
                name="few-shot episodes",
            )
        seconds = time.perf_counter() - began
        learner.eval()
        save(run, learner)
        under_way.ended(signals, train_seconds=seconds, train_episodes=trained.updates * experiment.train.batch)
        result = Trained(learner, seconds, trained.updates, signals[0] if signals else None)
        if not signals:
            conclude(result, under_way.tracker)
        return result


def validator(experiment: FewShotExperiment, seed: int) -> Callable[[FewShotLearner], float]:
    """The accuracy on episodes, or streams, of validation classes, always the same ones."""
    source = make_source(experiment.data, "validation", rotations=False)
    options, train = experiment.eval, experiment.train
    key, count = (seed, "data", split_key("validation")), options.validation_episodes
    if experiment.stream is not None:
        held = source.sample_streams(numpy_rng(*key), count, train.ways, train.shots, train.labels)
        return lambda learner: float(right_in_streams(learner, held).mean())
    ways, shots = options.validation

    def accuracy(learner: FewShotLearner) -> float:
        held, answer = prepared(learner, source, count * ways * (shots + options.queries))
        return float(answer(held.sample(numpy_rng(*key), count, ways, shots, options.queries)).mean())

    return accuracy


def save(run: RunFolder, learner: FewShotLearner) -> None:
    """Write the learner's parameters and buffers."""
    write_checkpoint(run.checkpoint, {"kind": KIND}, {"learner": learner.state_dict()})


def load(run: RunFolder, folder: str | None = None) -> tuple[FewShotExperiment, FewShotLearner, int]:
    """The experiment of a run folder, its trained learner in evaluation mode, and its seed.

    Args:
        run: the run folder.
        folder: where the data are, if not where the configuration says.

    Raises:
        RunError, ConfigError, CheckpointError: a file is damaged or of another kind of run.
    """
    config = dict(run.config)
    if "env" in config:
        raise RunError(f"{run.path} is a run of an RL² agent, not of a few-shot learner; use metarl eval {run.path}")
    try:
        seed = int(config.pop("seed"))
        del config["kind"]
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{run.path} has no seed in its config.json; it is damaged or no run of this package") from None
    if folder is not None:
        config = apply(config, [(("data", "folder"), folder)])
    experiment = from_config(config, f"{run.path}: config")
    if folder is not None and experiment.data.source == "glyphs":
        raise ConfigError(f"{run.path} was trained on drawn glyphs, which lie in no folder; leave {folder} out")
    size = experiment.data.size
    learner = make_learner(experiment, (size, size, 3) if experiment.data.colour else (size, size), seed=0)
    meta, groups = read_checkpoint(run.checkpoint)
    if meta.get("kind") != KIND or "learner" not in groups:
        raise CheckpointError(
            f"{run.checkpoint} holds no few-shot learner; expected one written by metarl fewshot train"
        )
    try:
        learner.load_state_dict(groups["learner"])
    except RuntimeError as error:
        raise RunError(f"{run.path} is damaged: its checkpoint does not fit its config.json ({error})") from None
    return experiment, learner.eval(), seed

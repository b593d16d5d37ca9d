"""Evaluating a trained few-shot learner on held-out classes: accuracy with intervals, and a few episodes kept whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.data.fewshot import Episodes, FewShotSource, instances
from metarl.evaluation.accuracy import IMAGES, prepared, right_in_streams
from metarl.experiments.fewshot.build import described, make_source
from metarl.experiments.fewshot.options import FewShotExperiment
from metarl.experiments.fewshot.train import KIND
from metarl.files import replacing, write_json
from metarl.functional.stats import bootstrap_mean, standard_error
from metarl.report.fewshot_kept import path_of
from metarl.runs.folder import RunFolder
from metarl.seeding import numpy_rng
from metarl.types import Array, Bools, Split

KEPT = 8
"""Episodes, or streams, that are kept whole."""


def evaluate(
    learner: FewShotLearner,
    experiment: FewShotExperiment,
    *,
    split: Split = "test",
    episodes: int | None = None,
    rotations: bool | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """The accuracy in every cell of ways and shots, and along streams, with 95 % intervals over episodes.

    The episodes of a cell depend on ``seed``, the split and the cell alone, so that learners are compared on the same.

    Args:
        learner: in evaluation mode.
        experiment: what it was trained by.
        split: validation or test.
        episodes: of each cell; None: as the experiment says.
        rotations: whether rotations are classes of their own; None: as the experiment says.
        seed: of the episodes.
        quiet: no progress bar.

    Raises:
        ValueError: the learner is in training mode, or the split is one of training or has not as many classes or
            examples.
    """
    if learner.training:
        raise ValueError(
            "the learner is in training mode, in which a norm may learn from a test; call its eval() first"
        )
    if split == "train":
        raise ValueError("a learner is evaluated on classes that it was not trained on; expected validation or test")
    options, data = experiment.eval, experiment.data
    if split == "validation" and data.trainval:
        raise ValueError(
            "this learner was trained on validation classes as well (data.trainval = true); evaluate it on split test"
        )
    episodes = options.episodes if episodes is None else episodes
    rotations = options.rotations if rotations is None else rotations
    source = make_source(data, split, rotations=rotations)
    work = episodes * (len(options.cells) + len(options.streams))
    examples = episodes * sum(ways * (shots + options.queries) for ways, shots in options.cells)
    with tqdm(total=work, unit="episode", disable=quiet or None) as bar, torch.no_grad():
        held, answer = prepared(learner, source, examples)
        cells = [cell(answer, held, ways, shots, options.queries, episodes, seed, bar) for ways, shots in options.cells]
        streams = [stream(learner, source, experiment, ways, episodes, seed, bar) for ways in options.streams]
    one = experiment.classifier or experiment.stream
    return {
        "kind": KIND,
        "learner": experiment.name,
        "preset": experiment.name,
        "data": described(data),
        "real": data.source != "glyphs",
        "split": split,
        "transductive": experiment.transductive,
        "norm": "batch" if one is None else one.encoder.norm,
        "rotations": rotations,
        "trainval": data.trainval,
        "within_alphabet": data.within_alphabet,
        "distinct_drawers": data.distinct_drawers,
        "seed": seed,
        "parameters": sum(p.numel() for p in learner.parameters()),
        "first_order": getattr(learner, "first_order", None),
        "cells": cells,
        "streams": streams,
    }


def cell(
    answer: Callable[[Episodes], Bools],
    source: FewShotSource,
    ways: int,
    shots: int,
    queries: int,
    episodes: int,
    seed: int,
    bar: tqdm[Any],
) -> dict[str, Any]:
    """The accuracy on episodes of so many ways and shots."""
    bar.set_description(f"{ways}-way {shots}-shot", refresh=False)
    rng = numpy_rng(seed, "evaluation", ways, shots)
    size = max(1, IMAGES // (ways * (shots + queries)))
    means = []
    for first in range(0, episodes, size):
        count = min(size, episodes - first)
        means.append(answer(source.sample(rng, count, ways, shots, queries)).mean(1))
        bar.update(count)
    each = np.concatenate(means)
    interval = bootstrap_mean(each)
    return {
        "ways": ways,
        "shots": shots,
        "queries": queries,
        "episodes": episodes,
        "accuracy": interval.mean,
        "se": standard_error(each),
        "interval": [interval.low, interval.high],
    }


def stream(
    learner: FewShotLearner,
    source: FewShotSource,
    experiment: FewShotExperiment,
    ways: int,
    episodes: int,
    seed: int,
    bar: tqdm[Any],
) -> dict[str, Any]:
    """The accuracy along streams of so many classes, by the how-manieth example of its class a step shows."""
    per_class, labels = experiment.train.shots, experiment.train.labels
    bar.set_description(f"streams of {ways} classes", refresh=False)
    rng = numpy_rng(seed, "evaluation", ways, 0)
    size = max(1, IMAGES // (ways * per_class))
    by_instance = []
    for first in range(0, episodes, size):
        count = min(size, episodes - first)
        drawn = source.sample_streams(rng, count, ways, per_class, labels)
        hit, instance = right_in_streams(learner, drawn), instances(drawn.y)
        by_instance.append(np.stack([(hit & (instance == k)).sum(1) / ways for k in range(1, per_class + 1)], 1))
        bar.update(count)
    each = np.concatenate(by_instance)
    intervals = [bootstrap_mean(column) for column in each.T]
    return {
        "ways": ways,
        "labels": labels,
        "episodes": episodes,
        "by_instance": [interval.mean for interval in intervals],
        "by_instance_interval": [[interval.low, interval.high] for interval in intervals],
    }


def save_evaluation(run: RunFolder, evaluation: dict[str, Any]) -> None:
    """Write the evaluation on test classes into the run folder, where the report finds it."""
    write_json(run.evaluation, evaluation)


def save_episodes(run: RunFolder, learner: FewShotLearner, experiment: FewShotExperiment, seed: int) -> None:
    """Write a few test episodes, or streams, with the learner's answers into the run folder, for the report."""
    with replacing(path_of(run)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **keep(learner, experiment, seed=seed))


@torch.no_grad()
def keep(learner: FewShotLearner, experiment: FewShotExperiment, *, seed: int = 0) -> dict[str, Array]:
    """A few test episodes of the first cell, and streams, with what the learner answered and what it read.

    The arrays are those of a batch of episodes (``support_x`` ...) with ``predicted`` ``[n, Q]`` and, where the learner
    shows them, ``weights`` ``[n, Q, N]`` over its support; and of streams ``stream_x``, ``stream_y`` and
    ``stream_predicted`` ``[n, T, L]``.
    """
    options = experiment.eval
    source = make_source(experiment.data, "test", rotations=options.rotations)
    kept: dict[str, Array] = {}
    if options.cells:
        ways, shots = options.cells[0]
        episodes = source.sample(numpy_rng(seed, "evaluation", ways, shots), KEPT, ways, shots, options.queries)
        kept |= episodes._asdict()
        asked = (episodes.support_x, episodes.support_y, episodes.query_x)
        kept["predicted"] = learner.predict(*asked).numpy()
        weights = learner.weights(*asked)
        if weights is not None:
            kept["weights"] = weights.numpy().astype(np.float16)
    if options.streams:
        per_class, labels = experiment.train.shots, experiment.train.labels
        ways = options.streams[0]
        drawn = source.sample_streams(numpy_rng(seed, "evaluation", ways, 0), KEPT, ways, per_class, labels)
        kept |= {"stream_x": drawn.x, "stream_y": drawn.y}
        kept["stream_predicted"] = learner.predict_streams(drawn.x, drawn.y).numpy()
    return kept

"""Evaluating a few-shot learner on held-out classes: accuracy with intervals, and a few episodes recorded whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metarl.agents.fewshot.learner import FewShotLearner, check_evaluating
from metarl.config import ConfigError
from metarl.data.episodes import Labels, Streams, class_positions
from metarl.data.sources import FewShotSource
from metarl.evaluation.accuracy import IMAGES, correct_in_streams, prepared
from metarl.evaluation.results import CellResult, FewShotEvaluation, StreamResult
from metarl.experiments.fewshot.build import described
from metarl.experiments.fewshot.options import EpisodeShape
from metarl.functional.stats import BYTES, bootstrap_mean, standard_error
from metarl.limits import check_count
from metarl.runs.progress import Progress
from metarl.seeding import numpy_rng
from metarl.types import Array, Split

if TYPE_CHECKING:
    from metarl.experiments.fewshot.experiment import FewShotExperiment

RECORDED = 8  # episodes, or streams, that are recorded whole


def evaluate(
    learner: FewShotLearner,
    experiment: FewShotExperiment,
    *,
    split: Split = "test",
    episodes: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> FewShotEvaluation:
    """The accuracy for each setting of ways and shots, and along streams, with 95 % intervals over episodes.

    The episodes of a setting depend on ``seed``, the split and the setting alone, so learners meet the same ones.

    Args:
        learner: in evaluation mode.
        experiment: what it was trained by.
        split: validation or test.
        episodes: of each setting, at least 2; None: as the experiment says.
        seed: of the episodes.
        quiet: no progress bar.

    Raises:
        ConfigError: the split is that of training, has too few classes or examples, or is not there.
        InputError: the learner is in training mode.
    """
    check_evaluating(learner)
    options, data, shapes = experiment.eval, experiment.data, experiment.test_shapes
    if split == "train" or (split == "validation" and data.trainval):
        expected = "a split that the learner was not trained on: test, or validation without data.trainval"
        raise ConfigError(key="split", given=split, expected=expected)
    episodes = options.episodes if episodes is None else episodes
    if episodes < 2:
        raise ConfigError(key="episodes", given=episodes, expected="at least 2, for an interval")
    check_count(episodes, BYTES, key="episodes")
    source = experiment.source(split, shapes)
    progress = Progress("evaluating", episodes * len(shapes), "episode", quiet=quiet)
    with progress, torch.no_grad():
        held, answer = prepared(learner, source, episodes * sum(shape.images for shape in shapes if shape.queries))

        def batches(pool: FewShotSource, shape: EpisodeShape) -> Iterator[Any]:
            progress.now(f"evaluating {shape.ways}-way {shape.shots}-shot")
            rng, size = evaluation_rng(shape, seed), max(1, IMAGES // shape.images)
            for first in range(0, episodes, size):
                count = min(size, episodes - first)
                yield shape.sample(pool, rng, count, experiment.train.labels)
                progress.add(count)

        cells, streams = [], []
        for shape in shapes:
            if shape.queries:
                shares = [answer(drawn).mean(1) for drawn in batches(held, shape)]
                cells.append(cell_result(shape, np.concatenate(shares)))
            else:
                shares = [by_instance(learner, drawn, shape) for drawn in batches(source, shape)]
                streams.append(stream_result(shape, np.concatenate(shares), experiment.train.labels))
    memory = experiment.classifier or experiment.stream
    return FewShotEvaluation(
        learner=experiment.name,
        preset=experiment.name,
        data=described(data),
        real=data.source != "glyphs",
        split=split,
        transductive=experiment.transductive,
        norm="batch" if memory is None else memory.encoder.norm,
        rotations=options.rotations,
        trainval=data.trainval,
        within_alphabet=data.within_alphabet,
        distinct_drawers=data.distinct_drawers,
        seed=seed,
        parameters=sum(p.numel() for p in learner.parameters()),
        first_order=getattr(learner, "first_order", None),
        cells=tuple(cells),
        streams=tuple(streams),
    )


def evaluation_rng(shape: EpisodeShape, seed: int) -> np.random.Generator:
    """The generator that test episodes, or streams, of one size are drawn from."""
    return numpy_rng(seed, "evaluation", shape.ways, shape.shots if shape.queries else 0)


def by_instance(learner: FewShotLearner, drawn: Streams, shape: EpisodeShape) -> Array:
    """The share of correct answers in each stream, by the position of an example among those of its class.

    Args:
        learner: of streams.
        drawn: ``n`` streams.
        shape: their classes, and the examples of each.

    Returns:
        ``[n, k]`` for positions 1 to ``k = shape.shots``.
    """
    hit, instance = correct_in_streams(learner, drawn), class_positions(drawn.y)
    return np.stack([(hit & (instance == k)).sum(1) / shape.ways for k in range(1, shape.shots + 1)], 1)


def cell_result(shape: EpisodeShape, shares: Array) -> CellResult:
    """The accuracy on episodes of one size, from the ``shares [n]`` of correct answers in each."""
    interval = bootstrap_mean(shares)
    return CellResult(
        **shape._asdict(),
        episodes=len(shares),
        accuracy=interval.mean,
        se=standard_error(shares),
        interval=interval[1:],
    )


def stream_result(shape: EpisodeShape, shares: Array, labels: Labels) -> StreamResult:
    """The accuracy along streams of one size.

    Args:
        shape: the size.
        shares: what :func:`by_instance` returns, ``[n, k]``.
        labels: how classes are labelled.
    """
    intervals = [bootstrap_mean(column) for column in shares.T]
    return StreamResult(
        ways=shape.ways,
        labels=labels,
        episodes=len(shares),
        by_instance=tuple(interval.mean for interval in intervals),
        by_instance_interval=tuple(interval[1:] for interval in intervals),
    )


@torch.no_grad()
def record(learner: FewShotLearner, experiment: FewShotExperiment, seed: int = 0) -> dict[str, Array]:
    """A few test episodes of the first size, and streams, with the learner's answers and reading weights.

    Args:
        learner: in evaluation mode.
        experiment: what it was trained by.
        seed: of the episodes.

    Returns:
        The arrays of a batch of episodes (``support_x``, ...) with ``predicted`` ``[n, Q]`` and, where the learner
        shows them, ``weights`` ``[n, Q, N]`` over its support; of streams ``stream_x``, ``stream_y`` and
        ``stream_predicted`` ``[n, T, L]``.
    """
    source = experiment.source("test")
    kept: dict[str, Array] = {}
    for shape in {bool(shape.queries): shape for shape in reversed(experiment.test_shapes)}.values():
        drawn = shape.sample(source, evaluation_rng(shape, seed), RECORDED, experiment.train.labels)
        if not shape.queries:
            kept |= {"stream_x": drawn.x, "stream_y": drawn.y}
            kept["stream_predicted"] = learner.predict_streams(drawn.x, drawn.y).cpu().numpy()
            continue
        kept |= drawn._asdict()
        kept["predicted"] = learner.predict(*drawn[:3]).cpu().numpy()
        weights = learner.weights(*drawn[:3])
        if weights is not None:
            kept["weights"] = weights.cpu().numpy().astype(np.float16)
    return kept

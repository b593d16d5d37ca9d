"""Evaluating a few-shot learner on held-out classes: accuracy with intervals, and a few episodes recorded whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.config import ConfigError
from metarl.data.episodes import Episodes, class_positions
from metarl.data.sources import FewShotSource
from metarl.evaluation.accuracy import IMAGES, correct_in_streams, prepared
from metarl.evaluation.results import CellResult, FewShotEvaluation, StreamResult
from metarl.experiments.fewshot.build import check_examples, described, make_source
from metarl.functional.stats import bootstrap_mean, standard_error
from metarl.seeding import numpy_rng
from metarl.types import Array, Bools, Split

if TYPE_CHECKING:
    from metarl.experiments.fewshot.experiment import FewShotExperiment

RECORDED = 8
"""Episodes, or streams, that are recorded whole."""


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
        ValueError: the learner is in training mode.
    """
    if learner.training:
        raise ValueError("the learner is in training mode, where norms could learn from a test; call its eval() first")
    if split == "train":
        raise ConfigError("a learner is evaluated on classes that it was not trained on; use split validation or test")
    options, data = experiment.eval, experiment.data
    if split == "validation" and data.trainval:
        raise ConfigError(
            "this learner was trained on validation classes as well (data.trainval = true); evaluate it on split test"
        )
    episodes = options.episodes if episodes is None else episodes
    if episodes < 2:
        raise ConfigError(f"{episodes} episodes have no interval; give at least 2")
    source = make_source(data, split, rotations=options.rotations)
    work = episodes * (len(options.cells) + len(options.streams))
    examples = episodes * sum(ways * (shots + options.queries) for ways, shots in options.cells)
    for ways, shots in options.cells:
        check_examples(split, source, ways, shots, options.queries)
    for ways in options.streams:
        check_examples(split, source, ways, experiment.train.shots, None)
    with tqdm(total=work, unit="episode", disable=quiet or None) as bar, torch.no_grad():
        held, answer = prepared(learner, source, examples)
        cells = [of_setting(answer, held, *each, options.queries, episodes, seed, bar) for each in options.cells]
        streams = [of_streams(learner, source, experiment, n, episodes, seed, bar) for n in options.streams]
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


def of_setting(
    answer: Callable[[Episodes], Bools],
    source: FewShotSource,
    ways: int,
    shots: int,
    queries: int,
    episodes: int,
    seed: int,
    bar: tqdm[Any],
) -> CellResult:
    """The accuracy on episodes of one setting."""
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
    return CellResult(
        ways=ways,
        shots=shots,
        queries=queries,
        episodes=episodes,
        accuracy=interval.mean,
        se=standard_error(each),
        interval=(interval.low, interval.high),
    )


def of_streams(
    learner: FewShotLearner,
    source: FewShotSource,
    experiment: FewShotExperiment,
    ways: int,
    episodes: int,
    seed: int,
    bar: tqdm[Any],
) -> StreamResult:
    """The accuracy along streams, by the position of an example among those of its class."""
    per_class, labels = experiment.train.shots, experiment.train.labels
    bar.set_description(f"streams of {ways} classes", refresh=False)
    rng = numpy_rng(seed, "evaluation", ways, 0)
    size = max(1, IMAGES // (ways * per_class))
    by_instance = []
    for first in range(0, episodes, size):
        count = min(size, episodes - first)
        drawn = source.sample_streams(rng, count, ways, per_class, labels)
        hit, instance = correct_in_streams(learner, drawn), class_positions(drawn.y)
        by_instance.append(np.stack([(hit & (instance == k)).sum(1) / ways for k in range(1, per_class + 1)], 1))
        bar.update(count)
    intervals = [bootstrap_mean(column) for column in np.concatenate(by_instance).T]
    return StreamResult(
        ways=ways,
        labels=labels,
        episodes=episodes,
        by_instance=tuple(interval.mean for interval in intervals),
        by_instance_interval=tuple((interval.low, interval.high) for interval in intervals),
    )


@torch.no_grad()
def record(learner: FewShotLearner, experiment: FewShotExperiment, seed: int = 0) -> dict[str, Array]:
    """A few test episodes of the first setting, and streams, with the learner's answers and reading weights.

    Returns:
        The arrays of a batch of episodes (``support_x``, ...) with ``predicted`` ``[n, Q]`` and, where the learner
        shows them, ``weights`` ``[n, Q, N]`` over its support; of streams ``stream_x``, ``stream_y`` and
        ``stream_predicted`` ``[n, T, L]``.
    """
    options = experiment.eval
    source = make_source(experiment.data, "test", rotations=options.rotations)
    kept: dict[str, Array] = {}
    if options.cells:
        ways, shots = options.cells[0]
        episodes = source.sample(numpy_rng(seed, "evaluation", ways, shots), RECORDED, ways, shots, options.queries)
        kept |= episodes._asdict()
        inputs = (episodes.support_x, episodes.support_y, episodes.query_x)
        kept["predicted"] = learner.predict(*inputs).cpu().numpy()
        weights = learner.weights(*inputs)
        if weights is not None:
            kept["weights"] = weights.cpu().numpy().astype(np.float16)
    if options.streams:
        per_class, labels = experiment.train.shots, experiment.train.labels
        ways = options.streams[0]
        drawn = source.sample_streams(numpy_rng(seed, "evaluation", ways, 0), RECORDED, ways, per_class, labels)
        kept |= {"stream_x": drawn.x, "stream_y": drawn.y}
        kept["stream_predicted"] = learner.predict_streams(drawn.x, drawn.y).cpu().numpy()
    return kept

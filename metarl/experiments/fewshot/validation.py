"""Whether a source has enough for its episodes, and the accuracy on those of validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.data.sources import FewShotSource
from metarl.evaluation.accuracy import correct_in_streams, prepared
from metarl.experiments.base import config_errors
from metarl.experiments.fewshot.build import make_source
from metarl.experiments.fewshot.options import EpisodeShape
from metarl.seeding import numpy_rng, split_key
from metarl.types import Split

if TYPE_CHECKING:
    from metarl.experiments.fewshot.experiment import FewShotExperiment


def check_source(source: FewShotSource, split: Split, shapes: Iterable[EpisodeShape]) -> None:
    """Refuse a source that has too few classes or examples.

    Args:
        source: of the images.
        split: that it is of, for the error.
        shapes: the sizes of the episodes, or streams, that it is asked for.

    Raises:
        ConfigError: it has too few.
    """
    with config_errors(f"the {split} split"):
        for shape in shapes:
            shape.check(source, split)


def validator(experiment: FewShotExperiment, seed: int) -> Callable[[FewShotLearner], float]:
    """The accuracy on validation episodes, or streams, always the same ones."""
    source, shape = make_source(experiment.data, "validation", rotations=False), experiment.validation_shape
    count, labels = experiment.eval.validation_episodes, experiment.train.labels

    def accuracy(learner: FewShotLearner) -> float:
        rng = numpy_rng(seed, "data", split_key("validation"))
        if not shape.queries:
            return float(correct_in_streams(learner, shape.sample(source, rng, count, labels)).mean())
        held, answer = prepared(learner, source, count * shape.images)
        return float(answer(shape.sample(held, rng, count, labels)).mean())

    return accuracy

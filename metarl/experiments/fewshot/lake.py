"""A trained few-shot learner on the test of Lake et al. 2015."""

from __future__ import annotations

from dataclasses import dataclass

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.config import ConfigError
from metarl.data.omniglot import found, published_runs, split_characters
from metarl.evaluation.lake import WAYS, ErrorRate, evaluation_set, on_episodes, on_published_runs, random_episodes
from metarl.experiments.base import config_errors
from metarl.experiments.fewshot.build import described
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.fewshot.met import met_in
from metarl.experiments.run import Run
from metarl.seeding import numpy_rng

ONE_SHOT = (WAYS, 1)  # the key of the random stream: ways and shots
MISSING = "not measured: Omniglot is not here (metarl data omniglot gets it, --data DIR names its folder)"


@dataclass(frozen=True, kw_only=True)
class LakeTest:
    """The error rates of one run.

    Args:
        run: its folder.
        seed: that it was trained with.
        group: the same for runs that differ in their seeds alone.
        trained_on: in words.
        published: on the 20 published runs.
        random: on random episodes of the evaluation alphabets; None where they were not measured.
    """

    run: str
    seed: int
    group: str
    trained_on: str
    published: ErrorRate
    random: ErrorRate | None


def lake_test(run: Run, *, trials: int = 10_000, seed: int = 0, folder: str | None = None) -> LakeTest:
    """Test a run on the 20 published runs, and on random episodes where Omniglot is found.

    The random episodes depend on ``seed`` alone, so that all runs meet the same ones.

    Args:
        run: of a few-shot learner that has met no character of the evaluation set.
        trials: of random episodes, 20 each; 0: none.
        seed: of these episodes.
        folder: where Omniglot is; None: as :func:`metarl.data.omniglot.found` looks.

    Raises:
        ConfigError: a run of another kind, a learner that was trained on a character of the test or on a folder of
            images, or one without room for 20 classes; or a number of trials that are no whole episodes.
    """
    experiment = run.experiment
    if not isinstance(experiment, FewShotExperiment) or experiment.train.labels != "one_hot":
        given = f"{run.folder.path} (kind {experiment.kind})"
        raise ConfigError(key="the run", given=given, expected="one of a few-shot learner that names classes by number")
    if trials % WAYS:
        raise ConfigError(key="--trials", given=trials, expected=f"a multiple of {WAYS}, the trials of an episode")
    refuse_met(experiment, run.model)
    with config_errors(str(run.folder.path)):
        learner = run.model.resized(WAYS, WAYS)
        size = experiment.data.reading.size
        published = on_published_runs(learner, published_runs(size))
        random = None
        if trials and found(folder):
            draw = random_episodes(numpy_rng(seed, "evaluation", *ONE_SHOT))
            random = on_episodes(learner, evaluation_set(size, folder), {"random": draw}, trials // WAYS)["random"]
    return LakeTest(
        run=str(run.folder.path),
        seed=run.seed,
        group=experiment.group,
        trained_on=described(experiment.data) + " with validation classes" * experiment.data.trainval,
        published=published,
        random=random,
    )


def refuse_met(experiment: FewShotExperiment, learner: FewShotLearner) -> None:
    """Refuse a learner that may have met the test.

    Raises:
        ConfigError: it was trained on, or chosen by, a character of the evaluation alphabets; or on a folder of images,
            of which nothing is known.
    """
    data = experiment.data
    if data.source == "images":
        expected = "omniglot with data.scheme = 'lake' or a minimal set, or glyphs"
        problem = "nobody knows whether a folder of images holds characters of the test"
        raise ConfigError(problem, key="data.source", given=data.source, expected=expected)
    names = {name for known in (met_in(data), learner.met) for some in known.values() for name in some}
    met = sorted(names & set(split_characters("lake", "test")))
    if met:
        problem = f"the learner has met {len(met)} characters of the test, such as {met[0]}"
        remedy = "train with data.scheme=lake, as the preset lake does"
        raise ConfigError(problem, key="data.scheme", given=data.scheme, remedy=remedy)

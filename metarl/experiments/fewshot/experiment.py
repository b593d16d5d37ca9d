"""Few-shot learners as experiments: images, a learner, its training by episodes or streams, and its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from metarl.agents.fewshot.gradient import GradientOptions
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.config import ConfigError
from metarl.data.omniglot import found
from metarl.data.sources import FewShotSource
from metarl.evaluation.accuracy import correct_in_streams, prepared
from metarl.evaluation.records import EPISODES
from metarl.evaluation.results import FewShotEvaluation
from metarl.experiments.base import Experiment, Learned, load_module, save_module
from metarl.experiments.fewshot.build import (
    check_examples,
    described,
    make_learner,
    make_source,
    training_source,
)
from metarl.experiments.fewshot.evaluate import evaluate, record
from metarl.experiments.fewshot.options import (
    ClassifierOptions,
    DataOptions,
    EpisodeOptions,
    FewShotEvalOptions,
    Setting,
    StreamOptions,
)
from metarl.runs.session import Session
from metarl.seeding import numpy_rng, sequence, split_key
from metarl.training.supervised import SupervisedOptions, Validation, fit
from metarl.types import Array, Split

LEARNERS = ("classifier", "stream", "gradient")
"""The tables of a preset that make a learner."""


@dataclass(frozen=True, kw_only=True)
class FewShotExperiment(Experiment):
    """A few-shot learner trained on many episodes."""

    kind: ClassVar[str] = "fewshot"
    axis: ClassVar[str] = "episodes"
    unit: ClassVar[str] = "episodes"
    records: ClassVar[str | None] = EPISODES

    fit: SupervisedOptions
    data: DataOptions = field(default_factory=DataOptions)
    classifier: ClassifierOptions | None = None
    """A learner by a memory; exactly one of these three is given."""
    stream: StreamOptions | None = None
    """A learner of streams by a memory core."""
    gradient: GradientOptions | None = None
    """A learner by gradient descent."""
    transductive: bool = False
    """Whether batch norm may take its statistics from the queries of a test."""
    train: EpisodeOptions = field(default_factory=EpisodeOptions)
    eval: FewShotEvalOptions = field(default_factory=FewShotEvalOptions)

    def __post_init__(self) -> None:
        given = [name for name in LEARNERS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(
                f"a few-shot run has one learner, but the tables {' and '.join(given) or 'of none'} were given; "
                f"give one of {', '.join(LEARNERS)}"
            )
        if self.transductive and self.stream is not None:
            raise ConfigError("transductive = true with a learner of streams, which has no queries; leave it out")
        for name in ("target", "patience"):
            if self.data.trainval and getattr(self.fit, name) is not None:
                raise ConfigError(
                    f"fit.{name} with data.trainval = true, which trains on the validation classes that it would stop "
                    "by; leave one of them out"
                )
        if not (self.eval.cells or self.eval.streams):
            raise ConfigError("eval.cells and eval.streams are empty, so nothing would be tested; give one of them")
        if self.stream is None and (self.eval.streams or self.train.labels != "one_hot"):
            raise ConfigError(
                "eval.streams or train.labels = 'letters' with a learner of episodes, which sees no streams; "
                "leave them out, or give a table stream"
            )
        if self.eval.cells and self.train.labels == "letters":
            raise ConfigError(
                "eval.cells with train.labels = 'letters', of which no classes of episodes can be told; "
                "set eval.cells = [], and give eval.streams"
            )

    @property
    def ways(self) -> int:
        """The most classes of an episode."""
        if self.gradient is not None:
            return self.train.ways
        return max([self.train.ways, *self.eval.streams, *(ways for ways, _ in (*self.eval.cells, self._validated))])

    @property
    def longest(self) -> int:
        """Examples of the longest support or stream."""
        supports = [ways * shots for ways, shots in (*self.eval.cells, self._validated)]
        return max([self.train.ways * self.train.shots, *supports, *(n * self.train.shots for n in self.eval.streams)])

    @property
    def _validated(self) -> Setting:
        """Ways and shots of validations; a learner of streams is validated on streams as in training."""
        return (self.train.ways, 1) if self.stream is not None else self.eval.validation

    def describe(self) -> str:
        """See :class:`Experiment`."""
        hint = " (for Omniglot: metarl data omniglot, or --data DIR)" if self.data.source == "glyphs" else ""
        return f"data: {described(self.data)}{hint}"

    def check(self) -> Self:
        """See :class:`Experiment`; Omniglot is chosen where its archives are found, else drawn glyphs."""
        if self.data.source == "auto":
            there = found(self.data.folder)
            own = {"source": "omniglot"} if there else {"source": "glyphs", "folder": None}
            return replace(self, data=replace(self.data, **own)).check()
        self._check_episodes()
        if not any(p.numel() for p in make_learner(self, seed=0).parameters()):
            raise ConfigError(
                "this learner has nothing to train: its pixels are its embeddings; give classifier.encoder another "
                "net, or an embedding_size"
            )
        return self

    def _check_episodes(self) -> None:
        train, test = self.train, self.eval
        fixed = self.gradient is not None and self.gradient.head == "each"
        training = training_source(self.data, train)
        validation = make_source(self.data, "validation", rotations=False)
        tests = make_source(self.data, "test", rotations=test.rotations)
        if self.stream is not None:
            check_examples("train", training, train.ways, train.shots, None)
            check_examples("validation", validation, train.ways, train.shots, None)
            for ways in test.streams:
                check_examples("test", tests, ways, train.shots, None)
        else:
            check_examples("train", training, train.ways, train.shots, train.queries)
            check_examples("validation", validation, *test.validation, test.queries)
        for ways, shots in test.cells:
            check_examples("test", tests, ways, shots, test.queries)
            if fixed and ways != self.ways:
                raise ConfigError(
                    f"eval.cells asks for {ways} ways, but the head of this learner by gradient descent is made for "
                    f"train.ways = {self.ways}; give cells of these"
                )
        if fixed and test.validation[0] != self.ways:
            raise ConfigError(f"eval.validation has {test.validation[0]} ways; expected train.ways = {self.ways}")

    def build(self, seed: int, device: torch.device) -> FewShotLearner:
        """See :class:`Experiment`."""
        return make_learner(self, seed).to(device)

    def learn(self, model: FewShotLearner, session: Session) -> Learned:
        """See :class:`Experiment`; the model is left in evaluation mode."""
        source = training_source(self.data, self.train)
        rng = numpy_rng(session.seed, "data", split_key("train"))
        accuracy = "train/accuracy" if self.data.trainval else "validation/accuracy"
        with session.stoppable(), session.bar(self.fit.updates, "update") as bar, torch.random.fork_rng():

            def batches() -> Iterator[Any]:
                while not session.stopped:
                    yield draw(source, rng, self.train, self.stream is not None)
                    bar.update()

            def on_validation(state: Validation) -> None:
                row = {"train/loss": state.loss, accuracy: state.accuracy}
                session.tracker.log(row, step=state.updates * self.train.batch)
                bar.set_description(f"training, loss {state.loss:.3f}, accuracy {state.accuracy:.2%}", refresh=False)

            torch.manual_seed(int(sequence(session.seed, "policy").generate_state(1)[0]))
            trained = fit(
                model,
                lambda learner, batch: learner.loss(batch),
                batches(),
                self.fit,
                validate=validator(self, session.seed),
                progress=on_validation,
                name="few-shot episodes",
            )
        model.eval()
        self.save(model, session.folder.checkpoint)
        return Learned(trained.updates * self.train.batch)

    def evaluate(
        self, model: FewShotLearner, *, split: Split = "test", n: int | None = None, seed: int = 0, quiet: bool = False
    ) -> FewShotEvaluation:
        """See :class:`Experiment`; ``n`` counts the episodes, or streams, of each setting."""
        return evaluate(model, self, split=split, episodes=n, seed=seed, quiet=quiet)

    def record(self, model: FewShotLearner, seed: int) -> Mapping[str, Array]:
        """See :class:`Experiment`."""
        return record(model, self, seed)

    def save(self, model: FewShotLearner, path: Path) -> None:
        """See :class:`Experiment`."""
        save_module(self.kind, model, path)

    def load(self, path: Path, device: torch.device) -> FewShotLearner:
        """See :class:`Experiment`; data are not needed."""
        learner = make_learner(self, seed=0)
        load_module(self.kind, learner, path)
        return learner.to(device).eval()


def draw(source: FewShotSource, rng: np.random.Generator, options: EpisodeOptions, streams: bool) -> Any:
    """A batch of training: episodes, or streams."""
    if streams:
        return source.sample_streams(rng, options.batch, options.ways, options.shots, options.labels)
    return source.sample(rng, options.batch, options.ways, options.shots, options.queries)


def validator(experiment: FewShotExperiment, seed: int) -> Callable[[FewShotLearner], float]:
    """The accuracy on validation episodes, or streams, always the same ones."""
    source = make_source(experiment.data, "validation", rotations=False)
    options, train = experiment.eval, experiment.train
    key, count = (seed, "data", split_key("validation")), options.validation_episodes
    if experiment.stream is not None:
        held = source.sample_streams(numpy_rng(*key), count, train.ways, train.shots, train.labels)
        return lambda learner: float(correct_in_streams(learner, held).mean())
    ways, shots = options.validation

    def accuracy(learner: FewShotLearner) -> float:
        held, answer = prepared(learner, source, count * ways * (shots + options.queries))
        return float(answer(held.sample(numpy_rng(*key), count, ways, shots, options.queries)).mean())

    return accuracy

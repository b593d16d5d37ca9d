"""Few-shot learners as experiments: examples, a learner, its training by episodes or streams, and its tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from metarl import parallel
from metarl.agents.fewshot.embedded import embedded
from metarl.agents.fewshot.gradient import GradientOptions
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.agents.fewshot.open_set import LEAST, OpenSet, calibrated
from metarl.config import ConfigError, build, to_plain
from metarl.data.folders import one_look
from metarl.data.omniglot import found
from metarl.data.pool import Pool
from metarl.data.sources import FewShotSource
from metarl.evaluation.records import EPISODES
from metarl.evaluation.results import FewShotEvaluation
from metarl.experiments.base import Experiment, config_errors, load_module, pick_device, save_fit, save_module
from metarl.experiments.fewshot.build import described, make_learner, make_source, training_source
from metarl.experiments.fewshot.evaluate import evaluate, record
from metarl.experiments.fewshot.met import check_as_begun, check_as_trained, check_unseen, met_in, read_met
from metarl.experiments.fewshot.options import (
    ClassifierOptions,
    DataOptions,
    EpisodeOptions,
    EpisodeShape,
    FewShotEvalOptions,
    StreamOptions,
)
from metarl.experiments.fewshot.validation import check_source, validator
from metarl.functional.stats import BYTES
from metarl.limits import check_count
from metarl.nets.images import EncoderOptions
from metarl.nets.precision import in_bfloat16
from metarl.runs.progress import Progress
from metarl.runs.session import Session
from metarl.seeding import numpy_rng, rank_seed, sequence, split_key
from metarl.training.checkpoint import CheckpointError
from metarl.training.resume import restoring
from metarl.training.supervised import FitState, SupervisedOptions, Validation, fit
from metarl.types import Array, Split

CALIBRATION, FITTING = (0, 0), (0, 1)  # keys of random streams after training; no test episode has 0 ways
FITTED = 600, 20  # classes, and examples of each, that a metric is fitted to, at most
LEARNERS = ("classifier", "stream", "gradient")  # the tables of a preset that make a learner


@dataclass(frozen=True, kw_only=True)
class FewShotExperiment(Experiment):
    """A few-shot learner trained on many episodes.

    Args:
        classifier: a learner by a memory; exactly one of these three is given.
        stream: a learner of streams by a memory core.
        gradient: a learner by gradient descent.
        transductive: whether batch norm may use the statistics of the queries of a test.
    """

    kind: ClassVar[str] = "fewshot"
    axis: ClassVar[str] = "episodes"
    unit: ClassVar[str] = "episodes"
    records: ClassVar[str | None] = EPISODES

    fit: SupervisedOptions
    data: DataOptions = field(default_factory=DataOptions)
    classifier: ClassifierOptions | None = None
    stream: StreamOptions | None = None
    gradient: GradientOptions | None = None
    transductive: bool = False
    train: EpisodeOptions = field(default_factory=EpisodeOptions)
    eval: FewShotEvalOptions = field(default_factory=FewShotEvalOptions)

    def __post_init__(self) -> None:
        given = [name for name in LEARNERS if getattr(self, name) is not None]
        if len(given) != 1:
            problem = f"a few-shot run has one learner, but got tables for {' and '.join(given) or 'none'}"
            raise ConfigError(problem, key="learner", given=given, remedy=f"give one of {', '.join(LEARNERS)}")
        streams, cells, labels = self.eval.streams, self.eval.cells, self.train.labels
        if self.transductive and self.stream is not None:
            raise ConfigError(key="transductive", given=True, expected="false for streams, which have no queries")
        best = "best" if self.fit.keep == "best" else None
        for name, value in (("target", self.fit.target), ("patience", self.fit.patience), ("keep", best)):
            if self.data.trainval and value is not None:
                expected = "none with data.trainval = true, which leaves no classes to choose by"
                raise ConfigError(key=f"fit.{name}", given=value, expected=expected)
        if not (cells or streams):
            raise ConfigError(key="eval.cells", given=cells, expected="one or more, unless eval.streams is given")
        if streams and self.stream is None:
            raise ConfigError(key="eval.streams", given=streams, expected="none, or a table stream for the learner")
        if self.train.other_shots and self.stream is not None:
            expected = "none for learners of streams"
            raise ConfigError(key="train.other_shots", given=self.train.other_shots, expected=expected)
        self._check_tables()
        if labels == "letters" and (self.stream is None or cells):
            expected = "one_hot, or a table stream for the learner and eval.cells = []: episodes have no such labels"
            raise ConfigError(key="train.labels", given=labels, expected=expected)

    def _check_tables(self) -> None:
        """Refuse a source of tables without the net for them, the net without such a source, and distorted tables."""
        tables = self.data.source == "tables"
        net = None if self.classifier is None else self.classifier.encoder.net
        if tables != (net == "table"):
            expected = "'table' with data.source = 'tables', in a table classifier; and with no other source"
            raise ConfigError(key="classifier.encoder.net", given=net, expected=expected)
        for name in ("distortion", "class_distortion") if tables else ():
            if getattr(self.train, name) is not None:
                raise ConfigError(
                    key=f"train.{name}", expected="none with data.source = 'tables'", remedy="leave it out"
                )

    @property
    def ways(self) -> int:
        """The most classes of an episode."""
        return self.train.ways if self.gradient is not None else max(shape.ways for shape in self._shapes)

    @property
    def longest(self) -> int:
        """Examples of the longest support or stream."""
        return max(shape.ways * shape.shots for shape in self._shapes)

    @property
    def train_shape(self) -> EpisodeShape:
        """The size of the episodes, or streams, of training."""
        return self.train_shapes[0]

    @property
    def train_shapes(self) -> list[EpisodeShape]:
        """The sizes of those of training, of which each update has one."""
        queries = self.train.queries if self.stream is None else 0
        return [EpisodeShape(self.train.ways, shots, queries) for shots in (self.train.shots, *self.train.other_shots)]

    @property
    def validation_shape(self) -> EpisodeShape:
        """The size of those of validations; streams are validated on streams as in training."""
        return EpisodeShape(*self.eval.validation, self.eval.queries) if self.stream is None else self.train_shape

    @property
    def test_shapes(self) -> list[EpisodeShape]:
        """The sizes of those of tests, episodes first."""
        cells = [EpisodeShape(*cell, self.eval.queries) for cell in self.eval.cells]
        return cells + [EpisodeShape(ways, self.train.shots, 0) for ways in self.eval.streams]

    @property
    def _net(self) -> EncoderOptions | GradientOptions:
        """The options that say in which precision images are embedded."""
        learner = self.classifier or self.stream
        if learner is not None:
            return learner.encoder
        assert self.gradient is not None
        return self.gradient

    @property
    def _shapes(self) -> list[EpisodeShape]:
        return [*self.train_shapes, self.validation_shape, *self.test_shapes]

    def source(self, split: Split, shapes: Iterable[EpisodeShape] = ()) -> FewShotSource:
        """The held-out classes of a split, found to be enough for episodes of these ``shapes``.

        Args:
            split: validation or test.
            shapes: sizes of episodes, or of streams.

        Raises:
            ConfigError: the data can't be had, or are too few.
        """
        source = make_source(self.data, split, rotations=self.eval.rotations)
        check_source(source, split, shapes)
        return source

    def describe(self) -> str:
        """See :class:`Experiment`."""
        hint = " (for Omniglot: metarl data omniglot, or --data DIR)" if self.data.source == "glyphs" else ""
        lines = [f"data: {described(self.data)}{hint}"]
        if self.data.source == "images":
            from metarl.data.images import told

            assert self.data.folder is not None
            with config_errors():
                lines += told(self.data.folder, self.data.reading, self.data.choice)
        if self._net.precision == "bfloat16" and not in_bfloat16(True, pick_device(self.device)):
            lines.append("precision: float32, which is slower; this processor doesn't compute in bfloat16")
        return "\n".join(lines)

    def check(self) -> Self:
        """See :class:`Experiment`; Omniglot is chosen where its archives are found, else drawn glyphs."""
        if self.data.source == "auto":
            there = found(self.data.folder)
            own = {"source": "omniglot"} if there else {"source": "glyphs", "folder": None}
            return replace(self, data=replace(self.data, **own)).check()
        pixels, validation = math.prod(self.data.shape), self.validation_shape.images
        images = max(shape.images for shape in self.train_shapes)
        check_count(self.train.batch, 5 * pixels * images, key="train.batch")  # bytes and floats
        check_count(self.eval.validation_episodes, pixels * validation, key="eval.validation_episodes")
        check_count(self.eval.episodes, BYTES, key="eval.episodes")
        with one_look():
            check_source(training_source(self.data, self.train), "train", self.train_shapes)
            check_source(make_source(self.data, "validation", rotations=False), "validation", [self.validation_shape])
            self.source("test", self.test_shapes)
        self._check_head()
        if not any(p.numel() for p in make_learner(self, seed=0).parameters()):
            problem = "this learner has nothing to train: its embeddings are the pixels"
            remedy = "give classifier.encoder another net, or an embedding_size"
            raise ConfigError(problem, key="classifier.encoder", remedy=remedy)
        return self

    def _check_head(self) -> None:
        """Refuse tests of other ways than the head of a learner by gradient descent has weights for."""
        if self.gradient is not None and self.gradient.head == "each":
            for key, shapes in (("eval.cells", self.test_shapes), ("eval.validation", [self.validation_shape])):
                if other := [shape.ways for shape in shapes if shape.ways != self.ways]:
                    expected = f"train.ways = {self.ways}, for which the head of this learner is made"
                    raise ConfigError(f"{key} has {other[0]} ways", key=key, given=other[0], expected=expected)

    @property
    def validates_every(self) -> int | None:
        """See :class:`Experiment`."""
        return None if self.data.trainval else self.fit.validate_every * self.train.batch

    def validating(self) -> Self:
        """See :class:`Experiment`."""
        if self.data.trainval:
            raise ConfigError(key="data.trainval", given=True, expected="false: else no classes are left to choose by")
        return self

    @property
    def planned(self) -> int | None:
        """See :class:`Experiment`."""
        return None if self.fit.updates is None else self.fit.updates * self.train.batch

    def share(self, processes: int) -> Self:
        """See :class:`Experiment`."""
        batch, rest = divmod(self.train.batch, processes)
        if rest:
            raise ConfigError(
                key="train.batch", given=self.train.batch, expected=f"a multiple of {processes} processes"
            )
        return replace(self, train=replace(self.train, batch=batch))

    def build(self, seed: int, device: torch.device) -> FewShotLearner:
        """See :class:`Experiment`."""
        return make_learner(self, seed).to(device)

    def learn(self, model: FewShotLearner, session: Session) -> int:
        """See :class:`Experiment`; the model is left in evaluation mode."""
        with one_look():
            source = training_source(self.data, self.train)
            model.met = met_in(self.data)
            validate = validator(self, session.seed)
        own, rank = rank_seed(session.seed, parallel.rank()), parallel.rank()
        rng, saved = numpy_rng(own, "data", split_key("train")), session.saved
        shapes = self.train_shapes
        batch = self.train.batch * parallel.size()  # episodes of an update, in all processes
        accuracy = "train/accuracy" if self.data.trainval else "validation/accuracy"
        if saved is not None and "met" in saved.meta:
            check_as_begun(read_met(saved.meta["met"], "the saved training: met"), model.met, self.data)
        begun = 0 if saved is None else saved.step // batch
        progress = session.progress(self.fit.updates, "update", begun)
        with session.stoppable(), progress, torch.random.fork_rng():

            def batches() -> Iterator[Any]:
                while not session.agree_to_stop():
                    shape = shapes[rng.integers(len(shapes))] if len(shapes) > 1 else shapes[0]
                    yield shape.sample(source, rng, self.train.batch, self.train.labels)
                    progress.add()

            def on_validation(state: Validation) -> None:
                row = {"train/loss": state.loss, accuracy: state.accuracy}
                session.validated(row, step=state.updates * batch)
                progress.show({"loss": f"{state.loss:.3f}", "accuracy": f"{state.accuracy:.2%}"})

            def between(updates: int, state: Callable[[], FitState]) -> None:
                def write(path: Path, now: dict[str, Any]) -> None:
                    reached = state()
                    everyone = parallel.gathered((rng.bit_generator.state, reached.groups["random"]))
                    if everyone is not None:
                        drawn = [data for data, _ in everyone]
                        random = {f"random.{i}": group for i, (_, group) in enumerate(everyone) if i}
                        kept = {"data": drawn[0], "others": drawn[1:], "met": to_plain(dict(model.met))}
                        save_fit(self.kind, path, now, reached, random, **kept)

                session.save_due(updates * batch, write)

            torch.manual_seed(int(sequence(own, "policy").generate_state(1)[0]))
            start = None
            if saved is not None:
                with restoring("the saved training"):
                    groups = {**saved.groups, "random": saved.groups[f"random.{rank}" if rank else "random"]}
                    start = FitState(saved.meta["fit"], groups)
                    rng.bit_generator.state = saved.meta["others"][rank - 1] if rank else saved.meta["data"]
            trained = fit(
                model,
                lambda learner, batch: learner.loss(batch),
                batches(),
                self.fit,
                validate=validate,
                progress=on_validation,
                between=between,
                state=start,
                name="few-shot episodes",
            )
        model.eval()
        if not session.stopped and not rank:
            with session.stoppable():
                self._fit_metric(model, session)
                if not session.stopped:
                    model.open_set = self._open_set(model, session.seed)
        session.facts["ended"] = trained.ended
        if trained.kept is not None:
            session.facts["kept_step"] = trained.kept * batch
        return trained.updates * batch

    def _fit_metric(self, model: FewShotLearner, session: Session) -> None:
        """Fit the metric of the learner, if it has one, to examples of training as they are, without rotations."""
        if self.classifier is None or not self.classifier.plda:
            return
        plain = replace(self.train, distortion=None, class_distortion=None, alphabets=None)
        source = training_source(replace(self.data, rotations=False), plain)
        assert isinstance(source, Pool)  # tables, which are none, have no learner with a metric
        some = source.some(numpy_rng(session.seed, "evaluation", *FITTING), *FITTED)
        with Progress("fitting the metric", len(some.flat), "example", quiet=session.quiet) as progress:

            def tick(done: int) -> bool:
                progress.add(done)
                return session.stopped

            held = embedded(model, some, tick)
        if held is not None:
            model.fit_metric(held.flat, np.repeat(np.arange(held.classes), held.counts))

    def _open_set(self, model: FewShotLearner, seed: int) -> OpenSet | None:
        """How the learner tells unknown classes, from validation classes; None where these were trained on or are few.

        A learner whose labels are letters gives no answers that could be calibrated.
        """
        if self.data.trainval or self.train.labels != "one_hot":
            return None
        source = make_source(self.data, "validation", rotations=False)
        if not isinstance(source, Pool) or (source.counts > 1).sum() < LEAST:
            return None
        return calibrated(model, source, numpy_rng(seed, "evaluation", *CALIBRATION))

    def evaluate(
        self,
        model: FewShotLearner,
        *,
        split: Split = "test",
        n: int | None = None,
        seed: int = 0,
        quiet: bool = False,
        alone: bool = False,
    ) -> FewShotEvaluation:
        """See :class:`Experiment`; ``n`` counts the episodes, or streams, of each setting.

        Raises:
            ConfigError: as :func:`metarl.experiments.fewshot.evaluate.evaluate`, or a class of the split was trained on
                or chosen by.
        """
        check_unseen(model.met, self.data, split)
        return evaluate(model, self, split=split, episodes=n, seed=seed, quiet=quiet)

    def record(self, model: FewShotLearner, seed: int) -> Mapping[str, Array]:
        """See :class:`Experiment`."""
        return record(model, self, seed)

    def save(self, model: FewShotLearner, path: Path) -> None:
        """See :class:`Experiment`."""
        judge = model.open_set
        told = None if judge is None else to_plain(judge)
        save_module(self.kind, model, path, open_set=told, met=to_plain(dict(model.met)))

    def load(self, path: Path, device: torch.device) -> FewShotLearner:
        """See :class:`Experiment`; data are not needed."""
        learner = make_learner(self, seed=0)
        meta = load_module(self.kind, learner, path)
        told = meta.get("open_set")
        try:
            learner.open_set = None if told is None else build(OpenSet, told, f"{path}: open_set")
            learner.met = read_met(meta.get("met", {}), f"{path}: met")
        except ConfigError as error:
            raise CheckpointError.of(error) from None
        return learner.to(device).eval()

    def load_from(self, own: Experiment, path: Path, device: torch.device) -> FewShotLearner:
        """See :class:`Experiment`; the learner gets room for the classes and images of these tests."""
        self._check_head()
        check_as_trained(own, self, (*LEARNERS, "transductive", "train", "fit"))
        with config_errors("the learner of this run"):
            trained = own.load(path, device)
            made = trained.resized(self.ways, self.longest)
            made.open_set, made.met = trained.open_set, trained.met
            return made

"""What a few-shot run is made from, as data: where drawings come from, the learner, its training and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from metarl.agents.fewshot.classifier import Readout
from metarl.agents.fewshot.context import Context
from metarl.agents.fewshot.gradient import GradientOptions
from metarl.config import ConfigError, apply, build, choice, load_toml
from metarl.data.distort import Distortion
from metarl.data.episodes import Labels
from metarl.data.omniglot import Scheme
from metarl.memory.options import MemoryOptions
from metarl.nets.images import EncoderOptions
from metarl.training.supervised import SupervisedOptions

LEARNERS = ("classifier", "stream", "gradient")
"""The tables of a configuration that make a learner."""
Kind = Literal["auto", "omniglot", "glyphs", "images"]
Cell = tuple[Annotated[int, Ge(2)], Annotated[int, Ge(1)]]
"""Ways and shots."""


@dataclass(frozen=True)
class DataOptions:
    """Where drawings come from."""

    source: Kind = "auto"
    """Omniglot; glyphs that a generator draws; any folder of class folders of images; or, with ``auto``, Omniglot where
    its archives are found and glyphs where not."""
    folder: str | None = None
    """Of Omniglot's archives (None: ``METARL_DATA``, or the user's cache), or of images."""
    size: Annotated[int, Ge(8), Le(256)] = 28
    """Pixels along a picture."""
    colour: bool = False
    """Whether images of a folder keep their colours."""
    scheme: Scheme = "standard"
    """The split of Omniglot: 1028, 172 and 423 characters, or Lake's 30 and 20 alphabets."""
    rotations: bool = True
    """Whether rotations by quarter turns are classes of their own in training."""
    trainval: bool = False
    """Whether validation classes are trained on as well, as papers do once all is chosen; no class is then held out to
    stop by, and the accuracy told during training is one on classes of training."""
    within_alphabet: bool = False
    """Whether all classes of an episode come from one alphabet."""
    distinct_drawers: bool = False
    """Whether support and queries of an episode are drawn by different people."""

    def __post_init__(self) -> None:
        if self.source == "images" and self.folder is None:
            raise ConfigError("data.source = 'images' without data.folder; say where the class folders are (--images)")
        if self.colour and self.source != "images":
            raise ConfigError(f"data.colour = true with data.source = {self.source!r}, which has none; leave it out")


@dataclass(frozen=True)
class ClassifierOptions:
    """A classifier by a memory: see :class:`metarl.agents.fewshot.classifier.FewShotClassifier`."""

    memory: MemoryOptions = field(default_factory=MemoryOptions)
    readout: Readout = "linear"
    context: Context = "none"
    rotate_support: bool = False
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    members: Annotated[int, Ge(1)] = 1
    """Classifiers of these options, each trained by itself on the same episodes, whose answers are averaged."""


@dataclass(frozen=True)
class StreamOptions:
    """A classifier of streams: see :class:`metarl.agents.fewshot.streams.StreamClassifier`."""

    memory: MemoryOptions = field(default_factory=MemoryOptions)
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    pairs: bool = False


@dataclass(frozen=True)
class EpisodeOptions:
    """The episodes of training."""

    ways: Annotated[int, Ge(2)] = 5
    """Classes of an episode."""
    shots: Annotated[int, Ge(1)] = 1
    """Support examples of each class; the examples of a class, for learners of streams."""
    queries: Annotated[int, Ge(1)] = 5
    """Queries of each class; not for learners of streams."""
    batch: Annotated[int, Ge(1)] = 1
    """Episodes of an update."""
    labels: Labels = "one_hot"
    """How a stream labels its classes."""
    distortion: Distortion | None = None
    """Random distortions of every drawing; None: none."""
    class_distortion: Distortion | None = None
    """Random distortions of all drawings of a class in an episode alike, before these; None: none."""


@dataclass(frozen=True)
class FewShotEvalOptions:
    """How the learner is validated and tested."""

    cells: tuple[Cell, ...] = ((5, 1), (5, 5), (20, 1), (20, 5))
    """Ways and shots of test episodes."""
    streams: tuple[Annotated[int, Ge(2)], ...] = ()
    """Classes of test streams, for learners of streams."""
    episodes: Annotated[int, Ge(2)] = 1000
    """Test episodes, or streams, of each cell."""
    queries: Annotated[int, Ge(1)] = 5
    """Queries of each class in a test."""
    rotations: bool = False
    """Whether rotations are classes of their own in tests as well."""
    validation: Cell = (20, 1)
    """Ways and shots of validation episodes."""
    validation_episodes: Annotated[int, Ge(1)] = 100
    """How many there are, the same at every validation."""


@dataclass(frozen=True)
class FewShotExperiment:
    """Everything that a few-shot run is made from."""

    fit: SupervisedOptions
    data: DataOptions = field(default_factory=DataOptions)
    classifier: ClassifierOptions | None = None
    """A learner by a memory; one of these three is given."""
    stream: StreamOptions | None = None
    """A learner by a core, of streams."""
    gradient: GradientOptions | None = None
    """A learner by gradient descent."""
    transductive: bool = False
    """Whether batch norm may take its statistics from the queries of a test."""
    train: EpisodeOptions = field(default_factory=EpisodeOptions)
    eval: FewShotEvalOptions = field(default_factory=FewShotEvalOptions)
    threads: Annotated[int, Ge(1)] | None = None
    """Threads of torch; left out: as many as torch chooses. Part of what makes two runs equal."""
    name: str = ""
    """The preset's."""
    about: str = ""
    """What the preset is for."""

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
        """The most classes that the learner will meet."""
        if self.gradient is not None:
            return self.train.ways
        return max([self.train.ways, *self.eval.streams, *(ways for ways, _ in (*self.eval.cells, self._validated))])

    @property
    def longest(self) -> int:
        """Examples of the longest support or stream."""
        supports = [ways * shots for ways, shots in (*self.eval.cells, self._validated)]
        return max([self.train.ways * self.train.shots, *supports, *(n * self.train.shots for n in self.eval.streams)])

    @property
    def _validated(self) -> Cell:
        """What validations ask; of learners of streams that is a stream, and no cell of its own."""
        return (self.train.ways, 1) if self.stream is not None else self.eval.validation


def presets() -> dict[str, Path]:
    """The few-shot presets that come with the package, by name."""
    folder = resources.files("metarl.presets") / "fewshot"
    return {Path(str(f)).stem: Path(str(f)) for f in sorted(folder.iterdir(), key=str) if str(f).endswith(".toml")}


def configure(preset: str, assignments: Sequence[tuple[tuple[str, ...], Any]] = ()) -> FewShotExperiment:
    """The experiment of a preset (its name, or the path of a TOML file) with some settings changed.

    Raises:
        ConfigError: an unknown preset, key, name or value; one line.
    """
    known = presets()
    path = Path(preset) if preset.endswith(".toml") else known[choice(preset, known, "the preset")]
    return from_config(apply(load_toml(path), [(("name",), path.stem), *assignments]), path.stem)


def from_config(config: Mapping[str, Any], where: str) -> FewShotExperiment:
    """The experiment of nested plain data."""
    return build(FewShotExperiment, config, where)


def resolved(experiment: FewShotExperiment) -> FewShotExperiment:
    """The same with ``auto`` replaced by what there is: Omniglot where its archives are found, else drawn glyphs."""
    from metarl.data.omniglot import found

    if experiment.data.source != "auto":
        return experiment
    kind: Kind = "omniglot" if found(experiment.data.folder) else "glyphs"
    return replace(experiment, data=replace(experiment.data, source=kind))

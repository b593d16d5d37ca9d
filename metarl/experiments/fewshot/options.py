"""The tables of a few-shot preset: where examples come from, the learner, its training and its evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from metarl.agents.fewshot.classifier import Readout
from metarl.agents.fewshot.context import Context
from metarl.config import ConfigError
from metarl.data.distort import Distortion
from metarl.data.episodes import Labels
from metarl.data.images import Choice
from metarl.data.omniglot import MINIMAL, Scheme
from metarl.data.pictures import Background, Reading
from metarl.data.pool import Within
from metarl.data.sources import FewShotSource
from metarl.memory.options import MemoryOptions
from metarl.nets.images import EncoderOptions
from metarl.types import Split

Source = Literal["auto", "omniglot", "glyphs", "images", "tables"]
Setting = tuple[Annotated[int, Ge(2)], Annotated[int, Ge(1)]]  # ways and shots
ONLY_OF = {
    "colour": "images",
    "background": "images",
    "min_images": "images",
    "max_images": "images",
    "skip_bad": "images",
    "scheme": "omniglot",
    "within_alphabet": "omniglot",
    "distinct_drawers": "omniglot",
    "features": "tables",
}
"""Options that one source alone has."""
OF_IMAGES = ("folder", "size", "rotations", "trainval")
"""Options that all sources but tables have."""


SHOTS = {"train": "train.shots", "validation": "the shots of eval.validation", "test": "the shots of eval.cells"}
QUERIES = {"train": "train.queries", "validation": "eval.queries", "test": "eval.queries"}
"""The options that say how many examples of a class an episode of a split has."""


class EpisodeShape(NamedTuple):
    """The size of episodes, or of streams.

    Args:
        ways: classes.
        shots: support examples of each class; of a stream: examples of each class.
        queries: of each class; 0 for streams.
    """

    ways: int
    shots: int
    queries: int

    @property
    def images(self) -> int:
        """Images of an episode or stream."""
        return self.ways * (self.shots + self.queries)

    def sample(self, source: FewShotSource, rng: np.random.Generator, n: int, labels: Labels) -> Any:
        """Draw episodes or streams of this size.

        Args:
            source: of the images.
            rng: all randomness comes from it.
            n: how many.
            labels: of streams.

        Returns:
            :class:`metarl.data.episodes.Episodes`, or :class:`metarl.data.episodes.Streams`.

        Raises:
            ValueError: the source has too few classes or examples.
        """
        if self.queries:
            return source.sample(rng, n, self.ways, self.shots, self.queries)
        return source.sample_streams(rng, n, self.ways, self.shots, labels)

    def check(self, source: FewShotSource, split: Split) -> None:
        """Refuse a source that has too few classes or examples.

        Args:
            source: of the images.
            split: that it is of; the error names the options that ask.

        Raises:
            ValueError: it has too few.
        """
        shots = SHOTS[split] if self.queries else "train.shots"
        queries = f" + {QUERIES[split]}" if self.queries else ""
        source.check(self.ways, self.shots + self.queries, shots + queries)


@dataclass(frozen=True)
class DataOptions:
    """Where examples come from.

    Args:
        source: Omniglot; glyphs that a generator draws; any folder of class folders of images; or, with ``auto``,
            Omniglot where its archives are found and glyphs where not. ``tables`` trains on random tables and tests on
            tables of patients, which come with the extra ``apps``.
        folder: of Omniglot's archives (None: ``METARL_DATA``, or the user's cache), or of images.
        size: pixels along a side of an image.
        colour: whether images of a folder keep their colours.
        background: what transparent parts of images of a folder become.
        min_images: classes of a folder with fewer are left out; None: a class with one image is refused.
        max_images: most images of a class of a folder; None: all.
        skip_bad: leave out files and folders that can't be used, instead of refusing the folder.
        scheme: the split of Omniglot: 1028, 172 and 423 characters; Lake's 30 and 20 alphabets; or with one of his two
            minimal sets of 5 alphabets to train on.
        rotations: whether the rotations of a class by 90, 180 and 270 degrees are separate classes in training.
        trainval: whether to train on validation classes too, as papers do for their final figures. Training can then
            not be stopped early, and the accuracy shown meanwhile is that on training classes.
        within_alphabet: whether all classes of an episode come from one alphabet.
        distinct_drawers: whether support and queries of an episode are drawn by different people.
        features: columns of an example from tables; those that a table doesn't have are unknown.

    Raises:
        ConfigError: options that don't go together.
    """

    source: Source = "auto"
    folder: str | None = None
    size: Annotated[int, Ge(8), Le(256)] = 28
    colour: bool = False
    background: Background = "white"
    min_images: Annotated[int, Ge(2)] | None = None
    max_images: Annotated[int, Ge(2)] | None = None
    skip_bad: bool = False
    scheme: Scheme = "standard"
    rotations: bool = True
    trainval: bool = False
    within_alphabet: bool = False
    distinct_drawers: bool = False
    features: Annotated[int, Ge(4)] = 136

    def __post_init__(self) -> None:
        if self.source == "images" and self.folder is None:
            raise ConfigError(key="data.folder", expected="a folder with one subfolder of images per class (--images)")
        if self.source == "glyphs" and self.folder is not None:
            raise ConfigError(key="data.folder", given=self.folder, expected="none with drawn glyphs; leave it out")
        if self.trainval and self.scheme in MINIMAL:
            expected = f"false with data.scheme = {self.scheme!r}, or more than its five alphabets would be trained on"
            raise ConfigError(key="data.trainval", given=True, expected=expected)
        for name, source in ONLY_OF.items():
            given = getattr(self, name)
            if given != getattr(DataOptions, name) and self.source not in ("auto", source):
                expected = f"data.source = {source!r} with it, not {self.source!r}"
                raise ConfigError(key=f"data.{name}", given=given, expected=expected, remedy="leave it out")

        for name in OF_IMAGES if self.source == "tables" else ():
            given = getattr(self, name)
            if given != getattr(DataOptions, name):
                expected = "another data.source with it, as tables have no images"
                raise ConfigError(key=f"data.{name}", given=given, expected=expected, remedy="leave it out")

        if None not in (self.min_images, self.max_images):
            Choice(self.min_images, self.max_images)  # refuses a maximum below the minimum

    @property
    def choice(self) -> Choice:
        """Which classes and images of a folder are used."""
        return Choice(self.min_images, self.max_images, self.skip_bad)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return (self.features,) if self.source == "tables" else self.reading.shape

    @property
    def reading(self) -> Reading:
        """How images are read that a trained learner is shown: as those that it was trained on.

        Raises:
            ConfigError: it was trained on tables.
        """
        if self.source == "tables":
            problem = "this learner was trained on tables and can't be shown images"
            raise ConfigError(problem, key="data.source", remedy="metarl.load gives a memory of patients")
        return Reading(self.size, grey=not self.colour, drawing=self.source != "images", background=self.background)


@dataclass(frozen=True)
class ClassifierOptions:
    """A classifier by a memory: see :class:`metarl.agents.fewshot.classifier.FewShotClassifier`.

    Args:
        members: classifiers with these options, trained separately on the same episodes; their answers are averaged.
    """

    memory: MemoryOptions = field(default_factory=MemoryOptions)
    readout: Readout = "linear"
    context: Context = "none"
    rotate_support: bool = False
    plda: bool = False
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    members: Annotated[int, Ge(1)] = 1


@dataclass(frozen=True)
class StreamOptions:
    """A classifier of streams: see :class:`metarl.agents.fewshot.streams.StreamClassifier`."""

    memory: MemoryOptions = field(default_factory=MemoryOptions)
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    pairs: bool = False


@dataclass(frozen=True)
class EpisodeOptions:
    """The episodes of training.

    Args:
        ways: classes of an episode.
        shots: support examples of each class; the examples of a class, for learners of streams.
        queries: queries of each class; not for learners of streams.
        batch: episodes of an update.
        other_shots: further numbers of shots; each update has one of all, drawn at random. Not for learners of streams.
        labels: how a stream labels its classes.
        alphabets: of Omniglot alone, which alphabets the classes of an episode come from: ``any``, whatever they are;
            ``one``; or as ``few`` as have enough, in random order, of which only the last is cut. None: as
            ``data.within_alphabet`` says.
        distortion: random distortions of every image; None: none.
        class_distortion: random distortions shared by all images of a class in an episode, applied first; None: none.
    """

    ways: Annotated[int, Ge(2)] = 5
    shots: Annotated[int, Ge(1)] = 1
    queries: Annotated[int, Ge(1)] = 5
    batch: Annotated[int, Ge(1)] = 1
    other_shots: tuple[Annotated[int, Ge(1)], ...] = ()
    labels: Labels = "one_hot"
    alphabets: Within | None = None
    distortion: Distortion | None = None
    class_distortion: Distortion | None = None


@dataclass(frozen=True)
class FewShotEvalOptions:
    """How the learner is validated and tested.

    Args:
        cells: ways and shots of test episodes.
        streams: classes of test streams, for learners of streams.
        episodes: test episodes, or streams, of each setting.
        queries: queries of each class in a test.
        rotations: whether rotations are separate classes in tests too.
        validation: ways and shots of validation episodes.
        validation_episodes: validation episodes, the same ones every time.
    """

    cells: tuple[Setting, ...] = ((5, 1), (5, 5), (20, 1), (20, 5))
    streams: tuple[Annotated[int, Ge(2)], ...] = ()
    episodes: Annotated[int, Ge(2)] = 1000
    queries: Annotated[int, Ge(1)] = 5
    rotations: bool = False
    validation: Setting = (20, 1)
    validation_episodes: Annotated[int, Ge(1)] = 100

"""The tables of a few-shot preset: where images come from, the learner, its training and its evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from metarl.agents.fewshot.classifier import Readout
from metarl.agents.fewshot.context import Context
from metarl.config import ConfigError
from metarl.data.distort import Distortion
from metarl.data.episodes import Labels
from metarl.data.omniglot import Scheme
from metarl.memory.options import MemoryOptions
from metarl.nets.images import EncoderOptions

Source = Literal["auto", "omniglot", "glyphs", "images"]
Setting = tuple[Annotated[int, Ge(2)], Annotated[int, Ge(1)]]
"""Ways and shots."""


@dataclass(frozen=True)
class DataOptions:
    """Where images come from."""

    source: Source = "auto"
    """Omniglot; glyphs that a generator draws; any folder of class folders of images; or, with ``auto``, Omniglot where
    its archives are found and glyphs where not."""
    folder: str | None = None
    """Of Omniglot's archives (None: ``METARL_DATA``, or the user's cache), or of images."""
    size: Annotated[int, Ge(8), Le(256)] = 28
    """Pixels along a side of an image."""
    colour: bool = False
    """Whether images of a folder keep their colours."""
    scheme: Scheme = "standard"
    """The split of Omniglot: 1028, 172 and 423 characters, or Lake's 30 and 20 alphabets."""
    rotations: bool = True
    """Whether the rotations of a class by quarter turns are classes of their own in training."""
    trainval: bool = False
    """Whether validation classes are trained on as well, as papers do for their final figures; no class is then left
    to stop by, and the accuracy shown during training is one on training classes."""
    within_alphabet: bool = False
    """Whether all classes of an episode come from one alphabet."""
    distinct_drawers: bool = False
    """Whether support and queries of an episode are drawn by different people."""

    def __post_init__(self) -> None:
        if self.source == "images" and self.folder is None:
            raise ConfigError("data.source = 'images' without data.folder; say where the class folders are (--images)")
        if self.source == "glyphs" and self.folder is not None:
            raise ConfigError("data.folder with data.source = 'glyphs', which the program draws itself; leave it out")
        if self.colour and self.source != "images":
            raise ConfigError(f"data.colour = true with data.source = {self.source!r}, which has none; leave it out")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return (self.size, self.size, 3) if self.colour else (self.size, self.size)


@dataclass(frozen=True)
class ClassifierOptions:
    """A classifier by a memory: see :class:`metarl.agents.fewshot.classifier.FewShotClassifier`."""

    memory: MemoryOptions = field(default_factory=MemoryOptions)
    readout: Readout = "linear"
    context: Context = "none"
    rotate_support: bool = False
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    members: Annotated[int, Ge(1)] = 1
    """Classifiers with these options, trained separately on the same episodes; their answers are averaged."""


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
    """Random distortions of every image; None: none."""
    class_distortion: Distortion | None = None
    """Random distortions shared by all images of a class in an episode, applied first; None: none."""


@dataclass(frozen=True)
class FewShotEvalOptions:
    """How the learner is validated and tested."""

    cells: tuple[Setting, ...] = ((5, 1), (5, 5), (20, 1), (20, 5))
    """Ways and shots of test episodes."""
    streams: tuple[Annotated[int, Ge(2)], ...] = ()
    """Classes of test streams, for learners of streams."""
    episodes: Annotated[int, Ge(2)] = 1000
    """Test episodes, or streams, of each setting."""
    queries: Annotated[int, Ge(1)] = 5
    """Queries of each class in a test."""
    rotations: bool = False
    """Whether rotations are classes of their own in tests as well."""
    validation: Setting = (20, 1)
    """Ways and shots of validation episodes."""
    validation_episodes: Annotated[int, Ge(1)] = 100
    """Validation episodes, the same ones every time."""

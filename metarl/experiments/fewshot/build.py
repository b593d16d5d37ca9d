"""Sources of examples and learners from their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metarl.config import ConfigError
from metarl.data.diseases import DISEASES, cohorts
from metarl.data.distort import Distorted, Distortion
from metarl.data.omniglot.characters import split_characters
from metarl.data.pool import Glyphs, Pool, Within
from metarl.data.random_tables import RandomTables
from metarl.data.sources import FewShotSource
from metarl.data.tables import Tables
from metarl.experiments.base import config_errors
from metarl.experiments.fewshot.options import DataOptions, EpisodeOptions
from metarl.seeding import sequence
from metarl.training.allowance import Allowance
from metarl.types import Split

if TYPE_CHECKING:
    from metarl.agents.fewshot.learner import FewShotLearner
    from metarl.experiments.fewshot.experiment import FewShotExperiment

DESCRIBED = {
    "omniglot": "Omniglot ({scheme} split)",
    "glyphs": "drawn glyphs, not Omniglot",
    "images": "images of {folder}",
    "tables": "tables of patients",
}


def make_source(data: DataOptions, split: Split, *, rotations: bool, alphabets: Within | None = None) -> FewShotSource:
    """The classes of a split.

    Args:
        data: where they come from; ``auto`` is resolved.
        split: train, validation or test.
        rotations: whether the rotations of a class by 90, 180 and 270 degrees are separate classes.
        alphabets: see :class:`EpisodeOptions`.

    Raises:
        ConfigError: the data are missing or damaged, or have no alphabets.
    """
    if alphabets is not None and data.source != "omniglot":
        expected = "none, or data.source = 'omniglot', which alone has alphabets"
        raise ConfigError(key="train.alphabets", given=alphabets, expected=expected)
    with config_errors():
        if data.source == "omniglot":
            from metarl.data.omniglot import Omniglot

            return Omniglot(
                split,
                size=data.size,
                scheme=data.scheme,
                rotations=rotations,
                folder=data.folder,
                within=alphabets or ("one" if data.within_alphabet else "any"),
                distinct_drawers=data.distinct_drawers,
            )
        if data.source == "images":
            from metarl.data.images import Images

            assert data.folder is not None
            look = data.size, not data.colour, data.background
            images = Images(split, data.folder, *look, **vars(data.choice))
            return with_rotations(images, rotations)
        if data.source == "glyphs":
            return with_rotations(resized(Glyphs(split), data.size), rotations)
        if data.source == "tables":
            if split != "test":
                return RandomTables(data.features)
            return Tables(cohorts(), data.features)
        raise ValueError("data.source = 'auto' is still open; call the experiment's check() first")


def with_rotations(pool: Pool, rotations: bool) -> Pool:
    """With ``rotations``, the four rotations of a class become classes; no episode has two of the same class."""
    if not rotations:
        return pool
    flat = np.concatenate([np.rot90(pool.flat, turn, (1, 2)) for turn in range(4)])
    names = [f"{name}/rot{90 * turn:03d}" if turn else name for turn in range(4) for name in pool.names]
    group = np.tile(np.arange(pool.classes), 4)
    return Pool(flat, counts=np.tile(pool.counts, 4), names=names, exclusive_group=group)


def resized(pool: Pool, size: int) -> Pool:
    """The same images with ``size`` pixels a side, averaged over areas."""
    if pool.shape == (size, size):
        return pool
    from PIL import Image

    small = np.stack([np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BOX)) for x in pool.flat])
    return pool.replaced(small)


def training_source(data: DataOptions, train: EpisodeOptions) -> FewShotSource:
    """The source that training draws from, distorted as ``train`` says.

    Raises:
        ConfigError: see :func:`make_source`.
    """
    options: Any = {"rotations": data.rotations, "alphabets": train.alphabets}
    source = make_source(data, "train", **options)
    if data.trainval:
        held = make_source(data, "validation", **options)
        assert isinstance(source, Pool), "data.trainval is refused with other sources"
        assert isinstance(held, Pool)
        source = source.joined(held)
    own, shared = train.distortion, train.class_distortion
    return source if own is None and shared is None else Distorted(source, own or Distortion(), shared)


def class_names(data: DataOptions, split: Split) -> tuple[str, ...]:
    """The names of the classes of a split, by which they are known again; of tables, those of diseases.

    Glyphs and random tables have none.

    Raises:
        ConfigError: there is no such folder, or it can't be read.
    """
    with config_errors(None, OSError):
        if data.source == "images":
            from metarl.data.images import class_names as of_images

            assert data.folder is not None
            return of_images(split, data.folder)
        if data.source == "tables":
            return DISEASES if split == "test" else ()
        return tuple(split_characters(data.scheme, split)) if data.source == "omniglot" else ()


def described(data: DataOptions) -> str:
    """Where the examples come from, in words."""
    return DESCRIBED[data.source].format(scheme=data.scheme, folder=data.folder)


def make_learner(experiment: FewShotExperiment, seed: int) -> FewShotLearner:
    """The untrained learner, on the CPU; torch's own generator stays as it was.

    Raises:
        ConfigError: options that don't fit.
    """
    from metarl.agents.fewshot.classifier import FewShotClassifier
    from metarl.agents.fewshot.ensemble import Ensemble
    from metarl.agents.fewshot.gradient import gradient_learner
    from metarl.agents.fewshot.streams import StreamClassifier

    shape, ways, longest = experiment.data.shape, experiment.ways, experiment.longest
    with torch.random.fork_rng(), config_errors("the learner"), Allowance():
        torch.manual_seed(int(sequence(seed, "init").generate_state(1)[0]))
        if experiment.gradient is not None:
            return gradient_learner(shape, ways, experiment.gradient, transductive=experiment.transductive)
        if experiment.stream is not None:
            return StreamClassifier(
                shape, ways, labels=experiment.train.labels, longest=longest, **vars(experiment.stream)
            )
        assert experiment.classifier is not None
        options = dict(vars(experiment.classifier))
        count = options.pop("members")
        members = [
            FewShotClassifier(shape, ways, longest=longest, transductive=experiment.transductive, **options)
            for _ in range(count)
        ]
        return members[0] if len(members) == 1 else Ensemble(members)

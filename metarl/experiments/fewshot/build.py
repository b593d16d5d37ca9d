"""Sources of drawings and learners from their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from metarl.config import ConfigError
from metarl.data.distort import Distorted, Distortion
from metarl.data.pool import Glyphs, Pool
from metarl.data.sources import FewShotSource
from metarl.experiments.fewshot.options import DataOptions, FewShotExperiment
from metarl.seeding import sequence
from metarl.types import Split

if TYPE_CHECKING:
    from metarl.agents.fewshot.learner import FewShotLearner

DESCRIBED = {
    "omniglot": "Omniglot ({scheme} split)",
    "glyphs": "drawn glyphs, not Omniglot",
    "images": "images of {folder}",
}


def make_source(data: DataOptions, split: Split, *, rotations: bool) -> Pool:
    """The classes of a split.

    Raises:
        ValueError: data that are missing or damaged, or options that the source has no use for.
    """
    if data.source == "omniglot":
        from metarl.data.omniglot import Omniglot

        return Omniglot(
            split,
            size=data.size,
            scheme=data.scheme,
            rotations=rotations,
            folder=data.folder,
            within_alphabet=data.within_alphabet,
            distinct_drawers=data.distinct_drawers,
        )
    for name in ("within_alphabet", "distinct_drawers"):
        if getattr(data, name):
            raise ConfigError(
                f"data.{name} = true with data.source = {data.source!r}: only Omniglot knows who drew what"
            )
    if data.scheme != "standard":
        raise ConfigError(
            f"data.scheme = {data.scheme!r} with data.source = {data.source!r}: only Omniglot has several splits; "
            "leave it out"
        )
    if data.source == "images":
        from metarl.data.images import Images

        assert data.folder is not None
        return turned(Images(split, data.folder, data.size, grey=not data.colour), rotations)
    if data.source == "glyphs":
        return turned(resized(Glyphs(split), data.size), rotations)
    raise ValueError("data.source = 'auto' is resolved before anything is drawn")


def turned(pool: Pool, rotations: bool) -> Pool:
    """With ``rotations``, the four turns of every class as classes of their own, never two of them in one episode."""
    if not rotations:
        return pool
    examples = np.concatenate([np.rot90(pool.examples, turn, (2, 3)) for turn in range(4)])
    return Pool(examples, exclusive_group=np.tile(np.arange(len(pool.examples)), 4))


def resized(pool: Pool, size: int) -> Pool:
    """The same pictures with ``size`` pixels a side, by area."""
    if pool.shape == (size, size):
        return pool
    from PIL import Image

    flat = pool.examples.reshape(-1, *pool.shape)
    small = np.stack([np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BOX)) for x in flat])
    return pool.replaced(small)


def training_source(experiment: FewShotExperiment) -> FewShotSource:
    """What training draws from."""
    data = experiment.data
    source = make_source(data, "train", rotations=data.rotations)
    if data.trainval:
        source = source.joined(make_source(data, "validation", rotations=data.rotations))
    own, shared = experiment.train.distortion, experiment.train.class_distortion
    return source if own is None and shared is None else Distorted(source, own or Distortion(), shared)


def described(data: DataOptions) -> str:
    """Where drawings come from, in words."""
    return DESCRIBED[data.source].format(scheme=data.scheme, folder=data.folder)


def make_learner(experiment: FewShotExperiment, shape: tuple[int, ...], seed: int) -> FewShotLearner:
    """The untrained learner for examples of ``shape``; torch's own generator is left as it was.

    Raises:
        ConfigError: options that don't fit.
    """
    from metarl.agents.fewshot.classifier import FewShotClassifier
    from metarl.agents.fewshot.ensemble import Ensemble
    from metarl.agents.fewshot.gradient import gradient_learner
    from metarl.agents.fewshot.streams import StreamClassifier

    ways, longest = experiment.ways, experiment.longest
    with torch.random.fork_rng():
        torch.manual_seed(int(sequence(seed, "init").generate_state(1)[0]))
        try:
            if experiment.gradient is not None:
                return gradient_learner(shape, ways, experiment.gradient, transductive=experiment.transductive)
            if experiment.stream is not None:
                one, labels = experiment.stream, experiment.train.labels
                return StreamClassifier(
                    shape,
                    ways,
                    one.memory,
                    labels=labels,
                    encoder=one.encoder,
                    longest=longest,
                    pairs=one.pairs,
                )
            assert experiment.classifier is not None
            members = [
                FewShotClassifier(
                    shape,
                    ways,
                    experiment.classifier.memory,
                    readout=experiment.classifier.readout,
                    context=experiment.classifier.context,
                    encoder=experiment.classifier.encoder,
                    longest=longest,
                    transductive=experiment.transductive,
                    rotate_support=experiment.classifier.rotate_support,
                )
                for _ in range(experiment.classifier.members)
            ]
            return members[0] if len(members) == 1 else Ensemble(members)
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(f"the learner: {error}") from None

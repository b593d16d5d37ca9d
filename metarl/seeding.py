"""Independent random streams, each with a name, from one seed.

Drawing more from one stream never shifts another, and no global generator is used. Seed 0 is a seed like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metarl.config import choice
from metarl.types import SPLITS, Split

if TYPE_CHECKING:
    import torch

STREAMS = ("tasks", "env", "policy", "minibatch", "init", "evaluation", "data", "baseline", "rank", "sweep")


def sequence(seed: int, stream: str, *key: int) -> np.random.SeedSequence:
    """The seed sequence of a stream.

    Args:
        seed: any integer from 0 on.
        stream: one of :data:`STREAMS`.
        key: integers that separate several sequences of one stream (splits, workers, repetitions).

    Raises:
        ConfigError: there is no such stream.
    """
    choice(stream, STREAMS, "the random stream")
    return np.random.SeedSequence(entropy=seed, spawn_key=(STREAMS.index(stream), *key))


def numpy_rng(seed: int, stream: str, *key: int) -> np.random.Generator:
    """A new NumPy generator for ``stream``; the arguments are those of :func:`sequence`."""
    return np.random.default_rng(sequence(seed, stream, *key))


def torch_rng(seed: int, stream: str, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """See :func:`sequence`: a new torch generator on ``device`` for the stream."""
    import torch

    return torch.Generator(device).manual_seed(
        int(sequence(seed, stream, *key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )


def rank_seed(seed: int, rank: int) -> int:
    """The seed of what one of several processes draws for itself: that of the run in the first, another in each other.

    Args:
        seed: of the run.
        rank: the number of the process, from 0.
    """
    return int(sequence(seed, "rank", rank).generate_state(1)[0]) if rank else seed


def split_key(split: Split) -> int:
    """The key that separates the tasks of the splits: 0, 1, 2 for training, validation, test."""
    return SPLITS.index(choice(split, SPLITS, "the split"))

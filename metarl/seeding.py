"""One seed, many independent named streams.

Every random number comes from a stream with a name, so that drawing more of one kind never shifts another, and no
global generator is ever touched. Seed 0 is a seed like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metarl.types import SPLITS, Split

if TYPE_CHECKING:
    import torch

STREAMS = ("tasks", "env", "policy", "minibatch", "init", "evaluation", "data", "baseline")


def sequence(seed: int, stream: str, *key: int) -> np.random.SeedSequence:
    """The seed sequence of ``stream``; ``key`` tells apart several of one kind (splits, workers, repetitions)."""
    if stream not in STREAMS:
        raise ValueError(f"unknown stream {stream!r}; the streams are {', '.join(STREAMS)}")
    return np.random.SeedSequence(entropy=seed, spawn_key=(STREAMS.index(stream), *key))


def numpy_rng(seed: int, stream: str, *key: int) -> np.random.Generator:
    """A NumPy generator of its own for ``stream``."""
    return np.random.default_rng(sequence(seed, stream, *key))


def torch_rng(seed: int, stream: str, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator of its own for ``stream``, on ``device``, where the numbers are drawn."""
    import torch

    return torch.Generator(device).manual_seed(
        int(sequence(seed, stream, *key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )


def split_key(split: Split) -> int:
    """The key that keeps the task streams of the splits apart."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    return SPLITS.index(split)

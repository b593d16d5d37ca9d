"""Which queries of episodes and which steps of streams a learner answers rightly, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.data.episodes import Episodes, Streams
from metarl.data.pool import Pool
from metarl.types import Bools

Batch = TypeVar("Batch", Episodes, Streams)
IMAGES = 3000
"""Examples that are classified at once in validations and tests."""
CHUNK = 250
"""Examples that are embedded at once; with more, activations leave the cache and are given back to the system."""


@torch.no_grad()
def prepared(learner: FewShotLearner, pool: Pool, examples: int) -> tuple[Pool, Callable[[Episodes], Bools]]:
    """What to draw episodes from, and what tells which of their queries ``[B, Q]`` are classified rightly.

    If the learner embeds each example by itself, and ``examples`` to be shown are more than the pool has, the pool is
    embedded as a whole: the same episodes come of it, and each example has gone through the net but once.
    """
    flat = pool.examples.reshape(-1, *pool.shape)
    each = []
    for first in range(0, len(flat) if examples > len(flat) else 0, CHUNK):
        embedded = learner.embed(flat[first : first + CHUNK].copy())  # torch takes no array that is read-only
        if embedded is None:
            break
        each.append(embedded.numpy())
    if not each:
        return pool, lambda episodes: right(learner, episodes)
    return pool.replaced(np.concatenate(each)), lambda episodes: right(learner, episodes, embedded=True)


def right(learner: FewShotLearner, episodes: Episodes, *, embedded: bool = False) -> Bools:
    """Which queries are classified rightly ``[B, Q]``, some episodes at a time; ``embedded``: of embeddings."""
    size = max(1, IMAGES // (episodes.support_y.shape[1] + episodes.query_y.shape[1]))
    answer = learner.predict_embedded if embedded else learner.predict
    found = [answer(*part[:3]).numpy() == part.query_y for part in parts(episodes, size)]
    return np.concatenate(found)


def right_in_streams(learner: FewShotLearner, streams: Streams) -> Bools:
    """Which steps are classified rightly ``[B, T]``: all digits of their labels, some streams at a time."""
    size = max(1, IMAGES // streams.y.shape[1])
    found = [learner.predict_streams(part.x, part.y).numpy() == part.y for part in parts(streams, size)]
    return np.asarray(np.concatenate(found).all(-1))


def parts(batch: Batch, size: int) -> Iterator[Batch]:
    """A batch of episodes or streams, ``size`` of them at a time."""
    for first in range(0, len(batch[0]), size):
        yield type(batch)._make(array[first : first + size] for array in batch)

"""Which queries of episodes and steps of streams a learner classifies correctly, computed in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch

from metarl.agents.fewshot.embedded import embedded
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.data.episodes import Episodes, Streams
from metarl.data.pool import Pool
from metarl.data.sources import FewShotSource
from metarl.types import Bools

Batch = TypeVar("Batch", Episodes, Streams)
IMAGES = 3000  # examples in a batch of validations and tests


@torch.no_grad()
def prepared(
    learner: FewShotLearner, source: FewShotSource, examples: int
) -> tuple[FewShotSource, Callable[[Episodes], Bools]]:
    """A source to sample episodes from, and a function that says which of their queries ``[B, Q]`` are correct.

    If the source is a pool, the learner embeds examples one by one, and the episodes show more than the pool has, the
    whole pool is embedded first, so that each example goes through the net only once; the episodes are the same.

    Args:
        learner: in evaluation mode.
        source: of the examples.
        examples: how many examples all episodes show.
    """
    held = embedded(learner, source) if isinstance(source, Pool) and examples > len(source.flat) else None
    if held is None:
        return source, lambda episodes: correct(learner, episodes)
    return held, lambda episodes: correct(learner, episodes, embedded=True)


@torch.no_grad()
def correct(learner: FewShotLearner, episodes: Episodes, *, embedded: bool = False) -> Bools:
    """Which queries ``[B, Q]`` are classified correctly.

    Args:
        learner: in evaluation mode.
        episodes: of ``B`` supports with ``Q`` queries each.
        embedded: whether they hold embeddings instead of examples.
    """
    size = max(1, IMAGES // (episodes.support_y.shape[1] + episodes.query_y.shape[1]))
    answer = (lambda *part: learner.classify(*part).argmax(-1)) if embedded else learner.predict
    found = [answer(*part[:3]).cpu().numpy() == part.query_y for part in parts(episodes, size)]
    return np.concatenate(found)


def correct_in_streams(learner: FewShotLearner, streams: Streams) -> Bools:
    """Which steps ``[B, T]`` are classified correctly, in all digits of their labels."""
    size = max(1, IMAGES // streams.y.shape[1])
    found = [learner.predict_streams(part.x, part.y).cpu().numpy() == part.y for part in parts(streams, size)]
    return np.asarray(np.concatenate(found).all(-1))


def parts(batch: Batch, size: int) -> Iterator[Batch]:
    """A batch of episodes or streams, ``size`` of them at a time."""
    for first in range(0, len(batch[0]), size):
        yield type(batch)._make(array[first : first + size] for array in batch)

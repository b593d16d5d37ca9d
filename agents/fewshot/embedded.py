"""All examples of a pool as a learner embeds them, each but once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.data.pool import Pool

CHUNK = 250  # examples that are embedded at once; with more, activations no longer fit the cache


@torch.no_grad()
def embedded(learner: FewShotLearner, pool: Pool, tick: Callable[[int], bool] = lambda done: False) -> Pool | None:
    """The pool with embeddings in place of its examples; None if the learner doesn't embed them one by one, or stopped.

    Args:
        learner: in evaluation mode.
        pool: of the examples.
        tick: is told how many more are done, and says whether to stop.
    """
    each = []
    for first in range(0, len(pool.flat), CHUNK):
        made = learner.embed(pool.flat[first : first + CHUNK].copy())  # torch takes no array that is read-only
        if made is None:
            return None
        each.append(made.cpu().numpy())
        if tick(len(made)):
            return None
    return pool.replaced(np.concatenate(each))

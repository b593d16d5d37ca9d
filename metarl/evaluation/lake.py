"""One-shot classification within an alphabet, as people were tested by Lake et al. 2015: error rates of learners.

An episode is 20 characters of one alphabet, each drawn once by one person, and 20 trials: the same characters drawn by
another person, each to be named alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from metarl.agents.fewshot.learner import FewShotLearner, alone
from metarl.data.episodes import Episodes
from metarl.data.omniglot import Omniglot, PublishedRuns
from metarl.data.pool import Pool
from metarl.evaluation.accuracy import correct, prepared
from metarl.evaluation.pooling import variance_over_seeds
from metarl.functional.stats import standard_error
from metarl.types import Bools, Ints

WAYS = 20
AT_ONCE = 100  # episodes that are drawn at once
Draw = Callable[[Pool, int], Episodes]
"""Draws so many episodes from a pool, of images or of their embeddings."""
PEOPLE, BPL = 0.045, 0.033  # error rates on the published runs (Lake et al. 2015, figure 6A)


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """The share of trials in which another character was named.

    Args:
        error: from 0 to 1.
        se: its standard error, from the spread between episodes, since the trials of one share their support.
        trials: in all.
        by_episode: the error of each episode.
    """

    error: float
    se: float
    trials: int
    by_episode: tuple[float, ...]


def error_rate(hits: Bools) -> ErrorRate:
    """The error rate from the trials ``[n, Q]`` of ``n`` episodes, true where the answer was correct."""
    errors = 1 - hits.mean(1)
    return ErrorRate(
        error=float(errors.mean()), se=standard_error(errors), trials=hits.size, by_episode=tuple(errors.tolist())
    )


def over_seeds(rates: Sequence[ErrorRate]) -> tuple[float, float]:
    """The mean error of learners that were trained alike with several seeds, and its standard error.

    All were tested on the same episodes. Their error over episodes is that of the mean over learners, and is not
    divided by their number; that of the seeds is added.

    Raises:
        ValueError: they were not tested on the same episodes.
    """
    each = np.array([rate.by_episode for rate in rates], dtype=np.float64)  # ValueError for other lengths
    shared = np.full(len(rates), standard_error(each.mean(0)))
    variance = variance_over_seeds(each.mean(1), shared, shared=True)
    return float(each.mean()), float(np.sqrt(variance))


@torch.no_grad()
def on_published_runs(learner: FewShotLearner, runs: PublishedRuns) -> ErrorRate:
    """The error rate on the 20 published runs.

    Args:
        learner: in evaluation mode, with room for 20 classes.
        runs: at the size that the learner takes.
    """
    labels = np.tile(np.arange(WAYS), (len(runs.support), 1))
    episodes = Episodes(
        runs.support.copy(), labels, runs.queries.copy(), runs.answers
    )  # torch takes no read-only array
    with alone(learner):
        return error_rate(correct(learner, episodes))


@torch.no_grad()
def on_episodes(learner: FewShotLearner, pool: Pool, draws: Mapping[str, Draw], episodes: int) -> dict[str, ErrorRate]:
    """The error rates on episodes of several kinds from one pool.

    Args:
        learner: in evaluation mode, with room for 20 classes.
        pool: of the images.
        draws: how episodes of each kind are drawn.
        episodes: how many of each.
    """
    with alone(learner):
        held, answer = prepared(learner, pool, 2 * WAYS * episodes * len(draws))
        assert isinstance(held, Pool)
        counts = [min(AT_ONCE, episodes - first) for first in range(0, episodes, AT_ONCE)]
        return {
            name: error_rate(np.concatenate([answer(draw(held, count)) for count in counts]))
            for name, draw in draws.items()
        }


def random_episodes(rng: np.random.Generator) -> Draw:
    """Draws an alphabet with 20 characters or more, 20 of its characters, and two of their drawers.

    Args:
        rng: all randomness comes from it.

    Returns:
        What :func:`on_episodes` takes; its pool is one of :func:`evaluation_set`.
    """
    return lambda pool, n: pool.sample(rng, n, WAYS, 1, 1)


def evaluation_set(size: int, folder: str | None = None) -> Omniglot:
    """The 20 evaluation alphabets at this size, for episodes of one alphabet and two drawers.

    Raises:
        OmniglotError: the archives of Omniglot are missing or damaged.
    """
    return Omniglot("test", scheme="lake", size=size, folder=folder, within="one", distinct_drawers=True)


def chosen_episodes(pool: Pool, characters: Ints, drawers: Ints) -> Episodes:
    """Episodes of given characters and drawers.

    Args:
        pool: whose examples are drawers.
        characters: ``[n, 20]`` the numbers of the classes of each episode.
        drawers: ``[n, 2]`` who draws its support, and who its queries.
    """
    labels = np.tile(np.arange(characters.shape[1]), (len(characters), 1))
    support, queries = (pool.examples[characters, drawers[:, side, None]] for side in range(2))
    return Episodes(support, labels, queries, labels)

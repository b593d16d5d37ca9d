"""Methods compared over several trainings on one or more tasks, with intervals that hold for a few runs.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice": interquartile means,
probabilities of improvement and performance profiles, with percentile intervals of a bootstrap that is stratified by
task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metarl.functional.stats import RESAMPLES, Interval
from metarl.types import Floats

RUNS = 3  # of each method on each task, below which intervals say nothing
Scores = Sequence[Floats]  # of one method: the scores ``[runs]`` on each task


class Profile(NamedTuple):
    """The share of runs whose score is above a threshold, with a pointwise 95 % interval: each ``[n]``."""

    share: Floats
    low: Floats
    high: Floats


def interquartile_mean(scores: Scores, seed: int = 0) -> Interval:
    """The mean of the middle half of all runs of all tasks, with its 95 % interval."""
    return _interval(_iqm, scores, seed)


def probability_of_improvement(ours: Scores, theirs: Scores, seed: int = 0) -> Interval:
    """How probable it is that a run of one method is better than one of another on a random task; ties count half.

    Args:
        ours: scores of one method on each task.
        theirs: of the other, on the same tasks.
        seed: of the bootstrap.

    Raises:
        ValueError: they are of different numbers of tasks.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"scores are of {len(ours)} and {len(theirs)} tasks, expected as many")
    tasks = len(ours)
    return _interval(lambda both: _better(both[:tasks], both[tasks:]), [*ours, *theirs], seed)


def performance_profile(scores: Scores, thresholds: Floats, seed: int = 0) -> Profile:
    """The share of runs above each threshold: the mean over tasks.

    Args:
        scores: of a method on each task.
        thresholds: ``[n]``
        seed: of the bootstrap.
    """

    def share(runs: Scores) -> Floats:
        return np.mean([(one[..., None] > thresholds).mean(-2) for one in runs], 0)

    low, high = np.percentile(share(_resampled(scores, seed)), (2.5, 97.5), axis=0)
    return Profile(share(scores), low, high)


def _interval(value: Callable[[Scores], Floats], scores: Scores, seed: int) -> Interval:
    low, high = np.percentile(value(_resampled(scores, seed)), (2.5, 97.5))
    return Interval(float(value(scores)), float(low), float(high))


def _resampled(scores: Scores, seed: int) -> list[Floats]:
    """``[R, runs]`` of each task: its runs drawn with replacement."""
    rng = np.random.default_rng(seed)
    return [one[rng.integers(len(one), size=(RESAMPLES, len(one)))] for one in scores]


def _iqm(scores: Scores) -> Floats:
    """``[...]`` of scores ``[..., runs]``; a quarter of the runs, rounded down, is left out at either end."""
    every = np.sort(np.concatenate(scores, -1), -1)
    cut = every.shape[-1] // 4
    return every[..., cut : every.shape[-1] - cut].mean(-1)


def _better(ours: Scores, theirs: Scores) -> Floats:
    """``[...]`` of scores ``[..., runs]``."""
    wins = [
        ((a[..., :, None] > b[..., None, :]) + 0.5 * (a[..., :, None] == b[..., None, :])).mean((-2, -1))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return np.mean(wins, 0)

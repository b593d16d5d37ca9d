"""Means over several trainings, with their intervals over tasks and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from metarl.evaluation.results import AgentEvaluation
from metarl.types import Floats

NORMAL95 = 1.96  # standard errors in half a 95 % interval of a normal distribution


def variance_over_seeds(means: Floats, errors: Floats, shared: bool) -> Floats:
    """The variance of a mean over ``S`` runs, each tested on tasks.

    With tasks of its own for each run, the variance between runs is that of seeds and tasks together; it is taken to be
    at least the mean squared error over tasks, and divided by S. Where runs were tested on the same tasks, whose error
    they share, it is that of the seeds alone, and the error over tasks is added undivided.

    Args:
        means: ``[S, ...]`` of each run.
        errors: ``[S, ...]`` standard errors over tasks.
        shared: whether runs were tested on the same tasks.

    Returns:
        ``[...]``
    """
    runs, within = len(means), np.square(errors).mean(0)
    if runs == 1:
        return within
    between = means.var(0, ddof=1)
    return between / runs + within if shared else np.maximum(between, within) / runs


def mean_over_seeds(means: Floats, errors: Floats, shared: bool) -> tuple[Floats, Floats]:
    """The mean over ``S`` runs with half the width of its 95 % interval over tasks and seeds.

    The width is that of Student's t with S - 1 degrees of freedom (1.96 for a single run), which covers at least 95 %,
    and says little with two runs.

    Args:
        means: as in :func:`variance_over_seeds`.
        errors: likewise.
        shared: likewise.

    Returns:
        Mean and half width, each ``[...]``.
    """
    error = np.sqrt(variance_over_seeds(means, errors, shared))
    if len(means) == 1:
        return means[0], NORMAL95 * error
    from scipy.stats import t

    return means.mean(0), float(t.ppf(0.975, len(means) - 1)) * error


def pooled(
    evaluations: Sequence[AgentEvaluation],
    field: Literal["return_mean", "episode_mean", "by_episode", "by_exposure"],
) -> tuple[Floats, Floats] | None:
    """:func:`mean_over_seeds` of a field of several evaluations.

    Args:
        evaluations: of runs that differ in their seeds alone.
        field: what is averaged; ``by_exposure`` has no errors over tasks.

    Returns:
        Mean and half width, each ``[n]``, as far as all runs go (``[1]`` of a single mean); None where one of the
        evaluations lacks the field.
    """
    values = [getattr(one, field) for one in evaluations]
    if not values or any(value is None for value in values):
        return None
    means = [np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in values]
    errors_of = {"return_mean": "return_se", "episode_mean": "episode_se", "by_episode": "by_episode_se"}
    name = errors_of.get(field)
    errors = [
        np.atleast_1d(getattr(one, name)) if name else np.zeros(len(mean))
        for one, mean in zip(evaluations, means, strict=True)
    ]
    length = min(map(len, means))
    shared = len({one.seed for one in evaluations}) < len(evaluations)
    return mean_over_seeds(np.stack([m[:length] for m in means]), np.stack([e[:length] for e in errors]), shared)

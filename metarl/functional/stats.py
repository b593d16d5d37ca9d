"""Means with intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarl.types import Array

RESAMPLES = 2000
AT_ONCE = 50  # resamples that are drawn side by side
BYTES = 8 * (1 + 2 * AT_ONCE)
"""What :func:`bootstrap_mean` takes for each task."""


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width: the number behind ±."""
        return (self.high - self.low) / 2


def bootstrap_mean(samples: Array, seed: int = 0) -> Interval:
    """The mean of ``samples`` ``[n]`` over tasks with its 95 % percentile bootstrap interval."""
    from scipy import stats  # takes long to import

    samples = np.asarray(samples, dtype=np.float64)
    mean = float(samples.mean())
    if len(samples) < 2 or np.ptp(samples) == 0:
        return Interval(mean, mean, mean)
    rng = np.random.default_rng(seed)
    result = stats.bootstrap(
        (samples,), np.mean, n_resamples=RESAMPLES, batch=AT_ONCE, method="percentile", rng=rng, vectorized=True
    )
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))


def standard_error(samples: Array) -> float:
    """Standard error of the mean of ``samples`` ``[n]``."""
    samples = np.asarray(samples, dtype=np.float64)
    return float(samples.std(ddof=1) / np.sqrt(len(samples))) if len(samples) > 1 else 0.0


def auroc(positive: Array, negative: Array) -> float:
    """The probability that a score of ``positive`` ``[n]`` is above one of ``negative`` ``[m]``, ties counting half."""
    from scipy import stats  # takes long to import

    ranks = stats.rankdata(np.concatenate([positive, negative]))
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def logistic_fit(x: Array, y: Array, ridge: float = 1e-3, steps: int = 50) -> tuple[Array, float]:
    """Weights and bias of a logistic regression with a ridge, by Newton's method.

    Args:
        x: ``[n, F]``; a column that never changes gets no weight.
        y: ``[n]`` 0 or 1, or probabilities.
        ridge: of the weights of columns scaled to a standard deviation of 1, relative to the mean loss.
        steps: of Newton's method, at most.

    Returns:
        ``[F]``, and the bias.
    """
    mean, spread = x.mean(0), x.std(0)
    scale = np.where(spread > 1e-9 * (1 + np.abs(mean)), 1 / np.maximum(spread, 1e-300), 0.0)
    z = np.concatenate([(x - mean) * scale, np.ones((len(x), 1))], 1)
    penalty = ridge * np.append(np.ones(x.shape[1]), 1e-6)
    weights = np.zeros(z.shape[1])
    for _ in range(steps):
        p = np.exp(-np.logaddexp(0, -z @ weights))
        gradient = z.T @ (p - y) / len(z) + penalty * weights
        curvature = (z * (p * (1 - p))[:, None]).T @ z / len(z) + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 5 / np.abs(step).max()) if step.any() else weights
        if np.abs(step).max() < 1e-8:
            break
    return weights[:-1] * scale, float(weights[-1] - (weights[:-1] * scale) @ mean)

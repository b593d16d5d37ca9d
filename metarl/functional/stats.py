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

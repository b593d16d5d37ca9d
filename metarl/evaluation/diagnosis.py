"""How good the probabilities of two classes are: accuracy, AUROC and Brier score by episode, calibration of all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarl.functional.stats import auroc
from metarl.types import Array, Floats

BINS = 10  # of equal width, see :func:`calibration_error`


class Scores(NamedTuple):
    """Of each of ``n`` episodes.

    Args:
        accuracy: ``[n]`` the share of queries whose more probable class is right; a tie counts half.
        auroc: ``[n]`` the probability that an ill patient gets a higher probability than a healthy one.
        brier: ``[n]`` the mean squared difference of probability and truth; 0.25 for always saying one half.
    """

    accuracy: Floats
    auroc: Floats
    brier: Floats


def scores(probability: Array, ill: Array) -> Scores:
    """The scores of episodes.

    Args:
        probability: ``[n, Q]`` of being ill.
        ill: ``[n, Q]`` whether they are; both classes are in each episode.
    """
    p, truth = np.asarray(probability, np.float64), np.asarray(ill, bool)
    right = np.where(p == 0.5, 0.5, (p > 0.5) == truth)
    areas = np.array([auroc(one[sick], one[~sick]) for one, sick in zip(p, truth, strict=True)])
    return Scores(right.mean(1), areas, np.square(p - truth).mean(1))


def calibration_error(probability: Array, ill: Array) -> float:
    """The expected calibration error (Guo et al. 2017, eq. 3): how far shares lie from what was said, on average.

    Args:
        probability: ``[...]`` of being ill.
        ill: ``[...]`` whether they are.
    """
    p, truth = np.ravel(probability).astype(np.float64), np.ravel(ill).astype(np.float64)
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, truth - p, minlength=BINS)
    return float(np.abs(gaps).sum() / len(p))

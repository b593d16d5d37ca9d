"""What one would use without meta-learning, trained on the support of each episode alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from metarl.data.episodes import Episodes
from metarl.types import Array, Floats, Ints

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # inverse penalties of logistic regression that are tried on random tables
NEIGHBOURS = 3
TREES = 25

Rival = Callable[[Floats, Ints, Floats], Floats]
"""From a support ``[S, F]`` and its labels ``[S]`` to the probability of class 1 of queries ``[Q, F]``."""


def scaled(support: Array, queries: Array) -> tuple[Floats, Floats]:
    """Columns of mean 0 and standard deviation 1 in the support; those that don't vary there are left out.

    What is unknown becomes the mean of the support.
    """
    known = ~np.isnan(support)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, support, 0).sum(0) / count
    spread = np.sqrt((np.where(known, support - mean, 0) ** 2).sum(0) / count)
    keep = spread > 1e-6 * (np.abs(mean) + 1e-6)
    both = ((x[:, keep] - mean[keep]) / spread[keep] for x in (support, queries))
    first, second = (np.nan_to_num(x) if keep.any() else np.zeros((len(x), 1)) for x in both)
    return first, second


def logistic(strength: float) -> Rival:
    """Logistic regression with the inverse penalty ``strength``."""
    from sklearn.linear_model import LogisticRegression

    def answer(support: Floats, labels: Ints, queries: Floats) -> Floats:
        x, asked = scaled(support, queries)
        return LogisticRegression(C=strength, max_iter=500).fit(x, labels).predict_proba(asked)[:, 1]

    return answer


def neighbours(support: Floats, labels: Ints, queries: Floats) -> Floats:
    """The share of the :data:`NEIGHBOURS` nearest patients, or of all where there are fewer, weighted by closeness."""
    from sklearn.neighbors import KNeighborsClassifier

    x, asked = scaled(support, queries)
    count = min(NEIGHBOURS, len(x))
    return KNeighborsClassifier(count, weights="distance").fit(x, labels).predict_proba(asked)[:, 1]


def forest(support: Floats, labels: Ints, queries: Floats) -> Floats:
    """A random forest of :data:`TREES` trees."""
    from sklearn.ensemble import RandomForestClassifier

    x, asked = scaled(support, queries)
    return RandomForestClassifier(TREES, random_state=0).fit(x, labels).predict_proba(asked)[:, 1]


def prior(support: Floats, labels: Ints, queries: Floats) -> Floats:
    """How common the class is in the support."""
    return np.full(len(queries), labels.mean())


def rivals(strength: float) -> Mapping[str, Rival]:
    """All of them by name."""
    return {
        "logistic regression": logistic(strength),
        "nearest neighbours": neighbours,
        "random forest": forest,
        "prior": prior,
    }


def answers(rival: Rival, episodes: Episodes) -> Floats:
    """What a rival says about the queries of episodes, ``[n, Q]``."""
    parts = zip(episodes.support_x, episodes.support_y, episodes.query_x, strict=True)
    return np.stack([rival(*part) for part in parts])

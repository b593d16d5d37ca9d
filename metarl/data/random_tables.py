"""Random tables to learn diagnosing from: each task has features, two classes, and a mechanism between them of its own.

As in prior-fitted networks (Hollmann et al. 2023), but far smaller. Features come from a few hidden causes
and noise. Either the disease changes them, or its presence follows from the causes, from a weighted sum of features, a
random net, or rules. Then features are measured: as they are, as counts, yes or no, skewed, with heavy tails; some
measurements are missing.
"""

from __future__ import annotations

import numpy as np

from metarl.config import InputError
from metarl.data.sources import FewShotSource, at_least_one
from metarl.types import Bools, Floats

TOGETHER = 16  # tasks of a batch that have the same number of features, so that little is filled up
FEWEST, MOST = 4, 100  # features of a task
CAUSES = 10  # most hidden causes
MECHANISMS = (0.42, 0.32, 0.12, 0.07, 0.07)  # how often each of five is drawn, see _diagnosed
MEASURES = (2.0, 1.2, 1.6, 1.0, 0.6, 0.1)  # Dirichlet weights of six kinds of measurement, see _measured
TINY = 1e-6


class RandomTables(FewShotSource):
    """Episodes of random tables, a new one each.

    Args:
        features: columns of an example; those that a task does not have are NaN.

    Raises:
        InputError: fewer columns than the smallest task has.
    """

    classes = 2

    def __init__(self, features: int) -> None:
        at_least_one(features=features)
        if features < FEWEST:
            raise InputError(key="data.features", given=features, expected=f"{FEWEST} or more")
        self.shape = (features,)

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Floats:
        """See :meth:`FewShotSource.draw`."""
        out = np.full((n, 2, count, *self.shape), np.nan, np.float32)
        most = min(MOST, self.shape[0])
        for first in range(0, n, TOGETHER):
            width = round(float(np.exp(rng.uniform(np.log(FEWEST), np.log(most)))))
            for task in out[first : first + TOGETHER]:
                task[..., :width] = _task(rng, width, count)
        return out[:, :ways]


def _task(rng: np.random.Generator, width: int, count: int) -> Floats:
    """Both classes of a task in random order, ``[2, count, width]``."""
    while True:
        x, ill = _table(rng, width, 6 * count + 20)
        rows = [np.flatnonzero(ill)[:count], np.flatnonzero(~ill)[:count]]
        if min(map(len, rows)) == count:
            return np.stack([x[rows[one]] for one in rng.permutation(2)])


def _table(rng: np.random.Generator, width: int, n: int) -> tuple[Floats, Bools]:
    """Patients ``[n, width]``, and which are ill."""
    causes = int(rng.integers(1, min(width, CAUSES) + 1))
    z = rng.standard_normal((n, causes)) * np.arange(1, causes + 1) ** -rng.uniform(0, 1.5)
    effect = rng.standard_normal((causes, width)) * (rng.random((causes, width)) < rng.uniform(0.2, 1))
    if rng.random() < 0.5:
        effect[0] = np.abs(effect[0])  # one cause raises all that it has an effect on
    noise = rng.uniform(0.1, 2.0) * rng.uniform(0.2, 1, width)
    x = _standard(_standard(z @ effect) + noise * rng.standard_normal((n, width)))
    x, ill = _diagnosed(rng, x, z)
    x = _measured(rng, x)
    if rng.random() < 0.4:
        x[rng.random((n, width)) < rng.uniform(0, 0.5) * rng.beta(0.5, 1.5, width)] = np.nan
    return x, ill


def _diagnosed(rng: np.random.Generator, x: Floats, z: Floats) -> tuple[Floats, Bools]:
    """Features ``[n, F]``, which the disease may have changed, and who has it, from hidden causes ``z [n, K]``."""
    n, width, causes = len(x), int(x.shape[1]), int(z.shape[1])
    score: Floats
    share, mechanism = rng.uniform(0.2, 0.8), rng.choice(len(MECHANISMS), p=MECHANISMS)
    if mechanism == 0:  # the disease shifts features, in some patients more than in others, and may spread them
        ill = rng.random(n) < share
        changed = rng.random(width) < rng.beta(1.5, 1)
        sign = np.where(rng.random(width) < rng.uniform(0.5, 1), 1, -1)
        shift = sign * rng.gamma(1.0, rng.uniform(0.2, 1.2), width) * changed
        spread = 1 + rng.gamma(1.0, rng.uniform(0, 0.6), width) * changed * (rng.random() < 0.5)
        severity = 1 + rng.uniform(0, 1) * rng.exponential(size=(n, 1))
        return np.where(ill[:, None], x * spread + shift * severity, x), ill
    if mechanism == 1:  # it follows from what is hidden
        weight = rng.standard_normal(causes) * (rng.random(causes) < rng.uniform(0.2, 1))
        weight[rng.integers(causes)] += rng.choice([-1, 1])
        score = _standard(z) @ weight
    elif mechanism == 2:  # from a weighted sum
        few = rng.permutation(width)[: max(1, int(width * rng.beta(1, 2)))]
        score = x[:, few] @ (rng.standard_normal(len(few)) * rng.gamma(1, 1, len(few)))
    elif mechanism == 3:  # from a random net
        few = rng.permutation(width)[:10]
        hidden = x[:, few] @ rng.standard_normal((len(few), 8)) * rng.uniform(0.3, 1.5) + rng.standard_normal(8)
        score = np.tanh(hidden) @ rng.standard_normal(8)
    else:  # from rules of one or two thresholds
        score = 0.01 * rng.standard_normal(n)
        for _ in range(int(rng.integers(1, 6))):
            holds = np.ones(n, bool)
            for feature in rng.integers(width, size=int(rng.integers(1, 3))):
                holds &= (x[:, feature] > 0.7 * rng.standard_normal()) ^ (rng.random() < 0.3)
            score += rng.standard_normal() * holds
    score = _standard(score) + rng.gamma(1.0, 0.3) * rng.standard_normal(n)
    return x, score > np.quantile(score, share)


def _measured(rng: np.random.Generator, x: Floats) -> Floats:
    """What is seen of features ``[n, F]``."""
    kinds = rng.choice(len(MEASURES), size=int(x.shape[1]), p=rng.dirichlet(MEASURES))
    x = x.copy()
    for column, kind in zip(x.T, kinds, strict=True):
        if kind == 1:
            column[:] = np.exp(rng.uniform(0.3, 1.5) * column)
        elif kind == 2:
            column[:] = column > 0.8 * rng.standard_normal()
        elif kind == 3:
            column[:] = np.floor(column * rng.uniform(0.7, 3))
        elif kind == 4:
            column[:] = column * np.abs(column) ** rng.uniform(0, 1.5)
        elif kind == 5:
            column[:] = np.abs(column + rng.standard_normal())
    return x


def _standard(x: Floats) -> Floats:
    """Columns of mean 0 and standard deviation 1."""
    return (x - x.mean(0)) / (x.std(0) + TINY)

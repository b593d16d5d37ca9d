"""The finite-horizon Gittins index of a Bernoulli arm with a Beta(1, 1) prior, by dynamic programming.

The index of an arm after ``s`` successes and ``f`` failures with ``m`` pulls left is the smallest sure reward ``x``
for which retiring to ``x`` for all ``m`` pulls is as good as the best mixture of pulling and retiring later (Gittins,
Glazebrook & Weber 2011, chapter 7; Lattimore 2016 for the finite horizon). With ``p = (1+s)/(2+s+f)``, the gain over
retiring at once is ``D_0 = 0`` and ``D_m = max(0, g_m)``, where

    g_m(s, f; x) = p - x + p D_{m-1}(s+1, f; x) + (1-p) D_{m-1}(s, f+1; x),

and the index is the one zero of the convex, decreasing ``g_m`` in ``x``: found on a grid of ``x`` and interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from metarl.agents.baselines.cache import cached
from metarl.types import Floats, Ints

LONGEST = 500  # the longest horizon with a table: its 21 million indices take 84 MB, and the size grows with the cube
_VERSION = 1
_GRID = 400
_CHUNK = 32


@dataclass(frozen=True)
class GittinsTable:
    """The indices of all arm states of a trial of ``horizon`` pulls.

    Args:
        values: flat, float32: a triangle for each number of pulls left (see :func:`_triangle`), from 1 to ``horizon``.
    """

    horizon: int
    values: Floats

    def index(self, successes: Ints, failures: Ints, left: Ints) -> Floats:
        """The indices in [0, 1] of some arms.

        Args:
            successes: of each arm so far, ``[...]``.
            failures: of each arm so far, ``[...]``.
            left: pulls that are left, at least 1, ``[...]``; with the counts of an arm at most the horizon.

        Returns:
            The shape that the arguments broadcast to.
        """
        pulls = successes + failures
        return self.values[_offsets(self.horizon)[left] + pulls * (pulls + 1) // 2 + successes]


@cache
def gittins_table(horizon: int) -> GittinsTable:
    """The table for trials of ``horizon`` pulls, accurate to 1e-3; computed once and kept on disk.

    Raises:
        ValueError: the horizon is not between 1 and :data:`LONGEST`.
    """
    if not 1 <= horizon <= LONGEST:
        raise ValueError(f"no Gittins table for a horizon of {horizon} pulls: it must lie between 1 and {LONGEST}")
    size = int(_offsets(horizon)[-1])
    return GittinsTable(horizon, cached(f"gittins-{horizon}-v{_VERSION}", (size,), lambda: _solve(horizon)))


def _triangle(most: int) -> int:
    """How many (pulls, successes) there are with at most ``most`` pulls; those with fewer pulls come first."""
    return (most + 1) * (most + 2) // 2


@cache
def _offsets(horizon: int) -> Ints:
    """Where the triangle for each number left begins, ``[horizon + 2]``; entry 0 is unused, the last the end."""
    return np.cumsum([0, 0, *(_triangle(horizon - left) for left in range(1, horizon + 1))])


def _solve(horizon: int, grid: int = _GRID) -> Floats:
    offsets = _offsets(horizon)
    values = np.empty(offsets[-1], dtype=np.float32)
    pulls = np.repeat(np.arange(horizon), np.arange(1, horizon + 1))
    place = np.arange(len(pulls))
    successes = place - pulls * (pulls + 1) // 2
    p = ((1 + successes) / (2 + pulls)).astype(np.float32)[:, None]
    after_failure = place + pulls + 1  # where (s, f+1) lies in the triangle; (s+1, f) is the next
    # Denser towards 0 and 1, where g bends most.
    rewards = (np.sin(np.linspace(0, np.pi / 2, grid + 1)) ** 2).astype(np.float32)
    for first in range(0, grid, _CHUNK):  # few rewards at a time: the layers stay in the processor's cache
        x = rewards[first : first + _CHUNK + 1]
        gain = np.zeros((_triangle(horizon), len(x)), dtype=np.float32)
        for left in range(1, horizon + 1):
            size = _triangle(horizon - left)
            lose = after_failure[:size]
            g = gain[lose] + p[:size] * (1 + gain[lose + 1] - gain[lose]) - x
            crosses = np.flatnonzero((g[:, 0] > 0) & (g[:, -1] <= 0))
            if len(crosses):
                values[offsets[left] + crosses] = _zeros(g[crosses], x)
            gain = np.maximum(g, 0)
    return values


def _zeros(g: Floats, x: Floats) -> Floats:
    """Where each row of the decreasing ``g`` ``[n, len(x)]``, positive first and not so last, crosses zero."""
    row, before = np.arange(len(g)), (g > 0).sum(axis=1) - 1
    high, low = g[row, before], g[row, before + 1]
    return x[before] + (x[before + 1] - x[before]) * high / (high - low)

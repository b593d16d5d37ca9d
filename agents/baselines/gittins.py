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
from tqdm import tqdm

from metarl.agents.baselines.cache import cached
from metarl.types import Floats, Ints

COMPLETE = 500  # the longest horizon with a table of all states: its 21 million indices take 84 MB
LONGEST = 1000  # longer ones keep some numbers of pulls left alone: 92 MB, where all would be 670
_VERSION = 1
_GRID = 400
_CHUNK = 64
_CLOSE, _RATIO = 16, 1.1  # of the numbers left that are kept: all up to the first, and then steps of this ratio


@dataclass(frozen=True)
class GittinsTable:
    """The indices of all arm states of a trial of ``horizon`` pulls.

    An index rises with the pulls left, along a curve that flattens. Where not all numbers left are kept, those between
    two are interpolated linearly, so that the error is at most the difference between the two, and in truth far less:
    at most 4e-4 against a complete table of 200 pulls.

    Args:
        kept: the numbers of pulls left for which there are indices, from 1 to ``horizon``.
        values: flat, float32: a triangle (see :func:`_triangle`) for each of ``kept``.
    """

    horizon: int
    kept: Ints
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
        place = pulls * (pulls + 1) // 2 + successes
        offsets = _offsets(self.horizon, tuple(self.kept))
        above = np.searchsorted(self.kept, left)
        high = self.values[offsets[above] + place]
        if len(self.kept) == self.horizon:
            return high
        below = np.maximum(above - 1, 0)
        low = self.values[offsets[below] + place]
        share = (left - self.kept[below]) / np.maximum(self.kept[above] - self.kept[below], 1)
        return low + (high - low) * share.astype(np.float32)


@cache
def gittins_table(horizon: int) -> GittinsTable:
    """The table for trials of ``horizon`` pulls, accurate to 1e-3; computed once and kept on disk.

    Of 1000 pulls it takes minutes to compute.

    Raises:
        ValueError: the horizon is not between 1 and :data:`LONGEST`.
    """
    if not 1 <= horizon <= LONGEST:
        raise ValueError(f"no Gittins table for a horizon of {horizon} pulls: it must lie between 1 and {LONGEST}")
    kept = np.arange(1, horizon + 1) if horizon <= COMPLETE else _sparse(horizon)
    size = int(_offsets(horizon, tuple(kept))[-1])
    name = f"gittins-{horizon}-v{_VERSION}"
    return GittinsTable(horizon, kept, cached(name, (size,), lambda: _solve(horizon, kept)))


def _sparse(horizon: int) -> Ints:
    """Some numbers of pulls left, from 1 to ``horizon``, near each other where few are left."""
    kept = list(range(1, min(_CLOSE, horizon) + 1))
    while kept[-1] < horizon:
        kept.append(min(max(kept[-1] + 1, int(kept[-1] * _RATIO)), horizon))
    return np.array(kept)


def _triangle(most: int) -> int:
    """How many (pulls, successes) there are with at most ``most`` pulls; those with fewer pulls come first."""
    return (most + 1) * (most + 2) // 2


def _most(horizon: int, kept: tuple[int, ...]) -> list[int]:
    """The most pulls of an arm in the triangle of each of ``kept``: as can be, with one more left than in the last."""
    return [horizon - 1 - before for before in (0, *kept[:-1])]


@cache
def _offsets(horizon: int, kept: tuple[int, ...]) -> Ints:
    """Where the triangle of each of ``kept`` begins, and the end of the last, ``[len(kept) + 1]``."""
    return np.cumsum([0, *map(_triangle, _most(horizon, kept))])


def _solve(horizon: int, kept: Ints, grid: int = _GRID) -> Floats:
    offsets, places = _offsets(horizon, tuple(kept)), {int(left): i for i, left in enumerate(kept)}
    values = np.empty(offsets[-1], dtype=np.float32)
    reach = max(kept + _most(horizon, tuple(kept)))  # pulls in all, so that the last triangle is whole
    pulls = np.repeat(np.arange(reach), np.arange(1, reach + 1))
    place = np.arange(len(pulls))
    successes = place - pulls * (pulls + 1) // 2
    p = ((1 + successes) / (2 + pulls)).astype(np.float32)[:, None]
    after_failure = place + pulls + 1  # where (s, f+1) lies in the triangle; (s+1, f) is the next
    # Denser towards 0 and 1, where g bends most.
    rewards = (np.sin(np.linspace(0, np.pi / 2, grid + 1)) ** 2).astype(np.float32)
    parts = range(0, grid, _CHUNK)  # few rewards at a time: the layers stay in the processor's cache
    hidden = None if horizon > COMPLETE else True  # a long one takes minutes, and a terminal shows them
    for first in tqdm(parts, f"Gittins indices of {horizon:,} pulls", leave=False, unit="part", disable=hidden):
        x = rewards[first : first + _CHUNK + 1]
        gain = np.zeros((_triangle(reach), len(x)), dtype=np.float32)
        for left in range(1, horizon + 1):
            size = _triangle(reach - left)
            lose = after_failure[:size]
            g = gain[lose] + p[:size] * (1 + gain[lose + 1] - gain[lose]) - x
            if left in places:
                start, end = offsets[places[left] : places[left] + 2]
                wanted = g[: end - start]
                crosses = np.flatnonzero((wanted[:, 0] > 0) & (wanted[:, -1] <= 0))
                if len(crosses):
                    values[start + crosses] = _zeros(wanted[crosses], x)
            gain = np.maximum(g, 0)
    return values


def _zeros(g: Floats, x: Floats) -> Floats:
    """Where each row of the decreasing ``g`` ``[n, len(x)]``, positive first and not so last, crosses zero."""
    row, before = np.arange(len(g)), (g > 0).sum(axis=1) - 1
    high, low = g[row, before], g[row, before + 1]
    return x[before] + (x[before + 1] - x[before]) * high / (high - low)

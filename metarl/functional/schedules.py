"""Schedules of a number over training, as functions of the progress from 0 to 1."""

from __future__ import annotations

import math


def linear(start: float, end: float, progress: float) -> float:
    """Start + p (end - start), with the progress p clipped to [0, 1].

    Args:
        start: the value at progress 0.
        end: the value at progress 1.
        progress: the part of the training that is done.
    """
    return start + min(max(progress, 0.0), 1.0) * (end - start)


def cosine(start: float, end: float, progress: float) -> float:
    """Half a wave from ``start`` to ``end`` (Loshchilov & Hutter 2017, eq. 5, without restarts).

    start + (1 - cos(pi p)) / 2 (end - start), with the progress p clipped to [0, 1].

    Args:
        start: the value at progress 0.
        end: the value at progress 1.
        progress: the part of the training that is done.
    """
    return linear(start, end, (1 - math.cos(math.pi * min(progress, 1.0))) / 2)

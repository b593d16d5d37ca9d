"""Few-shot episodes that were kept: the file ``episodes.npz`` of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl.report.fewshot import AGAIN
from metarl.report.trials import read_arrays
from metarl.runs.folder import RunError, RunFolder
from metarl.types import Array, Bools, Floats, Ints

FILE = "episodes.npz"


class KeptSets(NamedTuple):
    """``n`` episodes of a support and its queries."""

    support_x: Array
    """``[n, S, ...]`` uint8"""
    support_y: Ints
    """``[n, S]``"""
    query_x: Array
    """``[n, Q, ...]`` uint8"""
    query_y: Ints
    """``[n, Q]``"""
    predicted: Ints
    """``[n, Q]``"""
    weights: Floats | None
    """``[n, Q, N]`` what each query read of the support in its order (N = S), or else of the classes; None where it
    isn't told."""

    @property
    def right(self) -> Bools:
        """``[n, Q]``"""
        return self.predicted == self.query_y

    @property
    def ways(self) -> int:
        """Classes of an episode."""
        return int(self.support_y.max()) + 1


class KeptStreams(NamedTuple):
    """``n`` streams of ``T`` examples with labels of ``L`` digits."""

    x: Array
    """``[n, T, ...]`` uint8"""
    y: Ints
    """``[n, T, L]``"""
    predicted: Ints
    """``[n, T, L]``"""

    @property
    def right(self) -> Bools:
        """``[n, T]``: every digit is."""
        return (self.predicted == self.y).all(-1)


class Kept(NamedTuple):
    """What a file holds; either may be missing."""

    sets: KeptSets | None
    streams: KeptStreams | None


def path_of(run: RunFolder) -> Path:
    """Where the episodes of a run are kept."""
    return run.path / FILE


def load(path: Path) -> Kept:
    """The episodes of a file, none of which can run code.

    Raises:
        RunError: the file is damaged.
    """
    damaged = f"{path} is damaged (%s); remove it and make it again with {AGAIN} {path.parent}"
    arrays = read_arrays(path, damaged)
    try:
        kept = Kept(
            _sets(arrays) if "support_x" in arrays else None,
            _streams(arrays) if "stream_x" in arrays else None,
        )
    except KeyError as error:
        raise RunError(damaged % f"it lacks {error}") from None
    except ValueError as error:
        raise RunError(damaged % error) from None
    if kept == (None, None):
        raise RunError(damaged % "it holds neither episodes nor streams")
    return kept


def _sets(arrays: Mapping[str, Any]) -> KeptSets:
    names = ("support_x", "support_y", "query_x", "query_y", "predicted")
    support_x, support_y, query_x, query_y, predicted = (arrays[name] for name in names)
    for examples, labels in ((support_x, support_y), (query_x, query_y), (query_x, predicted)):
        if labels.ndim != 2 or 0 in labels.shape or examples.shape[:2] != labels.shape or labels.dtype.kind not in "iu":
            raise ValueError(f"its examples {examples.shape} and labels {labels.shape} disagree")
    if len(support_x) != len(query_x) or support_x.shape[2:] != query_x.shape[2:]:
        raise ValueError(f"its support {support_x.shape} and queries {query_x.shape} disagree")
    ways = int(support_y.max()) + 1
    if min(support_y.min(), query_y.min(), predicted.min()) < 0 or query_y.max() >= ways:
        raise ValueError(f"its labels are none of {ways} classes")
    if not all(len(np.unique(row)) == ways for row in support_y):
        raise ValueError(f"a support has not all of {ways} classes")
    weights = arrays.get("weights")
    if weights is not None:
        allowed = (support_y.shape[1], ways)
        if weights.ndim != 3 or weights.shape[:2] != query_y.shape:
            raise ValueError(f"its weights have the shape {weights.shape}, expected episodes, queries and slots")
        weights = weights.astype(float)
        if not np.isfinite(weights).all():
            raise ValueError("its weights are not finite")
        if weights.shape[2] not in allowed:  # of slots that are no examples, and so cannot be shown
            weights = None
    return KeptSets(support_x, support_y, query_x, query_y, predicted, weights)


def _streams(arrays: Mapping[str, Any]) -> KeptStreams:
    x, y, predicted = (arrays[name] for name in ("stream_x", "stream_y", "stream_predicted"))
    for labels in (y, predicted):
        if labels.ndim != 3 or 0 in labels.shape or labels.dtype.kind not in "iu" or labels.shape[:2] != x.shape[:2]:
            raise ValueError(f"its streams {x.shape} and labels {labels.shape} disagree")
    if y.shape != predicted.shape:
        raise ValueError(f"its labels {y.shape} and predictions {predicted.shape} disagree")
    return KeptStreams(x, y, predicted)

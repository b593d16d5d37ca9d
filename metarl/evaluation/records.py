"""Single trials and few-shot episodes that were recorded for pictures: ``trials.npz`` and ``episodes.npz`` of a run."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from metarl.files import replacing
from metarl.runs.folder import RunError, RunFolder
from metarl.types import Array, Bools, Floats, Ints

TRIALS, EPISODES = "trials.npz", "episodes.npz"
MAX_BYTES = 2**30  # of all arrays of a file together
Record = TypeVar("Record")


@dataclass(frozen=True)
class Trial:
    """One trial of ``T`` steps.

    Args:
        observations: ``obs`` (or ``obs.NAME``) ``[T, ...]``: float vectors, or uint8 where it is an image.
        actions: ``[T, ...]``
        rewards: ``[T]``
        ends: ``[T]``: an inner episode ended with this step.
        weights: ``[R, N]``: how much of each slot was read at the first ``R`` steps; nan where there was no such slot
            yet.
    """

    observations: dict[str, Array]
    actions: Array
    rewards: Floats
    ends: Bools
    weights: Floats | None = None

    def episodes(self) -> list[slice]:
        """The steps of each inner episode; the last one may have been cut short by the end of the trial."""
        stops = [int(t) + 1 for t in np.flatnonzero(self.ends)]
        if not stops or stops[-1] < len(self.rewards):
            stops.append(len(self.rewards))
        return [slice(start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True)]


@dataclass(frozen=True)
class EpisodeRecord:
    """``n`` few-shot episodes of a support and its queries.

    Args:
        support_x: ``[n, S, ...]`` uint8
        support_y: ``[n, S]``
        query_x: ``[n, Q, ...]`` uint8
        query_y: ``[n, Q]``
        predicted: ``[n, Q]``
        weights: ``[n, Q, N]`` what each query read of the support in its order (N = S), or else of the classes; None
            where the learner doesn't show it.
    """

    support_x: Array
    support_y: Ints
    query_x: Array
    query_y: Ints
    predicted: Ints
    weights: Floats | None = None

    @property
    def correct(self) -> Bools:
        """``[n, Q]``"""
        return self.predicted == self.query_y

    @property
    def ways(self) -> int:
        """Classes of an episode."""
        return int(self.support_y.max()) + 1

    def first_of(self, episode: int, label: int) -> Array:
        """The first example ``[...]`` of a class in the support of an episode."""
        return self.support_x[episode, int(np.flatnonzero(self.support_y[episode] == label)[0])]


@dataclass(frozen=True)
class StreamRecord:
    """``n`` streams of ``T`` examples with labels of ``L`` digits.

    Args:
        x: ``[n, T, ...]`` uint8
        y: ``[n, T, L]``
        predicted: ``[n, T, L]``
    """

    x: Array
    y: Ints
    predicted: Ints

    @property
    def correct(self) -> Bools:
        """``[n, T]``: every digit is."""
        return (self.predicted == self.y).all(-1)


@dataclass(frozen=True)
class FewShotRecord:
    """What ``episodes.npz`` holds; either may be missing, not both."""

    episodes: EpisodeRecord | None
    streams: StreamRecord | None


def trials_file(run: RunFolder) -> Path:
    """Where the recorded trials of a run lie."""
    return run.path / TRIALS


def episodes_file(run: RunFolder) -> Path:
    """Where the recorded few-shot episodes of a run lie."""
    return run.path / EPISODES


def write_record(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name, whole or not at all.

    Args:
        path: :func:`trials_file` or :func:`episodes_file`.
        arrays: ``[n, ...]``, of trials what :func:`metarl.evaluation.trace.record` returned; of episodes the fields of
            :class:`EpisodeRecord`, and those of :class:`StreamRecord` as ``stream_x``, ``stream_y`` and
            ``stream_predicted``.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_trials(run: RunFolder) -> list[Trial]:
    """The recorded trials of a run, none where there is no file; reading it runs no code.

    Raises:
        RunError: the file is damaged.
    """
    return _read(trials_file(run), _trials) or []


def read_episodes(run: RunFolder) -> FewShotRecord | None:
    """The recorded few-shot episodes of a run, None where there is no file; reading it runs no code.

    Raises:
        RunError: the file is damaged.
    """
    return _read(episodes_file(run), _few_shot)


def _read(path: Path, make: Callable[[dict[str, Any]], Record]) -> Record | None:
    """What ``make`` makes of the arrays of a file; None where there is none."""
    if not path.is_file():
        return None
    try:
        return make(_arrays(path))
    except KeyError as error:
        reason: object = f"it lacks {error}"
    except (ArithmeticError, AttributeError, IndexError, MemoryError, TypeError, ValueError) as error:
        reason = error
    remedy = f"remove it and run `metarl eval {path.parent}`"
    raise RunError(f"{path} is damaged ({reason})", key=str(path), remedy=remedy)


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of a file by name, refused before they are read where they would be too large together."""
    try:
        with path.open("rb") as opened, zipfile.ZipFile(opened) as archive:
            size = sum(member.file_size for member in archive.infolist())
            _need(size <= MAX_BYTES, f"it would be {size:,} bytes, expected at most {MAX_BYTES:,}")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in archive.infolist()}
    except Exception as error:  # a damaged file makes zip and NumPy raise almost anything
        raise ValueError(f"it holds no arrays of a run: {type(error).__name__}: {error}") from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """An array of a file; its header is read first, so that it claims no more than there is."""
    with archive.open(member) as file:
        _need(np.lib.format.read_magic(file) == (1, 0), "it has arrays of another format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        held = math.prod(shape) * dtype.itemsize
        _need(dtype.kind in "biuf", f"it has numbers of the type {dtype}")
        _need(
            0 <= held <= member.file_size, f"{member.filename} claims the shape {shape} in {member.file_size:,} bytes"
        )
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _need(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)


def _trials(arrays: Mapping[str, Any]) -> list[Trial]:
    seen = {name: part for name, part in arrays.items() if name == "obs" or name.startswith("obs.")}
    actions, rewards, ends, lengths = (arrays[name] for name in ("actions", "rewards", "ends", "lengths"))
    _need(rewards.ndim == 2, f"its rewards have the shape {rewards.shape}, expected trials and steps")
    for part in (*seen.values(), actions, ends):
        _need(
            part.shape[:2] == rewards.shape,
            f"its parts disagree: {part.shape[:2]} and {rewards.shape} trials and steps",
        )
    fit = lengths.shape == rewards.shape[:1] and ((lengths > 0) & (lengths <= rewards.shape[1])).all()
    _need(bool(fit), "its trials are longer than what was kept of them")
    weights = arrays.get("weights")
    if weights is not None:
        fit = weights.ndim == 2 and weights.size and len(weights) <= lengths[0]
        _need(fit, f"its weights have the shape {weights.shape}, expected steps of the first trial and slots")
    return [
        Trial(
            {name: part[row, :length] for name, part in seen.items()},
            actions[row, :length],
            rewards[row, :length].astype(float),
            ends[row, :length].astype(bool),
            weights.astype(float) if row == 0 and weights is not None else None,
        )
        for row, length in enumerate(lengths.tolist())
    ]


def _few_shot(arrays: Mapping[str, Any]) -> FewShotRecord:
    episodes = _episodes(arrays) if "support_x" in arrays else None
    streams = _streams(arrays) if "stream_x" in arrays else None
    _need(episodes is not None or streams is not None, "it holds neither episodes nor streams")
    return FewShotRecord(episodes, streams)


def _labels(x: Array, y: Array, ndim: int) -> None:
    """Refuse labels ``[n, T, ...]`` that are none of the examples ``x``."""
    fit = y.ndim == ndim and 0 not in y.shape and x.shape[:2] == y.shape[:2] and y.dtype.kind in "iu"
    _need(fit, f"its examples {x.shape} and labels {y.shape} disagree")


def _episodes(arrays: Mapping[str, Any]) -> EpisodeRecord:
    names = ("support_x", "support_y", "query_x", "query_y", "predicted")
    support_x, support_y, query_x, query_y, predicted = (arrays[name] for name in names)
    for examples, labels in ((support_x, support_y), (query_x, query_y), (query_x, predicted)):
        _labels(examples, labels, 2)
    fit = len(support_x) == len(query_x) and support_x.shape[2:] == query_x.shape[2:]
    _need(fit, f"its support {support_x.shape} and queries {query_x.shape} disagree")
    ways = int(support_y.max()) + 1
    fit = min(support_y.min(), query_y.min(), predicted.min()) >= 0 and query_y.max() < ways
    _need(fit, f"its labels are none of {ways} classes")
    _need(all(len(np.unique(row)) == ways for row in support_y), f"a support has not all of {ways} classes")
    weights = arrays.get("weights")
    if weights is not None:
        fit = weights.ndim == 3 and weights.shape[:2] == query_y.shape
        _need(fit, f"its weights have the shape {weights.shape}, expected episodes, queries and slots")
        weights = weights.astype(float)
        _need(bool(np.isfinite(weights).all()), "its weights are not finite")
        if weights.shape[2] not in (support_y.shape[1], ways):  # of slots that are no examples, and so cannot be shown
            weights = None
    return EpisodeRecord(support_x, support_y, query_x, query_y, predicted, weights)


def _streams(arrays: Mapping[str, Any]) -> StreamRecord:
    x, y, predicted = (arrays[name] for name in ("stream_x", "stream_y", "stream_predicted"))
    for labels in (y, predicted):
        _labels(x, labels, 3)
    _need(y.shape == predicted.shape, f"its labels {y.shape} and predictions {predicted.shape} disagree")
    return StreamRecord(x, y, predicted)

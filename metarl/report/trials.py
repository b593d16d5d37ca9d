"""Trials that were kept step by step: the file ``trials.npz`` of a run folder, and one trial cut into its episodes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metarl.files import replacing
from metarl.runs.folder import RunError, RunFolder
from metarl.types import Array, Bools, Floats

FILE = "trials.npz"


@dataclass(frozen=True)
class Trial:
    """One trial of ``T`` steps."""

    observations: dict[str, Array]
    """``obs`` (or ``obs.NAME``) ``[T, ...]``: float vectors, or uint8 where it is a picture."""
    actions: Array
    """``[T, ...]``"""
    rewards: Floats
    """``[T]``"""
    ends: Bools
    """``[T]``: an inner episode ended with this step."""
    weights: Floats | None = None
    """``[R, N]``: how much of each slot was read at the first ``R`` steps; nan where there was no such slot yet."""

    def episodes(self) -> list[slice]:
        """The steps of each inner episode; the last one may have been cut short by the end of the trial."""
        stops = [int(t) + 1 for t in np.flatnonzero(self.ends)]
        if not stops or stops[-1] < len(self.rewards):
            stops.append(len(self.rewards))
        return [slice(start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True)]


def path_of(run: RunFolder) -> Path:
    """Where the trials of a run are kept."""
    return run.path / FILE


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write what :func:`metarl.evaluation.trace.record` returned, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_arrays(path: Path, damaged: str) -> dict[str, Any]:
    """The arrays of an ``.npz`` file by name, none of which can run code.

    Raises:
        RunError: there are none; ``damaged`` with the reason in it.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (TypeError, ValueError, EOFError, OSError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        raise RunError(damaged % "it holds no arrays") from None


def load(path: Path) -> list[Trial]:
    """The trials of a file, none of which can run code.

    Raises:
        RunError: the file is damaged.
    """
    damaged = f"{path} is damaged (%s); remove it and make it again with metarl eval {path.parent}"
    arrays = read_arrays(path, damaged)
    try:
        return _trials(arrays)
    except KeyError as error:
        raise RunError(damaged % f"it lacks {error}") from None
    except (IndexError, TypeError, ValueError) as error:
        raise RunError(damaged % error) from None


def _trials(arrays: Mapping[str, Any]) -> list[Trial]:
    seen = {name: part for name, part in arrays.items() if name == "obs" or name.startswith("obs.")}
    actions, rewards, ends, lengths = (arrays[name] for name in ("actions", "rewards", "ends", "lengths"))
    if rewards.ndim != 2:
        raise ValueError(f"its rewards have the shape {rewards.shape}, expected trials and steps")
    for part in (*seen.values(), actions, ends):
        if part.shape[:2] != rewards.shape:
            raise ValueError(f"its parts disagree: {part.shape[:2]} and {rewards.shape} trials and steps")
    if lengths.shape != rewards.shape[:1] or not ((lengths > 0) & (lengths <= rewards.shape[1])).all():
        raise ValueError("its trials are longer than what was kept of them")
    weights = arrays.get("weights")
    if weights is not None and (weights.ndim != 2 or not weights.size or len(weights) > lengths[0]):
        raise ValueError(f"its weights have the shape {weights.shape}, expected steps of the first trial and slots")
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

"""Trials that were kept step by step: the file ``trials.npz`` of a run folder, and one trial cut into its episodes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarl.runs import RunError, RunFolder, replacing
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
    """Write what :func:`metarl.training.record.record` returned, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load(path: Path) -> list[Trial]:
    """The trials of a file, none of which can run code.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _trials(arrays)
    except (KeyError, IndexError, ValueError, EOFError, zipfile.BadZipFile) as error:
        told = f"{path} is damaged ({error}); remove it and make it again with metarl eval {path.parent}"
        raise RunError(told) from None


def _trials(arrays: Mapping[str, Array]) -> list[Trial]:
    seen = {name: part for name, part in arrays.items() if name == "obs" or name.startswith("obs.")}
    actions, rewards, ends = (arrays[name] for name in ("actions", "rewards", "ends"))
    n, steps = rewards.shape
    for part in (*seen.values(), actions, ends):
        if part.shape[:2] != (n, steps):
            raise ValueError(f"its parts disagree: {part.shape[:2]} and {(n, steps)} trials and steps")
    trials = []
    for row, length in enumerate(arrays["lengths"].tolist()):
        if not 0 < length <= steps:
            raise ValueError(f"a trial of {length} steps, of which {steps} were kept")
        trials.append(
            Trial(
                {name: part[row, :length] for name, part in seen.items()},
                actions[row, :length],
                rewards[row, :length].astype(float),
                ends[row, :length].astype(bool),
                arrays["weights"].astype(float) if row == 0 and "weights" in arrays else None,
            )
        )
    return trials

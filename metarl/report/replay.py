"""What a page needs to show recorded trials step by step: plain values of a limited size."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metarl.evaluation.records import Trial
from metarl.report.reads import holds
from metarl.types import Array, Floats

TRIALS = 3  # that are shown
STEPS = 300  # of each, at most
BYTES = 600_000  # of all of them as JSON
NUMBERS = 12  # numbers of an observation beyond which it is left out


def replayed(trials: Sequence[Trial], options: Mapping[str, object], most: int = BYTES) -> dict[str, Any] | None:
    """The first trials as plain values, as many steps of each as fit.

    Args:
        trials: that were recorded.
        options: of the environment; ``arms`` says how many arms a bandit has.
        most: characters of the result as JSON.

    Returns:
        The trials, and of a bandit without contexts the number of its arms, else 0; None where there is nothing to
        show, or fewer than eight steps would fit.
    """
    steps = min(STEPS, max((len(trial.rewards) for trial in trials), default=0))
    while trials and steps >= min(8, len(trials[0].rewards)):
        made = {"arms": _arms(trials, options), "trials": [_one(trial, steps) for trial in trials[:TRIALS]]}
        if len(json.dumps(made, separators=(",", ":"))) <= most:
            return made
        steps = steps * 2 // 3
    return None


def _arms(trials: Sequence[Trial], options: Mapping[str, object]) -> int:
    """Arms of a bandit whose episodes are single pulls; 0 where it is none."""
    if not all(one.ends.all() and one.actions.ndim == 1 and one.actions.dtype.kind in "iu" for one in trials):
        return 0
    arms, seen = options.get("arms"), 1 + max(int(one.actions.max()) for one in trials)
    known = isinstance(arms, int) and seen <= arms <= 100
    return int(str(arms)) if known else seen if seen <= 100 else 0


def _one(trial: Trial, steps: int) -> dict[str, Any]:
    images = [part for part in trial.observations.values() if part.ndim == 4 and part.dtype == np.uint8]
    shown = {
        name.removeprefix("obs.") if name != "obs" else "observation": _values(part[:steps])
        for name, part in trial.observations.items()
        if 0 < part[0].size <= NUMBERS and (part != part[0]).any()
    }
    made: dict[str, Any] = {
        "actions": _values(trial.actions[:steps]),
        "rewards": _values(trial.rewards[:steps]),
        "ends": trial.ends[:steps].astype(int).tolist(),
        "of": len(trial.rewards),
        "observations": shown,
    }
    if images:
        height, width, channels = images[0].shape[1:]
        frames = [base64.b64encode(frame.tobytes()).decode("ascii") for frame in images[0][:steps]]
        made["image"] = {"width": width, "height": height, "channels": channels, "frames": frames}
    if trial.weights is not None:
        made["weights"] = [_thousandths(row) for row in trial.weights[:steps]]
        made["held"] = holds(trial)
        made["returns"] = _values(np.array([trial.rewards[part].sum() for part in trial.episodes()]))
    return made


def _thousandths(row: Floats) -> list[int]:
    """Weights of the slots that there were, ``[N]`` with nan for others, as whole thousandths."""
    return np.rint(1000 * row[np.isfinite(row)]).astype(int).tolist()


def _values(part: Array) -> list[Any]:
    """Numbers ``[T, ...]`` of four digits, one row a step."""
    flat = part.reshape(len(part), -1)
    rows = [[int(v) if flat.dtype.kind in "iub" else float(f"{v:.4g}") for v in row] for row in flat.tolist()]
    return [row[0] for row in rows] if flat.shape[1] == 1 else rows

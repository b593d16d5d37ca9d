"""What came of a sweep: a row for each trial, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from metarl.evaluation.pooling import NORMAL95, mean_over_seeds
from metarl.report.build import build_report
from metarl.report.compare import short
from metarl.report.score import shown
from metarl.runs.folder import RunFolder
from metarl.sweeps.locks import FileLock
from metarl.sweeps.store import Store
from metarl.sweeps.work import run_folder

PAGE = "report.html"
State = Literal["done", "pruned", "failed", "running", "waiting"]
STATES: dict[str, State] = {
    "COMPLETE": "done",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
ORDER = list(STATES.values())


@dataclass(frozen=True)
class Result:
    """A trial.

    Args:
        trial: its number.
        state: how far it is.
        value: mean over seeds of what validation found; of a pruned trial, of its last validation. None: not yet known.
        half: half the width of its 95 % interval over seeds and, where their error was logged, validation tasks; None:
            not known.
        values: of each seed.
        settings: what differs between trials, as after ``--set``.
        runs: the run folders.
        error: why it failed.
    """

    trial: int
    state: State
    value: float | None
    half: float | None
    values: tuple[float, ...]
    settings: dict[str, str]
    runs: tuple[str, ...]
    error: str | None


def results(store: Store) -> list[Result]:
    """All trials: those that were trained to the end by value, then those that were pruned, then the others."""
    rows = []
    for slot, trial in store.fill().items():
        facts, space = trial.user_attrs, store.sweep.space
        values = tuple(float(value) for value in facts.get("values", ()))
        value, half = pooled(values, facts.get("errors", ()))
        folders = (run_folder(store.folder, slot, seed) for seed in store.sweep.seeds)
        known = trial.params or trial.system_attrs.get("fixed_params", {})
        rows.append(
            Result(
                trial=slot,
                state=STATES[trial.state.name],
                value=value if trial.state.is_finished() else None,
                half=half,
                values=values,
                settings={one.key: space.told(known).get(one.key, "") for one in space.dimensions},
                runs=tuple(str(path) for path in folders if (path / "config.json").is_file()),
                error=facts.get("error"),
            )
        )
    return sorted(rows, key=lambda one: (ORDER.index(one.state), -(one.value or 0.0), one.trial))


def pooled(values: Sequence[float], errors: Sequence[float | None]) -> tuple[float | None, float | None]:
    """The mean over seeds, and half the width of its 95 % interval; each seed has validation tasks of its own."""
    if not values:
        return None, None
    if len(values) == 1:
        return values[0], None if errors[0] is None else NORMAL95 * errors[0]
    mean, half = mean_over_seeds(np.array(values), np.array([error or 0.0 for error in errors]), shared=False)
    return float(mean), float(half)


def rows_of(found: Sequence[Result], metric: str) -> list[dict[str, str]]:
    """The rows of a printed table.

    Args:
        found: the trials.
        metric: what was validated, such as ``validation/return``.
    """
    name = metric.rpartition("/")[2]
    rows = []
    for one in found:
        half = "" if one.half is None else f" ± {shown(name, one.half)}"
        value = "–" if one.value is None else f"{shown(name, one.value)}{half}"
        state = f"failed: {one.error}" if one.state == "failed" else one.state
        row = {"trial": str(one.trial), name: value}
        rows.append(row | {key: short(text) for key, text in one.settings.items()} | {"state": state})
    return rows


def summary(found: Sequence[Result], trials: int) -> dict[str, Any]:
    """All of it as plain data."""
    return {"trials": trials, "results": [asdict(one) for one in found]}


def report(found: Sequence[Result], folder: Path) -> Path | None:
    """Write the page of all runs, unless another process has written it.

    Returns:
        Where it is; None where there is nothing to draw.

    Raises:
        InputError: a run is damaged.
    """
    page = folder / PAGE
    runs = [RunFolder.open(path) for one in found for path in one.runs if (Path(path) / "metrics.jsonl").is_file()]
    lock = FileLock(folder / "locks" / PAGE)
    with suppress(ImportError, OSError):  # no locks here: then it may be written twice
        lock.take(wait=True)
    try:
        newest = max(((run.path / "status.json").stat().st_mtime for run in runs), default=None)
        if newest is None:
            return None
        if not page.is_file() or page.stat().st_mtime < newest:
            build_report(runs, page)
        return page
    finally:
        lock.release()

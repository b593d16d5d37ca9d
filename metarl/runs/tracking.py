"""Where the numbers of a run go: always a line of JSON in the run folder, and Weights & Biases when asked.

The x-axis is ``env_steps``, the environment steps taken so far over all environments, or what a run names instead. The
local file is what reports read; Weights & Biases is best effort, and a run never stops because of it.
"""

from __future__ import annotations

import json
import math
import numbers
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, get_args

Metrics = Mapping[str, float | int | str | None]
WandbMode = Literal["disabled", "offline", "online"]

STEP = "env_steps"


class Tracker(Protocol):
    """Something that keeps what a run reports."""

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Keep ``metrics``, measured after so many steps of the x-axis."""
        ...

    def log_artifact(self, path: str | Path, name: str, kind: str) -> None:
        """Keep a file that the run made, such as a checkpoint (``kind`` "model")."""
        ...

    def log_image(self, path: str | Path, name: str) -> None:
        """Keep a picture."""
        ...

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Keep what an evaluation says of the run as a whole: nested plain data."""
        ...

    def finish(self, status: str) -> None:
        """End; ``status`` is "finished", "interrupted" or "failed"."""
        ...


class JsonlTracker:
    """Writes one JSON object a line: the step, ``time`` (seconds since the start) and the metrics.

    Args:
        path: the file to make; an existing one is never added to (FileExistsError).
        axis: what the steps are called.
    """

    def __init__(self, path: str | Path, axis: str = STEP):
        self._axis = axis
        try:
            self._file = Path(path).open("x", encoding="utf-8")  # noqa: SIM115 - closed by finish
        except FileExistsError:
            raise FileExistsError(f"{path} exists and belongs to another run; make a new run folder") from None
        self._start = time.perf_counter()
        self._last = 0

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Write one line and flush it; a ``time`` among the metrics takes the place of our own.

        Raises:
            ValueError: ``step`` is smaller than one before, or a metric is called as the x-axis is.
            TypeError: a metric is no number, string or None.
        """
        if step < self._last:
            raise ValueError(f"the step went back from {self._last} to {step}; {self._axis} only grow")
        row = {self._axis: int(step), "time": _seconds_since(self._start), **plain(metrics, self._axis)}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        self._last = int(step)

    def log_artifact(self, path: str | Path, name: str, kind: str) -> None:
        """Nothing to do: the file lies in the run folder already."""

    def log_image(self, path: str | Path, name: str) -> None:
        """Nothing to do: the picture lies in the run folder already."""

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Nothing to do: the evaluation lies in the run folder already."""

    def finish(self, status: str) -> None:
        """Close the file."""
        self._file.close()


class WandbTracker:
    """Logs to Weights & Biases, offline or online, and goes on without it when it fails.

    Nothing about the machine, the code, the environment or the console is collected: only what is logged here.

    Args:
        mode: "offline" writes below ``folder`` for a later ``wandb sync``; "online" falls back to that when the
            server does not answer within ``timeout`` seconds or no key is configured.
        project: the project's name.
        name: the run's name.
        config: the nested options; numbers stay numbers.
        folder: the run folder; ``wandb/`` is made in it.
        group: what runs that differ only in their seed have in common.
        job_type: such as "train" or "eval".
        timeout: seconds to wait for the server at the start.
        axis: what the steps are called.
    """

    def __init__(
        self,
        mode: Literal["offline", "online"],
        project: str,
        name: str,
        config: Mapping[str, Any],
        folder: str | Path,
        group: str | None = None,
        job_type: str = "train",
        timeout: float = 10.0,
        axis: str = STEP,
    ):
        if mode not in ("offline", "online"):
            raise ValueError(f"the Weights & Biases mode is {mode!r}, expected 'offline' or 'online'")
        self._run: Any = None
        self._last, self._axis = 0, axis
        where = {"project": project, "name": name, "group": group, "job_type": job_type, "dir": str(folder)}
        options: dict[str, Any] = {**where, "config": dict(config)}
        try:
            self._wandb = _import_wandb()
            self._run = self._init(mode, options, timeout)
            self._run.define_metric(axis)
            self._run.define_metric("*", step_metric=axis)
        except Exception as error:  # whatever it is, training goes on
            self._give_up(error)

    def _init(self, mode: str, options: Mapping[str, Any], timeout: float) -> Any:
        # The first line silences what is said before a run exists (which key was found, and where).
        self._wandb.setup(settings=self._wandb.Settings(silent=True))
        settings = self._wandb.Settings(
            silent=True,
            console="off",
            init_timeout=timeout,
            finish_timeout=30,  # what is not uploaded by then stays on disk
            save_code=False,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        if mode == "online":
            try:
                return self._wandb.init(mode="online", settings=settings, **options)
            except Exception as error:
                _say(f"Weights & Biases is out of reach ({_reason(error)}); logging offline to {options['dir']}/wandb")
        return self._wandb.init(mode="offline", settings=settings, **options)

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Log one row with its step."""
        row = {self._axis: int(step), **plain(metrics, self._axis)}
        self._last = int(step)
        self._try(lambda run: run.log(row))

    def log_artifact(self, path: str | Path, name: str, kind: str) -> None:
        """Log the file as a versioned artifact."""

        def send(run: Any) -> None:
            artifact = self._wandb.Artifact(name, type=kind)
            artifact.add_file(str(path))
            run.log_artifact(artifact)

        self._try(send)

    def log_image(self, path: str | Path, name: str) -> None:
        """Log the picture at the last step."""
        self._try(lambda run: run.log({self._axis: self._last, name: self._wandb.Image(str(path))}))

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Put the values into the run's summary."""
        self._try(lambda run: run.summary.update(dict(values)))

    def finish(self, status: str) -> None:
        """End the run; only "finished" counts as a success."""
        self._try(lambda run: run.summary.update({"status": status}))
        self._try(lambda run: run.finish(exit_code=0 if status == "finished" else 1))
        self._run = None

    def _try(self, action: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        _say(f"Weights & Biases failed ({_reason(error)}); going on without it")
        self._run = None


class Trackers:
    """Several trackers as one; every row gets one ``time``, so that all of them keep the same."""

    def __init__(self, trackers: Sequence[Tracker]):
        self._trackers = tuple(trackers)
        self._start = time.perf_counter()

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Log to each, the first one first; its error keeps a row from the others."""
        row: Metrics = {"time": _seconds_since(self._start), **metrics}
        for tracker in self._trackers:
            tracker.log(row, step=step)

    def log_artifact(self, path: str | Path, name: str, kind: str) -> None:
        """Log the file to each."""
        for tracker in self._trackers:
            tracker.log_artifact(path, name, kind)

    def log_image(self, path: str | Path, name: str) -> None:
        """Log the picture to each."""
        for tracker in self._trackers:
            tracker.log_image(path, name)

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Give the values to each."""
        for tracker in self._trackers:
            tracker.log_summary(values)

    def finish(self, status: str) -> None:
        """End each."""
        for tracker in self._trackers:
            tracker.finish(status)


def make_tracker(
    folder: str | Path,
    mode: WandbMode,
    config: Mapping[str, Any],
    *,
    project: str = "metarl",
    name: str | None = None,
    group: str | None = None,
    job_type: str = "train",
    axis: str = STEP,
) -> Trackers:
    """The trackers of a run: ``metrics.jsonl`` in ``folder`` always, Weights & Biases unless ``mode`` is "disabled".

    ``name`` is by default the folder's own, ``axis`` what steps are called. Raises FileExistsError where ``folder``
    holds a ``metrics.jsonl``.
    """
    if mode not in get_args(WandbMode):
        raise ValueError(f"the Weights & Biases mode is {mode!r}, expected one of {', '.join(get_args(WandbMode))}")
    folder = Path(folder)
    trackers: list[Tracker] = [JsonlTracker(folder / "metrics.jsonl", axis)]
    if mode != "disabled":
        known = name or folder.resolve().name
        trackers.append(WandbTracker(mode, project, known, config, folder, group, job_type, axis=axis))
    return Trackers(trackers)


def plain(metrics: Metrics, axis: str = STEP) -> dict[str, float | int | str | None]:
    """The metrics as JSON can hold them: NumPy numbers become Python's, NaN and infinities None."""
    if axis in metrics:
        raise ValueError(f"a metric is called {axis!r}, which is the x-axis; pass it as step=")
    return {name: _plain_value(name, value) for name, value in metrics.items()}


def _plain_value(name: str, value: object) -> float | int | str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    raise TypeError(f"the metric {name!r} is a {type(value).__name__}, expected a number, a string or None")


def _seconds_since(start: float) -> float:
    return round(time.perf_counter() - start, 3)


def _import_wandb() -> ModuleType:
    """The one place that imports wandb, so that nothing pays for it unless asked."""
    import wandb

    return wandb


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _say(message: str) -> None:
    print(f"metarl: {message}", file=sys.stderr, flush=True)

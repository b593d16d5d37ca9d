"""Where the numbers of a run go: always a line of JSON in the run folder, and Weights & Biases when asked.

The x-axis is ``env_steps``, the environment steps so far over all environments, unless a run names another. Reports
read the local file; Weights & Biases is best effort, and a run never stops because of it.
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
from typing import Any, Literal, get_args

from metarl.config import InputError, choice

Metrics = Mapping[str, float | int | str | None]
WandbMode = Literal["disabled", "offline", "online"]

STEP = "env_steps"
PROJECT = "metarl"
"""The project of Weights & Biases."""


class Tracker:
    """Keeps what a run reports; each method does nothing unless a subclass has a use for it."""

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Keep ``metrics``, measured at ``step`` of the x-axis."""

    def log_artifact(self, path: str | Path, name: str, kind: str) -> None:
        """Keep a file that the run made.

        Args:
            path: the file.
            name: of the artifact, such as "checkpoint".
            kind: such as "model".
        """

    def log_image(self, path: str | Path, name: str) -> None:
        """Keep an image file."""

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Keep results of the run as a whole: nested plain data."""

    def finish(self, status: str) -> None:
        """End; ``status`` is "finished", "interrupted" or "failed"."""


class JsonlTracker(Tracker):
    """Writes one JSON object a line: the step and the metrics. Files lie in the run folder already.

    Args:
        path: the file to make.
        axis: the name of the x-axis.

    Raises:
        FileExistsError: the file exists; another run's is never added to.
    """

    def __init__(self, path: str | Path, axis: str = STEP):
        self._axis = axis
        try:
            self._file = open(str(path), "x", encoding="utf-8")  # noqa: SIM115 - closed by finish
        except FileExistsError:
            raise FileExistsError(f"{path} exists and belongs to another run; make a new run folder") from None
        self._last = 0

    def __repr__(self) -> str:
        return f"JsonlTracker({self._file.name!r})"

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Write one line and flush it.

        Raises:
            InputError: ``step`` is smaller than the one before, or a metric has the name of the x-axis.
            TypeError: a metric is no number, string or None.
        """
        if step < self._last:
            raise InputError(key=self._axis, given=step, expected=f"{self._last} or more, as the step before")
        row = row_of(metrics, step, self._axis)
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        self._last = int(step)

    def finish(self, status: str) -> None:
        """Close the file."""
        self._file.close()


class WandbTracker(Tracker):
    """Logs to Weights & Biases, offline or online, and continues without it when it fails.

    It sends what is logged here, and nothing about the machine, the code, the environment or the console.

    Args:
        mode: "offline" writes below ``folder`` for a later ``wandb sync``; "online" falls back to that when the
            server does not answer within ``timeout`` or no key is configured.
        config: the nested options; numbers stay numbers.
        folder: the run folder, whose name the run gets; ``wandb/`` is made in it.
        group: a name that runs share which differ only in their seed.
        timeout: seconds to wait for the server at the start.
        axis: the name of the x-axis.
    """

    def __init__(
        self,
        mode: Literal["offline", "online"],
        config: Mapping[str, Any],
        folder: str | Path,
        group: str | None = None,
        timeout: float = 10.0,
        axis: str = STEP,
    ):
        choice(mode, ("offline", "online"), "the Weights & Biases mode")
        self._run: Any = None
        self._last, self._axis = 0, axis
        name = Path(folder).resolve().name
        where = {"project": PROJECT, "name": name, "group": group, "job_type": "train", "dir": str(folder)}
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

    def __repr__(self) -> str:
        return f"WandbTracker({'failed or finished' if self._run is None else self._run.name!r})"

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Log one row with its step."""
        row = row_of(metrics, step, self._axis)
        self._last = int(step)
        self._try(lambda run: run.log(row))

    def log_artifact(self, path: str | Path, name: str, kind: str) -> None:
        """Log the file as a versioned artifact; see :meth:`Tracker.log_artifact`."""
        self._try(lambda run: run.log_artifact(str(path), name=name, type=kind))

    def log_image(self, path: str | Path, name: str) -> None:
        """Log the image at the last step."""
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


class Trackers(Tracker):
    """Several trackers as one; each row gets ``time``, the seconds since the start, the same for all of them."""

    def __init__(self, trackers: Sequence[Tracker]):
        self._trackers = tuple(trackers)
        self._start = time.perf_counter()

    def __repr__(self) -> str:
        return f"Trackers({', '.join(map(repr, self._trackers))})"

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Log to each, the first one first; its error keeps a row from the others."""
        row: Metrics = {"time": round(time.perf_counter() - self._start, 3), **metrics}
        for tracker in self._trackers:
            tracker.log(row, step=step)

    def log_artifact(self, path: str | Path, name: str, kind: str) -> None:
        """Log the file to each; see :meth:`Tracker.log_artifact`."""
        for tracker in self._trackers:
            tracker.log_artifact(path, name, kind)

    def log_image(self, path: str | Path, name: str) -> None:
        """Log the image to each."""
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
    folder: str | Path, mode: WandbMode, config: Mapping[str, Any], *, group: str | None = None, axis: str = STEP
) -> Trackers:
    """The trackers of a run: ``metrics.jsonl`` in ``folder`` always, Weights & Biases unless ``mode`` is "disabled".

    Args:
        folder: the run folder.
        mode: of Weights & Biases.
        config: the nested options.
        group: a name that runs share which differ only in their seed.
        axis: the name of the x-axis.

    Raises:
        ConfigError: there is no such mode.
        FileExistsError: ``folder`` holds a ``metrics.jsonl``.
    """
    choice(mode, get_args(WandbMode), "the Weights & Biases mode")
    trackers: list[Tracker] = [JsonlTracker(Path(folder) / "metrics.jsonl", axis)]
    if mode != "disabled":
        trackers.append(WandbTracker(mode, config, folder, group, axis=axis))
    return Trackers(trackers)


def row_of(metrics: Metrics, step: int, axis: str) -> dict[str, float | int | str | None]:
    """The step and the metrics as JSON can hold them: NumPy numbers become Python's, NaN and infinities None.

    Args:
        metrics: by name.
        step: the value of the x-axis.
        axis: the name of the x-axis.

    Raises:
        InputError: a metric has the name of the x-axis.
        TypeError: a metric is no number, string or None.
    """
    if axis in metrics:
        raise InputError(f"a metric is called {axis!r}, which is the x-axis", key=axis, remedy="pass it as step=")
    return {axis: int(step)} | {name: _plain_value(name, value) for name, value in metrics.items()}


def _plain_value(name: str, value: object) -> float | int | str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    raise TypeError(f"the metric {name!r} is a {type(value).__name__}, expected a number, a string or None")


def _import_wandb() -> ModuleType:
    """The one place that imports wandb, so that nothing pays for it unless asked."""
    import wandb

    return wandb


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _say(message: str) -> None:
    print(f"metarl: {message}", file=sys.stderr, flush=True)

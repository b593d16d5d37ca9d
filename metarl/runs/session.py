"""A training session in a run folder: its tracker, its checkpoints, its status, and signals that end it early."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from metarl import parallel
from metarl.runs.folder import RunFolder
from metarl.runs.progress import Progress, say
from metarl.runs.status import Status
from metarl.runs.tracking import STEP, Metrics, Tracker, WandbMode

KEPT = 2  # checkpoints of training that are kept
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
Judge = Callable[[int, Metrics], bool]
"""Says of a validation, given its step and row of metrics, whether training is to end there."""


class Stopped(KeyboardInterrupt):
    """A signal ended a run outside training; ``number`` says which."""

    def __init__(self, number: int):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


class Saved(NamedTuple):
    """A training state from a checkpoint.

    Args:
        meta: plain data; ``meta["session"]`` has ``step``, ``rows`` of metrics and ``seconds``.
        groups: named groups of tensors by name.
    """

    meta: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, Any]]

    @property
    def step(self) -> int:
        """The steps trained until then."""
        return int(self.meta["session"]["step"])


@dataclass
class Session:
    """A run under way: what an experiment's ``learn`` is given.

    Args:
        seconds: between two checkpoints of training.
        steps: after which there is one in any case; None: by time alone.
        saved: the training state to go on from; None: from the beginning.
        facts: what status.json says beside the status.
        signals: the signals that arrived, in order.
        judge: is told each validation, with its step; training ends early where it says so. None: nobody is.
        pruned: whether it has said so.
    """

    folder: RunFolder
    seed: int
    quiet: bool = False
    seconds: float = 60.0
    steps: int | None = None
    saved: Saved | None = None
    status: Status = "running"
    facts: dict[str, Any] = field(default_factory=dict)
    signals: list[int] = field(default_factory=list)
    judge: Judge | None = None
    pruned: bool = False
    tracker: Tracker = field(init=False)

    def __post_init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._before = float(self.saved.meta["session"]["seconds"]) if self.saved else 0.0
        self._last_step = self.saved.step if self.saved else 0
        self._on_stop: Callable[[], None] | None = None
        self._others_stop = False

    @property
    def stopped(self) -> bool:
        """Whether a signal, or the judge of its validations, asked training to stop."""
        return self.pruned or self.stopped_by is not None

    @property
    def stopped_by(self) -> int | None:
        """The first signal that asked so; where another process got one, SIGTERM."""
        if self.signals:
            return self.signals[0]
        return int(signal.SIGTERM) if self._others_stop and not self.pruned else None

    def agree_to_stop(self) -> bool:
        """Whether any of the processes that train together was asked to stop; then all of them do."""
        self._others_stop = parallel.any_of(self.stopped)
        return self._others_stop

    def validated(self, row: Metrics, *, step: int) -> None:
        """Log what a validation found, and let it be judged.

        Args:
            row: as for the tracker.
            step: of the x-axis.
        """
        self.tracker.log(row, step=step)
        self.pruned = self.pruned or (self.judge is not None and self.judge(step, row))

    @property
    def elapsed(self) -> float:
        """Seconds so far, with those before the run was resumed."""
        return self._before + time.perf_counter() - self._began

    @contextmanager
    def stoppable(self, on_stop: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Within, a signal is recorded and calls ``on_stop``; outside, it raises :class:`Stopped`."""
        self._on_stop = on_stop
        try:
            yield
        finally:
            self._on_stop = None

    def save_due(self, step: int, write: Callable[[Path, dict[str, Any]], object]) -> None:
        """Keep the whole state of training where that is due: by time, or because training stops.

        Args:
            step: steps trained so far.
            write: writes the state to a path, or gives this process's part of it to the first; it also gets what must
                be kept as ``meta["session"]``.
        """
        by_steps = self.steps is not None and step - self._last_step >= self.steps
        if not parallel.any_of(self.stopped or by_steps or time.perf_counter() - self._last >= self.seconds):
            return
        if parallel.rank():
            write(self.folder.path, {})
            return
        self.tracker.sync()
        path = self.folder.path / "checkpoints" / f"{step}.zip"
        config = self.folder.fingerprint
        now = {"step": step, "rows": self.tracker.rows, "seconds": self.elapsed, "config": config}
        write(path, {**now, "processes": parallel.size()})
        others = [one for one in self.folder.checkpoints if one != path]
        before = [one for one in others if int(one.stem) < step]
        for old in {*others} - {*before[1 - KEPT :]}:  # what goes beyond this step was damaged, and not resumed from
            old.unlink()
        self._last, self._last_step = time.perf_counter(), step

    def progress(self, total: int | None, unit: str, begun: int = 0) -> Progress:
        """Shows how far training is.

        Args:
            total: units in all; None: not known.
            unit: what is counted.
            begun: units that were done before the run was resumed.
        """
        return Progress("training", total, unit, quiet=self.quiet, begun=begun)

    def trained(self, *, whole: bool, **facts: Any) -> None:
        """The model is saved.

        Args:
            whole: training came to its end, so that only the evaluation is missing.
            facts: about it, for the status.
        """
        name = re.sub(r"[^\w.-]", "-", f"{self.folder.config.get('name') or 'model'}-{self.folder.path.resolve().name}")
        self.tracker.log_artifact(self.folder.checkpoint, name, "model")
        self.facts |= {"trained": whole, **facts}
        self.set_status("running" if whole else "interrupted")

    def set_status(self, status: Status, **more: Any) -> None:
        """Write the status with all facts."""
        self.status = status
        self.folder.set_status(status, **self.facts, **more)

    def raise_if_stopped(self) -> None:
        """Raise :class:`Stopped` where a signal has arrived."""
        if self.signals:
            raise Stopped(self.signals[0])

    @contextmanager
    def signals_handled(self) -> Iterator[None]:
        """Within, the first signal stops the run and the second ends the process, both with a true status.

        Outside the main thread, where Python handles no signals, nothing changes.
        """

        def record(number: int, frame: object) -> None:
            self.signals.append(number)
            if len(self.signals) > 1:
                with suppress(BaseException):
                    if self.status == "running":
                        self.set_status("interrupted")
                os._exit(128 + number)  # whatever hangs, hangs no longer
            if self._on_stop is None:
                raise Stopped(number)
            if not self.quiet and sys.stderr.isatty():
                os.write(2, b"\nmetarl: stopping soon; a second signal ends at once\n")  # print is not for handlers
            self._on_stop()

        with handling(record):
            yield


class Follower(Session):
    """The part that a process has in a run of which the first process writes everything."""

    def __init__(self, folder: RunFolder, seed: int, saved: Saved | None) -> None:
        super().__init__(folder, seed, quiet=True, seconds=math.inf, saved=saved)
        self.tracker = _Silent()

    def set_status(self, status: Status, **more: Any) -> None:
        """Write nothing."""
        self.status = status


class _Silent(Tracker):
    """Keeps nothing."""

    def __init__(self) -> None:
        self.rows = 0

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Do nothing."""


@contextmanager
def handling(handler: Callable[[int, Any], object]) -> Iterator[None]:
    """Within, ``handler`` is called for each signal that ends a run; in other threads than the main one nothing is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.getsignal(number) for number in SIGNALS}
    if old.get(HANGUP) is signal.SIG_IGN:  # as nohup wants it
        del old[HANGUP]
    for number in old:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


def raise_stopped(number: int, frame: object) -> None:
    """A handler of signals that raises :class:`Stopped`."""
    raise Stopped(number)


@contextmanager
def training_session(
    folder: RunFolder,
    config: Mapping[str, Any],
    *,
    seed: int,
    wandb: WandbMode = "disabled",
    group: str | None = None,
    axis: str = STEP,
    quiet: bool = False,
    verbose: bool = False,
    seconds: float = 60.0,
    steps: int | None = None,
    rows: int | None = None,
    saved: Saved | None = None,
    facts: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
) -> Iterator[Session]:
    """Within, a run is tracked in ``folder``; what ends it, if not its end, is in its status.

    Args:
        folder: a new run folder, or one to resume.
        config: the nested options, written to config.json.
        seed: of the training.
        wandb: whether Weights & Biases logs too.
        group: the Weights & Biases group.
        axis: the name of the x-axis of the metrics.
        quiet: no progress.
        verbose: print each row of metrics on stderr.
        seconds: between two checkpoints of training.
        steps: likewise; None: by time alone.
        rows: of metrics that are kept where a run is resumed; None: it is new.
        saved: the training state that it is resumed from; None: from the beginning.
        facts: what its status said beside the status.
        judge: see :class:`Session`.

    Raises:
        RunError: there is a run in a folder that should be new.
        Stopped: a signal arrived outside training.
    """
    session = Session(folder, seed, quiet, seconds, steps, saved, facts=dict(facts or {}), judge=judge)
    if wandb != "disabled":
        session.facts.setdefault("wandb_id", uuid.uuid4().hex[:8])
    tracker = None
    with session.signals_handled():
        with session.stoppable():
            if rows is None:
                folder.start(config)
            else:
                folder.go_on()
            session.set_status("running")
        try:
            session.raise_if_stopped()
            options: dict[str, Any] = {"group": group, "axis": axis, "rows": rows, "echo": say if verbose else None}
            tracker = Tracker(folder.path, wandb, config, run_id=session.facts.get("wandb_id"), **options)
            session.tracker = tracker
            yield session
        except BaseException as error:
            if session.status == "running":
                status: Status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                reason = " ".join(str(error).split()) or type(error).__name__
                with suppress(OSError):  # the error itself is told
                    session.set_status(status, **({"reason": reason} if status == "failed" else {}))
                error.add_note(
                    f"metarl train --resume {folder.path} {'goes on' if folder.checkpoints else 'repeats it'}"
                )
            raise
        finally:
            if tracker is not None:
                tracker.finish(session.status)

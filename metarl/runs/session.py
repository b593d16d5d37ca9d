"""A training session in a run folder: its tracker, its checkpoint, and signals that end it early."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from metarl.runs.folder import RunFolder, Status
from metarl.runs.tracking import STEP, Tracker, WandbMode


@dataclass
class Session:
    """A training under way: what an experiment's ``learn`` is given.

    Args:
        folder: ``folder.checkpoint`` is where ``learn`` saves the model.
        status: what is written at the end; :meth:`complete` changes it.
        signals: the signals that arrived, in order.
    """

    folder: RunFolder
    tracker: Tracker
    seed: int
    quiet: bool = False
    status: Status = "failed"
    signals: list[int] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether a signal asked training to stop."""
        return bool(self.signals)

    @contextmanager
    def stoppable(self, on_stop: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Within, SIGINT and SIGTERM are recorded and call ``on_stop`` instead of ending the process.

        Outside the main thread, where Python handles no signals, nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def record(number: int, frame: object) -> None:
            self.signals.append(number)
            on_stop()

        old = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def bar(self, total: int | None, unit: str) -> tqdm[Any]:
        """A progress bar on stderr, where that is a terminal."""
        return tqdm(total=total, unit=unit, unit_scale=True, disable=self.quiet or None)

    def complete(self, **facts: Any) -> None:
        """Training ended and the checkpoint is written; ``facts`` go into the status."""
        name = re.sub(r"[^\w.-]", "-", f"{self.folder.config.get('name') or 'model'}-{self.folder.path.resolve().name}")
        self.tracker.log_artifact(self.folder.checkpoint, name, "model")
        self.status = "interrupted" if self.stopped else "finished"
        self.folder.set_status(self.status, **facts)


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
) -> Iterator[Session]:
    """Within, a training is tracked in ``folder``; unless :meth:`Session.complete` was called, it has failed.

    Args:
        folder: a new run folder.
        config: the nested options, written to config.json.
        seed: of the training.
        wandb: whether Weights & Biases logs too.
        group: the Weights & Biases group.
        axis: the name of the x-axis of the metrics.
        quiet: no progress bar.
    """
    folder.start(config)
    tracker = Tracker(folder.path, wandb, config, group=group, axis=axis)
    session = Session(folder, tracker, seed, quiet)
    try:
        yield session
    finally:
        if session.status == "failed":
            folder.set_status("failed")
        tracker.finish(session.status)

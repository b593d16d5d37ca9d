"""A training as its run folder sees it: started, tracked, stopped by signals, and ended with a status."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from metarl.runs.folder import RunFolder, Status
from metarl.runs.tracking import STEP, Trackers, WandbMode, make_tracker


@dataclass
class TrainingRun:
    """A training that is under way."""

    run: RunFolder
    tracker: Trackers
    status: Status = "failed"
    """What the run has come to, if nothing more is said."""

    def ended(self, signals: list[int], **facts: Any) -> None:
        """The checkpoint is written; ``signals`` are those that ended training early, ``facts`` go into the status."""
        self.tracker.log_artifact(self.run.checkpoint, "checkpoint", "model")
        self.status = "interrupted" if signals else "finished"
        self.run.set_status(self.status, **facts)


@contextmanager
def training_run(
    run: RunFolder, config: Mapping[str, Any], wandb: WandbMode, group: str | None, axis: str = STEP
) -> Iterator[TrainingRun]:
    """Within, a training is tracked in ``run``; it is a failed one unless :meth:`TrainingRun.ended` was called."""
    run.start(config)
    under_way = TrainingRun(run, make_tracker(run.path, wandb, config, name=run.path.name, group=group, axis=axis))
    try:
        yield under_way
    finally:
        if under_way.status == "failed":
            run.set_status("failed")
        under_way.tracker.finish(under_way.status)


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Within, SIGINT and SIGTERM call ``stop`` and are noted in the list, instead of ending the process."""
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        noted.append(number)
        stop()

    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

"""The status of a run: what ``status.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from metarl.config import build
from metarl.types import Count, Positive

Status = Literal["running", "finished", "interrupted", "failed"]
PRUNED = "pruned"  # what ended a training that did worse than others of its sweep


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What the status of a run says; other facts may lie beside these.

    Args:
        status: the status itself.
        since: when it began, in ISO 8601.
        reason: why the run failed.
        trained: whether training came to its end.
        train_seconds: how long it took.
        train_steps: how far it came.
        train_peak_bytes: the most memory that the process held by then; None where the system does not say.
        kept_step: after how many of these the model that was kept did best in validation; None: it is the last one.
        device: the torch device that it was trained on.
        ended: what ended training: a limit of updates or seconds, the target or patience, or its sweep, which has
            pruned it; None: a signal, or the steps of an agent.
        wandb_id: of the run at Weights & Biases.

    Raises:
        ValueError: ``since`` is no time.
    """

    status: Status
    since: str
    reason: str | None = None
    trained: bool = False
    train_seconds: Positive = 0.0
    train_steps: Count = 0
    train_peak_bytes: Count | None = None
    kept_step: Count | None = None
    device: str | None = None
    ended: str | None = None
    wandb_id: str | None = None

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.since)


def check_status(data: Mapping[str, Any], where: str) -> None:
    """Refuse what no run writes.

    Args:
        data: of a ``status.json``.
        where: it lies, named in an error.

    Raises:
        ConfigError: a fact is missing, or of another type or size.
    """
    known = {field.name for field in fields(RunStatus)}
    build(RunStatus, {name: value for name, value in data.items() if name in known}, where)


def cut_short(config: Mapping[str, Any], status: Mapping[str, Any]) -> str | None:
    """In words, what ended a training before the updates that were asked for; None where nothing did.

    Args:
        config: of the run.
        status: of the run.
    """
    fit, ended = config.get("fit"), status.get("ended")
    if ended == PRUNED:
        return "training was pruned: it did worse than others of its sweep"
    if not isinstance(fit, Mapping) or ended not in ("seconds", "target", "patience"):
        return None
    asked = fit.get("updates")
    of = f", before its {asked:,} updates" if isinstance(asked, int) else ""
    return f"training was ended by fit.{ended} = {fit.get(ended)}{of}"

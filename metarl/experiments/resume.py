"""Where a run that was cut off goes on."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from metarl import parallel
from metarl.config import ConfigError
from metarl.experiments.base import WITHOUT_EFFECT, Experiment
from metarl.experiments.presets import from_config
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.session import Saved
from metarl.training.checkpoint import CheckpointError, read_checkpoint
from metarl.training.resume import restoring


@dataclass(frozen=True)
class Start:
    """Where a run begins or goes on.

    Args:
        rows: of metrics that are kept; None: the run is new.
        saved: the training state to go on from; None: from the beginning.
        trained: the model, where only the evaluation is missing.
        facts: what its status said, as far as it still holds.
    """

    rows: int | None = None
    saved: Saved | None = None
    trained: Any = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def check_same(config: Mapping[str, Any], folder: RunFolder) -> None:
    """Refuse to resume a run with other options than its own.

    Raises:
        ConfigError: one differs that has an effect.
    """
    own = dict(folder.config)
    seed = {name: own.pop(name) for name in ("seed",) if name in own}
    own = from_config(own, str(folder.path)).config() | seed  # with options that its version didn't have yet
    for key, value in config.items():
        if key in own and own[key] != value and key not in WITHOUT_EFFECT:
            expected = f"{own[key]!r}, as in {folder.path}"
            raise ConfigError(key=key, given=value, expected=expected, remedy="a run is resumed as it is")


def starting_point(experiment: Experiment, folder: RunFolder, device: torch.device) -> Start:
    """Where to go on with the run in ``folder``; what is lost is said in warnings.

    Args:
        experiment: of the run.
        folder: of the run.
        device: the torch device.

    Raises:
        RunError: there is nothing to resume.
    """
    if folder.is_entry:
        problem = f"there is nothing to resume: {folder.path} is an entry of the zoo, with weights alone"
        raise RunError(problem, key=str(folder.path), remedy="metarl zoo show tells the command that trained it")
    try:
        status = folder.status
    except RunError:  # it was cut off before, or is damaged
        status = {}
    if status.get("status") == "finished" and folder.evaluation.is_file():
        remedy = f"metarl report {folder.path} draws it"
        raise RunError(f"there is nothing to resume: {folder.path} is finished", key=str(folder.path), remedy=remedy)
    facts = {name: status[name] for name in ("wandb_id",) if name in status}
    if status.get("trained") is True or status.get("status") == "finished":
        try:
            facts |= {k: v for k, v in status.items() if k not in ("status", "since", "reason")}
            return Start(sys.maxsize, None, experiment.load(folder.checkpoint, device), facts)
        except CheckpointError as error:
            warnings.warn(f"{error}; training goes on from the checkpoint before", stacklevel=3)
            facts = {name: facts[name] for name in ("wandb_id",) if name in facts}
    for path in reversed(folder.checkpoints):
        try:
            with restoring(str(path)):
                saved = Saved(*read_checkpoint(path))
                session = saved.meta["session"]
                rows, _, _ = int(session["rows"]), int(session["step"]), float(session["seconds"])
                belongs, processes = session["config"] == folder.fingerprint, int(session.get("processes", 1))
        except CheckpointError as error:
            warnings.warn(f"{error}; the checkpoint before is used", stacklevel=3)
        else:
            if not belongs:
                problem = f"{folder.path}/config.json is not the one that the run was begun with"
                raise RunError(problem, key="config.json", remedy="put that back, or train again")
            if processes != parallel.size():
                problem, remedy = f"{path} was written by {processes} processes", "start as many"
                raise RunError(problem, key="processes", given=parallel.size(), remedy=remedy)
            return Start(rows, saved, None, facts)
    warnings.warn(f"{folder.path} has no checkpoint of its training, so it starts anew", stacklevel=3)
    return Start(0, None, None, facts)

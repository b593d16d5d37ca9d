"""What one process does for a sweep: it takes trials until none is left, and trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl.config import InputError
from metarl.experiments.base import Experiment, Validated
from metarl.experiments.run import new_folder, run
from metarl.report.compare import short
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.session import Judge, Stopped
from metarl.runs.status import PRUNED
from metarl.sweeps.store import Claim, Store
from metarl.types import NonFiniteError

WAIT = 1.0  # seconds between two looks at trials of other processes

Say = Callable[[str], object]


@dataclass(frozen=True)
class Trained:
    """A training of a trial.

    Args:
        found: in the validation that counts; None: there was none.
        pruned: whether it was ended early.
    """

    found: Validated | None
    pruned: bool


def run_folder(folder: Path, slot: int, seed: int) -> Path:
    """Where the run of a trial with a seed is.

    Args:
        folder: of the sweep.
        slot: of the trial.
        seed: of the training.
    """
    return folder / f"trial-{slot:03d}-s{seed}"


def work(store: Store, say: Say, talk: Mapping[str, Any]) -> None:
    """Train what is left of a sweep, and wait for other processes: should one die, its trial is done here.

    Args:
        store: of the sweep.
        say: is told what begins and what came of it.
        talk: the options of :func:`metarl.experiments.run.run` that say what is told where.

    Raises:
        Stopped: a signal arrived; the trial under way is left to whoever comes next.
        RunError: a run folder is damaged, or is used by something else.
    """
    waiting = False
    while True:
        claim = store.claim()
        if claim is not None:
            waiting = False
            with claim.held():
                try:
                    carry_out(claim, store, say, talk)
                except BaseException:
                    claim.cut_off()
                    raise
        elif left := store.unfinished():
            if not waiting:
                say(f"waiting for {left} trial{'s' * (left > 1)} of other processes; should one die, it is done here")
            waiting = True
            time.sleep(WAIT)
        else:
            return


def carry_out(claim: Claim, store: Store, say: Say, talk: Mapping[str, Any]) -> None:
    """Train a trial with each seed and keep the mean; what the first one learns may end it early.

    Raises:
        Stopped, RunError: see :func:`work`.
    """
    told = store.sweep.space.told(claim.params).items()
    say(f"trial {claim.slot}: {' '.join(f'{key}={short(value)}' for key, value in told)}")
    values: list[float] = []
    errors: list[float | None] = []
    try:
        experiment = store.sweep.experiment(claim.params)
        for seed in store.sweep.seeds:
            judge = judged(experiment, claim) if store.sweep.prune is not None and not values else None
            done = train(experiment, run_folder(store.folder, claim.slot, seed), seed, judge, talk)
            if done.found is None and not done.pruned:
                raise InputError("no validation came to its end", key="validation")
            if done.found is not None:
                values.append(done.found.value)
                errors.append(done.found.error)
            if done.pruned:
                claim.finish(pruned=True, values=values, errors=errors)
                say(f"trial {claim.slot}: pruned")
                return
    except RunError:
        raise
    except (NonFiniteError, InputError) as error:  # other settings may do better
        claim.finish(error=" ".join(str(error).split()), values=values, errors=errors)
        say(f"trial {claim.slot}: failed: {error}")
        return
    mean = sum(values) / len(values)
    claim.finish(mean, values=values, errors=errors)
    say(f"trial {claim.slot}: {experiment.validation} {mean:.4g}")


def train(experiment: Experiment, path: Path, seed: int, judge: Judge | None, talk: Mapping[str, Any]) -> Trained:
    """Train in a folder, or go on there; the model is not tested.

    Args:
        experiment: checked.
        path: of the run folder.
        seed: of the training.
        judge: is told each validation, those of a run that is resumed too; None: nobody is.
        talk: see :func:`work`.

    Raises:
        Stopped: a signal arrived.
        RunError, NonFiniteError, ConfigError: as of :func:`metarl.experiments.run.run`.
    """
    again = (path / "config.json").is_file()
    folder = RunFolder.open(path) if again else new_folder(experiment, path, seed)
    before = folder.status if again else {}
    if before.get("status") != "finished" and before.get("ended") != PRUNED:
        if again and judge is not None:
            for row in folder.metrics():
                judge(int(row[experiment.axis] or 0), row)
        done = run(experiment, folder, seed=seed, resume=again, evaluate=False, judge=judge, **talk)
        if done.signal is not None:
            raise Stopped(done.signal)
    status = folder.status
    kept = status.get("kept_step")
    found = experiment.validation_of(folder.metrics(), None if kept is None else int(kept))
    return Trained(found, status.get("ended") == PRUNED)


def judged(experiment: Experiment, claim: Claim) -> Judge:
    """What tells a trial's validations to its sweep, by their number, and ends it where it does worse than others."""
    every, planned = experiment.validates_every or 1, experiment.planned

    def judge(step: int, row: Mapping[str, float | int | None]) -> bool:
        if (value := row.get(experiment.validation)) is None:
            return False
        return claim.report(step // every, float(value)) and (planned is None or step < planned)

    return judge

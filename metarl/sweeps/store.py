"""The trials of a sweep in an Optuna study, which any number of processes on any number of machines share.

A sweep has numbered slots. Each slot is tried once: the first of its trials that was not cut off counts. A process
takes a trial that waits, which the storage gives to one alone. Where a process has died, its trial is marked as cut off
and the slot gets another one with the same settings, which goes on with the same runs.

Processes that share the sweep's folder know by a lock on a file whether another one lives. Others know by a counter in
the storage that a living process raises every :data:`BEAT` seconds.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from metarl.config import InputError
from metarl.seeding import sequence
from metarl.sweeps.locks import FileLock, can_lock
from metarl.sweeps.space import Params
from metarl.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

BEAT = 20.0  # seconds between two signs of life of a process that others can't see otherwise
SILENT = 120.0  # seconds without one after which it counts as dead
WARMUP = 4  # the part of a training before which the median prunes nothing: one in so many
REDUCTION = 3  # of so many trials successive halving lets one go on, after a 9th and a 3rd of the training
BUSY = 100  # seconds to wait for a SQLite file that others write
SLOT, CUT_OFF, HOME, LIFE = "slot", "cut_off", "home", "life"
"""What is kept with a trial: its slot, whether its process died, the folder with its runs, and its signs of life."""


def optuna() -> ModuleType:
    """Optuna, told to be quiet.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        remedy = "pip install 'metarl-memory[sweep]'"
        raise InputError("a sweep needs Optuna, which is not installed", key="sweep", remedy=remedy) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Claim:
    """A trial that this process works on.

    Args:
        slot: of the sweep.
        params: its point.
        trial: of Optuna's.
        store: that it is from.
        lock: that is held while the process lives; None: signs of life are given instead.
    """

    def __init__(self, slot: int, params: Params, trial: Trial, store: Store, lock: FileLock | None) -> None:
        self.slot, self.params, self.trial, self._store, self._lock = slot, params, trial, store, lock
        self._told: set[int] = set()

    def report(self, number: int, value: float) -> bool:
        """Tell how a training does.

        Args:
            number: of the validation, from 0.
            value: that it found.

        Returns:
            Whether the trial should end there.
        """
        if number in self._told:
            return False
        self._told.add(number)
        with suppress(optuna().exceptions.UpdateFinishedTrialError):  # another machine took it over
            self.trial.report(value, number)
            return bool(self.trial.should_prune())
        return False

    def finish(self, value: float | None = None, *, pruned: bool = False, **facts: Any) -> None:
        """Keep the result.

        Args:
            value: of the trial; None: it has none.
            pruned: whether it ended early because it did worse than others; else one without a value has failed.
            facts: plain data to keep with it.
        """
        state = optuna().trial.TrialState
        with suppress(optuna().exceptions.UpdateFinishedTrialError):
            for name, fact in facts.items():
                self.trial.set_user_attr(name, fact)
        ended = state.PRUNED if pruned else state.FAIL if value is None else None
        self._store.study.tell(self.trial, None if ended else value, state=ended, skip_if_finished=True)

    def cut_off(self) -> None:
        """Leave the trial to whoever comes next."""
        self._store.cut_off(self.trial.number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, others see that this process lives."""
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(over,), daemon=True)
        if self._store.beats:
            beating.start()
        try:
            yield
        finally:
            over.set()
            if self._store.beats:
                beating.join()
            if self._lock is not None:
                self._lock.release()

    def _beat(self, over: threading.Event) -> None:
        count = 0
        while not over.wait(BEAT):
            count += 1
            with suppress(Exception):  # the storage is out of reach for now, or another machine took the trial over
                self.trial.set_user_attr(LIFE, count)


class Store:
    """The study of a sweep.

    Args:
        sweep: what is searched.
        name: of the study.
        folder: of the sweep.
        url: of a database that Optuna can use; None: a journal in the folder.

    Raises:
        InputError: Optuna is not installed, or the database can't be used.
    """

    def __init__(self, sweep: Sweep, name: str, folder: Path, url: str | None = None) -> None:
        self.sweep, self.folder = sweep, folder
        self._locks, self._shared = can_lock(folder), url is None
        self.beats = not (self._locks and self._shared)
        self._home = None if self._shared else _home(folder)
        self._seen: dict[int, tuple[Any, float]] = {}
        self._storage = self._open(url)
        self.study = self._make(name)
        self._id = self._storage.get_study_id_from_name(name)

    def _open(self, url: str | None) -> BaseStorage:
        storages = optuna().storages
        if url is None:
            path = str(self.folder / "journal.log")
            lock = FileLock(f"{path}.lock") if self._locks else None  # Optuna's own outlives its process for a while
            made: BaseStorage = storages.JournalStorage(storages.journal.JournalFileBackend(path, lock))
            return made
        options = {"connect_args": {"timeout": BUSY}} if url.startswith("sqlite") else {"pool_pre_ping": True}
        try:
            made = storages.RDBStorage(url, engine_kwargs=options)
        except Exception as error:  # of Optuna, of SQLAlchemy or of a driver
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}".replace(url, "the URL")
            expected = "a URL that Optuna can use, such as sqlite:///sweep.db"
            raise InputError(f"--storage can't be used: {reason}", key="--storage", expected=expected) from None
        return made

    def _make(self, name: str) -> Any:
        pruners, validations = optuna().pruners, self.sweep.validations
        made = pruners.NopPruner()
        if self.sweep.prune == "median":  # what little was learned before says nothing
            made = pruners.MedianPruner(n_warmup_steps=validations // WARMUP)
        elif self.sweep.prune == "halving":
            first = max(1, validations // REDUCTION**2)
            made = pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=REDUCTION)
        return optuna().create_study(
            storage=self._storage, study_name=name, direction="maximize", pruner=made, load_if_exists=True
        )

    def trials(self) -> dict[int, FrozenTrial]:
        """The trial that counts of each slot that has one, in order."""
        found: dict[int, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if not (trial.state.name == "FAIL" and CUT_OFF in trial.user_attrs):
                found.setdefault(trial.user_attrs[SLOT], trial)
        return dict(sorted(found.items()))

    def fill(self) -> dict[int, FrozenTrial]:
        """Give each slot that has no trial one that waits; returns :meth:`trials`."""
        found = self.trials()
        all_trials = self.study.get_trials(deepcopy=False)
        slots = {trial.user_attrs[SLOT] for trial in all_trials} | {*range(self.sweep.trials)}
        if not (empty := sorted(slots - found.keys())):
            return found
        before = {trial.user_attrs[SLOT]: self._params(trial) for trial in all_trials}
        grid = dict(enumerate(self.sweep.space.grid())) if self.sweep.method == "grid" else {}
        for slot in empty:
            self.study.enqueue_trial(dict(before.get(slot) or grid.get(slot) or {}), user_attrs={SLOT: slot})
        return self.trials()

    def claim(self) -> Claim | None:
        """A trial for this process to work on, that of a dead one if there is any; None: none is left for it."""
        running, waiting = (optuna().trial.TrialState[name] for name in ("RUNNING", "WAITING"))
        for trial in self.fill().values():
            if trial.state == running and self._dead(trial):
                self.cut_off(trial.number)
        for slot, trial in self.fill().items():
            if trial.state == waiting and (claim := self._take(slot, trial)) is not None:
                return claim
        return None

    def unfinished(self) -> int:
        """How many trials are not over yet."""
        return sum(not trial.state.is_finished() for trial in self.fill().values())

    def cut_off(self, number: int) -> None:
        """Mark a trial as cut off, if it is not over yet; its slot is free again."""
        state, over = optuna().trial.TrialState, optuna().exceptions.UpdateFinishedTrialError
        with suppress(over):
            number_id = self._trial_id(number)
            self._storage.set_trial_user_attr(number_id, CUT_OFF, True)
            self._storage.set_trial_state_values(number_id, state.FAIL)

    def _take(self, slot: int, trial: FrozenTrial) -> Claim | None:
        lock = self._lock_of(trial) if self._locks else None
        if lock is not None and not lock.take():
            return None
        try:
            state, number = optuna().trial.TrialState, self._trial_id(trial.number)
            won = False
            with suppress(optuna().exceptions.UpdateFinishedTrialError):
                won = self._storage.set_trial_state_values(number, state.RUNNING)
            if not won:
                return None
            if self._home is not None:
                self._storage.set_trial_user_attr(number, HOME, self._home)
            self.study.sampler = self._sampler(slot)
            taken = optuna().trial.Trial(self.study, number)
            claim = Claim(slot, self.sweep.space.suggest(taken), taken, self, lock)
            lock = None
            return claim
        finally:
            if lock is not None:
                lock.release()

    def _sampler(self, slot: int) -> Any:
        """What draws the point of a slot: with a seed of its own, so that no two processes draw the same."""
        seed = int(sequence(self.sweep.seed, "sweep", slot).generate_state(1)[0])
        samplers = optuna().samplers
        if self.sweep.method != "tpe":
            return samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings(action="ignore", category=optuna().exceptions.ExperimentalWarning):
            return samplers.TPESampler(seed=seed, constant_liar=True)  # trials under way count as bad ones

    def _dead(self, trial: FrozenTrial) -> bool:
        """Whether the process that works on a trial is gone."""
        if self._locks and (self._shared or trial.user_attrs.get(HOME) == self._home):
            lock = self._lock_of(trial)
            if not lock.take():
                return False
            try:
                return not self._storage.get_trial(self._trial_id(trial.number)).state.is_finished()
            finally:
                lock.release()
        life, now = trial.user_attrs.get(LIFE), time.monotonic()
        before, since = self._seen.setdefault(trial.number, (life, now))
        if life != before:
            self._seen[trial.number] = life, now
            return False
        return now - since > SILENT

    def _lock_of(self, trial: FrozenTrial) -> FileLock:
        return FileLock(self.folder / "locks" / str(trial.number))

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    @staticmethod
    def _params(trial: FrozenTrial) -> Params:
        return trial.params or trial.system_attrs.get("fixed_params", {})


def _home(folder: Path) -> str:
    """A name of this folder that no other has, the same for all who share it."""
    path = folder / "home"
    own = folder / f".home.{os.getpid()}.tmp"
    own.write_text(uuid.uuid4().hex)
    try:
        with suppress(FileExistsError):
            os.link(own, path)
    finally:
        own.unlink()
    return path.read_text()

"""Where the numbers of a run go: always a line of JSON in the run folder, and Weights & Biases when asked.

The x-axis is ``env_steps``, the environment steps so far over all environments, unless a run names another. Reports
read the local file; Weights & Biases is best effort, and a run never stops because of it.
"""

from __future__ import annotations

import json
import numbers
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from metarl.config import InputError, choice
from metarl.files import replacing
from metarl.runs.aside import Aside
from metarl.types import LARGEST

Metrics = Mapping[str, float | int | None]
WandbMode = Literal["disabled", "offline", "online"]

STEP = "env_steps"
PROJECT = "metarl"  # the project of Weights & Biases
TIMEOUT = 10.0  # seconds to wait for its server at the start
CALL_SECONDS = 60.0  # no call of Weights & Biases takes longer, unless its own process hangs
ROOM = 10_000  # calls that may wait for the one under way


class Tracker:
    """Writes what a run reports to ``metrics.jsonl``, one JSON object a line, and to Weights & Biases when asked.

    Each row has ``time``, the seconds since the start. Weights & Biases gets what is logged here, and nothing about the
    machine, the code, the environment or the console. It is called in a thread of its own, so that training never waits
    for it: when it fails or hangs, or is too slow, a line says so and the run goes on without it.

    Args:
        folder: the run folder, whose name the run gets; offline, Weights & Biases writes to ``wandb/`` in it for a
            later ``wandb sync``.
        mode: of Weights & Biases; "online" falls back to "offline" when the server does not answer within
            :data:`TIMEOUT` or no key is configured.
        config: the nested options; numbers stay numbers.
        group: a name that runs share which differ only in their seed.
        axis: the name of the x-axis.
        rows: go on after this many rows of a ``metrics.jsonl`` that is there; None: a new one.
        run_id: the id of the run at Weights & Biases, the same where a run is resumed; None: a new one.
        echo: is given each row as one line of text; None: nothing is.

    Raises:
        ConfigError: there is no such mode.
        FileExistsError: ``folder`` holds a ``metrics.jsonl``; another run's is never added to.
    """

    def __init__(
        self,
        folder: str | Path,
        mode: WandbMode = "disabled",
        config: Mapping[str, Any] | None = None,
        *,
        group: str | None = None,
        axis: str = STEP,
        rows: int | None = None,
        run_id: str | None = None,
        echo: Callable[[str], object] | None = None,
    ):
        choice(mode, get_args(WandbMode), "the Weights & Biases mode")
        path = Path(folder) / "metrics.jsonl"
        self._axis, self._last, self._start, self.rows = axis, 0, time.perf_counter(), 0
        self._echo = echo
        if rows is not None:
            self._take_up(path, rows)
        try:
            self._file = path.open("x" if rows is None else "a", encoding="utf-8")
        except FileExistsError:
            raise FileExistsError(f"{path} exists and belongs to another run; make a new run folder") from None
        self._aside: Aside | None = None  # None without Weights & Biases, and once it has failed
        if mode == "disabled":
            return
        name = Path(folder).resolve().name
        where = {"project": PROJECT, "name": name, "group": group, "job_type": "train", "dir": str(folder)}
        where |= {"id": run_id} | ({} if rows is None else {"resume": "allow"})
        self._wandb: Any = None
        self._run: Any = None
        self._saying = threading.Lock()
        self._aside = Aside(self._give_up, ROOM)
        self._wait_for(lambda: self._init(mode, {**where, "config": dict(config or {})}))

    def _init(self, mode: str, options: Mapping[str, Any]) -> None:
        self._wandb = _import_wandb()
        # The first line silences what is said before a run exists (which key was found, and where).
        self._wandb.setup(settings=self._wandb.Settings(silent=True))
        _limit_exit()
        settings = self._wandb.Settings(
            silent=True,
            console="off",
            init_timeout=TIMEOUT,
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
                self._run = self._wandb.init(mode="online", settings=settings, **options)
            except Exception as error:
                _say(f"Weights & Biases is out of reach ({_reason(error)}); logging offline to {options['dir']}/wandb")
        if self._run is None:
            self._run = self._wandb.init(mode="offline", settings=settings, **options)
        self._run.define_metric(self._axis)
        self._run.define_metric("*", step_metric=self._axis)

    def __repr__(self) -> str:
        return f"Tracker({self._file.name!r})"

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Keep ``metrics``, measured at ``step`` of the x-axis: a line is written at once.

        NumPy numbers become Python's; NaN and what is larger than :data:`metarl.types.LARGEST` become None.

        Args:
            metrics: by name.
            step: the value of the x-axis.

        Raises:
            InputError: ``step`` is smaller than the one before, or a metric has the name of the x-axis.
            TypeError: a metric is no number or None.
        """
        if step < self._last:
            raise InputError(key=self._axis, given=step, expected=f"{self._last} or more, as the step before")
        if self._axis in metrics:
            problem = f"a metric is called {self._axis!r}, which is the x-axis"
            raise InputError(problem, key=self._axis, remedy="pass it as step=")
        timed = {"time": round(time.perf_counter() - self._start, 3), **metrics}
        row = {self._axis: int(step)} | {name: _plain_value(name, value) for name, value in timed.items()}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        self._last = int(step)
        self.rows += 1
        if self._echo is not None:
            told = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in row.items()}
            self._echo(", ".join(f"{name} {value}" for name, value in told.items() if value is not None))
        self._later(lambda run: run.log(row))

    def sync(self) -> None:
        """Put the rows on the disk, so that a checkpoint never knows of more rows than there are."""
        os.fsync(self._file.fileno())

    def _take_up(self, path: Path, rows: int) -> None:
        """Cut a file back to its first ``rows``, and go on with its time and step."""
        kept = path.read_bytes().splitlines(keepends=True)[:rows] if path.exists() else []
        with replacing(path, sealed=False) as temporary:
            temporary.write_bytes(b"".join(kept))
        self.rows = len(kept)
        if kept:
            last = json.loads(kept[-1])
            self._last, self._start = int(last[self._axis]), self._start - float(last["time"])

    def log_artifact(self, path: str | Path, name: str, kind: str) -> None:
        """Send a file of the run folder to Weights & Biases.

        Args:
            path: the file.
            name: of the artifact, such as "checkpoint".
            kind: such as "model".
        """
        self._later(lambda run: run.log_artifact(str(path), name=name, type=kind))

    def log_image(self, path: str | Path, name: str) -> None:
        """Send an image of the run folder to Weights & Biases, at the last step."""
        step = self._last
        self._later(lambda run: run.log({self._axis: step, name: self._wandb.Image(str(path))}))

    def log_video(self, path: str | Path, name: str) -> None:
        """Send an animation of the run folder, a GIF or MP4 file, to Weights & Biases, at the last step."""
        step = self._last
        self._later(lambda run: run.log({self._axis: step, name: self._wandb.Video(str(path))}))

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Put results of the run as a whole, nested plain data, into the summary of Weights & Biases."""
        self._later(lambda run: run.summary.update(dict(values)))

    def finish(self, status: str) -> None:
        """End; ``status`` is "finished", which alone counts as a success, "interrupted" or "failed"."""
        self._file.close()

        def end() -> None:
            self._run.summary.update({"status": status})
            self._run.finish(exit_code=0 if status == "finished" else 1)

        self._wait_for(end)
        aside = self._aside
        if aside is not None and aside.dropped:
            _say(f"Weights & Biases was too slow for {aside.dropped} of the rows; metrics.jsonl has them all")
        self._leave()

    def _later(self, action: Callable[[Any], object]) -> None:
        """Have ``action`` called with the run of Weights & Biases, as soon as it can be."""
        aside = self._aside
        if aside is not None and aside.hangs(CALL_SECONDS):
            self._hung()
        elif aside is not None:
            aside.put(lambda: action(self._run))

    def _wait_for(self, call: Callable[[], object]) -> None:
        aside = self._aside
        if aside is not None and not aside.wait_for(call, CALL_SECONDS):
            self._hung()

    def _hung(self) -> None:
        self._give_up(TimeoutError(f"no answer for {CALL_SECONDS:g} s"), kill=True)

    def _give_up(self, error: Exception, kill: bool = False) -> None:
        with self._saying:
            if self._aside is not None:
                _say(f"Weights & Biases failed ({_reason(error)}); going on without it")
                dropping = threading.Thread(target=_drop_core, args=(self._wandb, kill), daemon=True)
                dropping.start()
                dropping.join(1.0)  # it waits for wandb's own lock
                self._leave()

    def _leave(self) -> None:
        aside, self._aside = self._aside, None
        if aside is not None:
            aside.end()


def _plain_value(name: str, value: object) -> float | int | None:
    if value is None:
        return None
    if not isinstance(value, numbers.Real):
        raise TypeError(f"the metric {name!r} is a {type(value).__name__}, expected a number or None")
    number = int(value) if isinstance(value, numbers.Integral) else float(value)
    return number if -LARGEST <= number <= LARGEST else None  # NaN is neither


def _import_wandb() -> ModuleType:
    """The one place that imports wandb, so that nothing pays for it unless asked."""
    import wandb

    return wandb


@cache
def _limit_exit() -> None:
    """Once a process: as Python exits, wandb waits for its core without end; one that hangs is killed."""

    def limit() -> None:
        threading.main_thread().join()
        time.sleep(CALL_SECONDS)
        _drop_core(sys.modules.get("wandb"), kill=True)

    threading.Thread(target=limit, daemon=True).start()


def _drop_core(wandb: Any, kill: bool) -> None:
    """Kill wandb's own process, for which it has no function; of a dead one, remove its handler at exit."""
    with suppress(Exception):  # private attributes, which may change
        connection = wandb.setup()._connection
        core = connection._proc._process
        if kill:
            core.kill()
        if kill or core.poll() is not None:
            connection._cleanup()


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _say(message: str) -> None:
    print(f"metarl: {message}", file=sys.stderr, flush=True)

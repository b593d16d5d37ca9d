"""``metarl train --seeds``: the same training with several seeds, each in a run folder of its own."""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from metarl.cli.completion import RUNS
from metarl.cli.outcome import run_json
from metarl.cli.table import print_table
from metarl.cli.terminal import FAILED, OK, at_least, checked, in_one_line, short_warnings
from metarl.config import ConfigError, InputError
from metarl.types import NonFiniteError

if TYPE_CHECKING:
    from metarl.evaluation.results import Evaluation
    from metarl.experiments.base import Experiment


@dataclass(frozen=True)
class Outcome:
    """What came of one seed.

    Args:
        evaluation: None where the run failed or was stopped.
        error: why it failed, in one line.
        signal: that stopped it.
    """

    seed: int
    folder: Path
    evaluation: Evaluation | None = None
    error: str | None = None
    signal: int | None = None


@dataclass(frozen=True)
class Several:
    """What is trained.

    Args:
        experiment: checked.
        seeds: each of a training of its own.
        out: what the names of the run folders begin with; None: ``runs/NAME-TIME``.
        jobs: trainings side by side.
        imports: modules that register environments or memories, for the other processes.
        talk: the options of :func:`metarl.experiments.run.run` that say what is told where.
        json: whether a line of JSON is printed for each run, and nothing else.
    """

    experiment: Experiment
    seeds: Sequence[int]
    out: Path | None = None
    jobs: int = 1
    imports: tuple[str, ...] = ()
    talk: Mapping[str, Any] = field(default_factory=dict)
    json: bool = False


def add_seeds(command: argparse._ActionsContainer, about: str) -> None:
    """The option ``--seeds``, for :func:`named_seeds`."""
    told = (
        f"{about}; one number N means the seeds 0 to N - 1 (as in --seeds 3); several numbers are the seeds "
        "themselves (as in --seeds 4 7)"
    )
    command.add_argument("--seeds", type=at_least(0), nargs="+", metavar="N", help=told)


def named_seeds(given: Sequence[int]) -> list[int]:
    """The seeds of ``--seeds``: so many from 0 on where there is one number, else these.

    Raises:
        ConfigError: there would be none, or one is given twice.

    >>> named_seeds([3]), named_seeds([4, 7])
    ([0, 1, 2], [4, 7])
    """
    seeds = list(range(given[0])) if len(given) == 1 else list(given)
    if not seeds or len({*seeds}) < len(seeds):
        expected = "how many, such as 3, or different seeds, such as 0 1 2"
        raise ConfigError(key="--seeds", given=" ".join(map(str, given)), expected=expected)
    return seeds


def train_seeds(several: Several) -> int:
    """Train with each seed, go on with what was begun before, and print a table; returns the exit status."""
    from metarl.experiments.resume import check_same
    from metarl.runs.folder import RunFolder

    experiment, quiet = several.experiment, several.json or bool(several.talk.get("quiet"))
    stem = str(several.out or RUNS / f"{experiment.name or experiment.kind}-{datetime.now():%Y%m%d-%H%M%S}")
    for seed in several.seeds:  # nothing is trained before all folders are known to fit
        if begun(path := folder_of(stem, seed)):
            checked(partial(check_same, experiment.config() | {"seed": seed}, checked(partial(RunFolder.open, path))))
        elif path.exists() and not path.is_dir():
            checked(partial(RunFolder.create_at, path))
    if not quiet:
        print(experiment.describe())
        print(
            f"training {len(several.seeds)} seeds in {stem}-s*; the same command with --out {stem} goes on", flush=True
        )
    attempt = partial(train_seed, experiment, stem, several.talk)
    outcomes = []
    for outcome in one_by_one(attempt, several) if several.jobs == 1 else side_by_side(attempt, several, stem):
        outcomes.append(outcome)
        if several.json:
            print(run_json(outcome.folder, outcome.seed, outcome.evaluation, outcome.signal, outcome.error), flush=True)
        elif quiet:
            print(outcome.folder, flush=True)
        elif len(outcomes) < len(several.seeds):
            print(f"seed {outcome.seed}: {result(outcome)}", flush=True)
    if not quiet:
        tell_seeds(sorted(outcomes, key=lambda one: several.seeds.index(one.seed)), stem)
    stopped = [one.signal for one in outcomes if one.signal is not None]
    return 128 + stopped[0] if stopped else FAILED if any(one.error for one in outcomes) else OK


def folder_of(stem: str, seed: int) -> Path:
    """The run folder of a seed."""
    return Path(f"{stem}-s{seed}")


def begun(path: Path) -> bool:
    """Whether there is a run in a folder."""
    return (path / "config.json").is_file()


def train_seed(experiment: Experiment, stem: str, talk: Mapping[str, Any], seed: int) -> Outcome:
    """Train with one seed, or go on with it; a finished run is left as it is.

    Args:
        experiment: what is trained.
        stem: what the name of the run folder begins with.
        talk: as in :class:`Several`.
        seed: of the training.
    """
    from metarl.evaluation.results import read_evaluation
    from metarl.experiments.run import new_folder, run
    from metarl.runs.folder import RunFolder
    from metarl.runs.session import Stopped

    path = folder_of(stem, seed)
    try:
        again = begun(path)
        folder = RunFolder.open(path) if again else new_folder(experiment, path, seed)
        if again and folder.status["status"] == "finished" and (known := read_evaluation(folder)) is not None:
            return Outcome(seed, path, known)
        done = run(experiment, folder, seed=seed, resume=again, **talk)
    except Stopped as error:
        return Outcome(seed, path, signal=error.number)
    except (NonFiniteError, InputError, OSError) as error:  # the other seeds may do better
        return Outcome(seed, path, error=in_one_line(error))
    return Outcome(seed, path, done.evaluation, signal=done.signal)


def one_by_one(attempt: Callable[[int], Outcome], several: Several) -> Iterator[Outcome]:
    """Train in this process, until a signal stops one."""
    for seed in several.seeds:
        outcome = attempt(seed)
        yield outcome
        if outcome.signal is not None:
            return


def side_by_side(attempt: Callable[[int], Outcome], several: Several, stem: str) -> Iterator[Outcome]:
    """Train in processes; a signal is passed on to those under way, and no other is begun.

    Args:
        attempt: trains with a seed.
        several: the seeds, and how many at a time.
        stem: what the names of the run folders begin with.
    """
    from metarl.runs.session import handling

    others = {*multiprocessing.active_children()}
    context = multiprocessing.get_context("spawn")  # a fork would share the threads of torch
    pool = ProcessPoolExecutor(min(several.jobs, len(several.seeds)), context, _prepare, (several.imports,))
    signals: list[int] = []

    def forward(number: int, frame: object) -> None:
        signals.append(number)
        for process in {*multiprocessing.active_children()} - others:
            if process.pid is not None:  # it has begun
                with suppress(ProcessLookupError):  # it has ended
                    os.kill(process.pid, number)

    left, waiting = list(several.seeds), dict[Future[Outcome], int]()
    with handling(forward), pool:
        while waiting or (left and not signals):
            while left and len(waiting) < several.jobs and not signals:
                seed = left.pop(0)
                waiting[pool.submit(_beside, attempt, seed)] = seed
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                seed = waiting.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    left.clear()
                    error = None if signals else "its process was killed"
                    yield Outcome(seed, folder_of(stem, seed), error=error, signal=signals[0] if signals else None)


_ended: list[int] = []
"""Signals that this process got before or after a training."""


def _prepare(imports: Sequence[str]) -> None:
    """Set up a process: signals come from the parent alone, and without it nothing goes on."""
    from metarl.cli.env import look_here
    from metarl.runs.session import SIGNALS
    from metarl.tasks.vector.process import end_with_parent

    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: _ended.append(number))
    threading.Thread(target=end_with_parent, daemon=True).start()
    look_here(imports)


def _beside(attempt: Callable[[int], Outcome], seed: int) -> Outcome:
    """:func:`train_seed` in a process beside others: what it tells on stderr is marked with its seed."""
    sys.stderr = Marked(sys.__stderr__, f"seed {seed}: ")
    with short_warnings():
        outcome = attempt(seed)
    return Outcome(seed, outcome.folder, signal=_ended[0]) if _ended and outcome.evaluation is None else outcome


class Marked(io.TextIOBase):
    """Text to another file, each line with a mark before it; no terminal, so that it gets plain lines."""

    def __init__(self, out: TextIO | None, mark: str) -> None:
        self._out, self._mark, self._begun = out, mark, ""

    def write(self, text: str) -> int:
        """Write the lines that are whole."""
        *lines, self._begun = (self._begun + text).split("\n")
        if self._out is not None and lines:
            self._out.write("".join(f"{self._mark}{line}\n" for line in lines))
            self._out.flush()
        return len(text)


def result(outcome: Outcome) -> str:
    """What came of a seed, in a few words."""
    from metarl.report.score import score

    if outcome.evaluation is not None:
        return str(score(outcome.evaluation))
    return f"failed: {outcome.error}" if outcome.error is not None else "interrupted"


def tell_seeds(outcomes: Sequence[Outcome], stem: str) -> None:
    """Print a table of all seeds, and their mean."""
    import numpy as np

    from metarl.evaluation.pooling import NORMAL95, mean_over_seeds
    from metarl.evaluation.results import AgentEvaluation
    from metarl.report.agent import best_reference, ends_of_scale, mean_return, return_unit, share
    from metarl.report.score import score, shown

    rows = []
    for one in outcomes:
        row: dict[str, Any] = {"seed": str(one.seed), "result": result(one)}
        if isinstance(one.evaluation, AgentEvaluation) and (best := best_reference(one.evaluation)):
            unit = return_unit([one.evaluation])
            ends = ends_of_scale(one.evaluation, unit)
            row |= {"of the way": f"{share(mean_return(one.evaluation, unit), ends)} random to {best}"}
        rows.append(row | {"run folder": str(one.folder)})
    names = dict.fromkeys(name for row in rows for name in row)
    print_table([{name: row.get(name, "") for name in names} for row in rows])
    scores = [score(one.evaluation) for one in outcomes if one.evaluation is not None]
    if len(scores) > 1 and len({one.name for one in scores}) == 1:
        means, halves = (np.array([getattr(one, name) for one in scores]) for name in ("mean", "half"))
        mean, half = mean_over_seeds(means, halves / NORMAL95, shared=False)
        told = " ± ".join(shown(scores[0].name, float(value)) for value in (mean, half))
        print(f"mean of {len(scores)} seeds: {scores[0].name} {told} (95 % interval over tasks and seeds)")
    if scores:
        print(f"metarl report {stem}-s* draws them together")

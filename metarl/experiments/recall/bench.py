"""Many cells of the recall benchmark, several at a time; each result is written at once and never measured again."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from importlib import import_module
from pathlib import Path

from metarl.config import ConfigError
from metarl.evaluation.recall import RecallCell, RecallResult
from metarl.evaluation.results import RecallEvaluation, read_evaluation, write_evaluation
from metarl.experiments.recall.experiment import measure, options_of
from metarl.files import remove_left
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.progress import Progress, say
from metarl.tasks.vector.process import end_with_parent

FILE = "recall.json"
Outcome = RecallResult | FloatingPointError  # the result of a cell, or the error where a number was not finite


def complete(
    cells: Sequence[RecallCell], folder: str | Path, *, jobs: int = 1, imports: Sequence[str] = (), device: str = "cpu"
) -> list[RecallResult]:
    """Measure the cells that ``folder`` has no result for, and return the results of all, in their order.

    A line is printed for each finished cell, above a progress bar where stderr is a terminal.

    Args:
        cells: what to measure.
        folder: where ``recall.json`` is, or will be; it is written after every cell.
        jobs: cells at a time; with 1, they are measured in this process.
        imports: modules that register parts of memories, for the other processes.
        device: the torch device.

    Raises:
        ConfigError: ``recall.json`` is damaged, or a memory can't be given as many parameters.
        RunError: another process works in the folder.
        FloatingPointError: some cells met numbers that are not finite; the others are done and kept.
    """
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with RunFolder(path.parent).locked():
        remove_left(path.parent.glob(".recall.*.tmp"))
        return _completed(cells, path, jobs, imports, device)


def _completed(
    cells: Sequence[RecallCell], path: Path, jobs: int, imports: Sequence[str], device: str
) -> list[RecallResult]:
    kept = read(path)
    done = [result.cell for result in kept]
    todo = [cell for cell in cells if cell not in done]
    for cell in todo:
        options_of(cell)  # what can't be measured is refused before hours have gone by
    failed: list[str] = []
    with Progress("measuring", len(cells), "cell", begun=len(cells) - len(todo)) as progress:
        for cell, outcome in run(todo, jobs, imports, device):
            if isinstance(outcome, RecallResult):
                kept.append(outcome)
                write_evaluation(path, RecallEvaluation(results=tuple(kept)))
                line = described(outcome)
            else:
                failed.append(f"{cell.task} by {cell.memory}")
                line = f"{cell.task:16} {cell.memory:24} failed: {outcome}"
            say(line, sys.stdout)
            progress.add()
    if failed:
        raise FloatingPointError(f"{len(failed)} cells met numbers that are not finite: {', '.join(failed)}")
    return [next(result for result in kept if result.cell == cell) for cell in cells]


def run(
    cells: Sequence[RecallCell], jobs: int = 1, imports: Sequence[str] = (), device: str = "cpu"
) -> Iterator[tuple[RecallCell, Outcome]]:
    """Measure cells in processes, and yield each when it is done.

    When the generator is closed early, its processes end too.

    Args:
        cells: to measure.
        jobs: cells measured at the same time.
        imports: modules that register memories, for the processes.
        device: the torch device.
    """
    attempt = partial(_attempt, device=device)
    if jobs == 1 or len(cells) < 2:
        for cell in cells:
            yield cell, attempt(cell)
        return
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")  # a fork would share the threads of torch
    pool = ProcessPoolExecutor(min(jobs, len(cells)), context, _prepare, (tuple(imports),))
    try:
        waiting = {pool.submit(attempt, cell): cell for cell in cells}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()).difference(others):
            process.terminate()  # those of cells under way, where the generator is closed early


def described(result: RecallResult) -> str:
    """A result in a line."""
    cell = result.cell
    return (
        f"{cell.task:16} {cell.memory:24} {result.accuracy:7.2%} ± {1.96 * result.se:.2%} (chance {result.chance:.1%}) "
        f"after {result.updates:,} updates, {result.seconds:.0f} s, {result.parameters:,} parameters, seed {cell.seed}"
    )


def read(path: Path) -> list[RecallResult]:
    """The results in a file; none where there is no file yet.

    Raises:
        ConfigError: the file is damaged, or holds something else.
    """
    try:
        kept = read_evaluation(path)
    except RunError as error:
        reason = str(error).partition(";")[0]
        raise ConfigError(f"{reason}; expected results of the benchmark: move it away or give another folder") from None
    if kept is not None and not isinstance(kept, RecallEvaluation):
        raise ConfigError(f"{path} holds no results of the recall benchmark; move it away or give another folder")
    return [] if kept is None else list(kept.results)


def _attempt(cell: RecallCell, device: str) -> Outcome:
    try:
        return measure(cell, device=device)
    except FloatingPointError as error:
        return error


def _prepare(imports: Sequence[str]) -> None:
    """Set up a worker process; only the parent handles an interrupt, and without it nothing goes on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    for module in imports:
        import_module(module)

"""Many cells, some at a time in processes of their own; each result is kept at once, and none is measured twice."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from metarl.bench.recall import Cell, Result, measure, options_of
from metarl.config import build
from metarl.files import replacing

FILE = "recall.json"
Outcome = Result | FloatingPointError
"""What came of a cell; the error where a number was not finite."""


def complete(
    cells: Sequence[Cell],
    folder: str | Path,
    *,
    jobs: int = 1,
    imports: Sequence[str] = (),
) -> list[Result]:
    """Measure those cells that ``folder`` has no result of, and give the results of all, in their order.

    A line is printed for each that is done, above a progress bar where somebody looks.

    Args:
        cells: what to measure.
        folder: where ``recall.json`` is, or will be; it is written anew after every cell.
        jobs: cells at a time; one is measured in this process.
        imports: modules that register parts of memories, for the processes.

    Raises:
        ValueError: ``recall.json`` is damaged, or a candidate can't be given so many parameters.
        FloatingPointError: some cells met numbers that are not finite; the others are done and kept.
    """
    from tqdm import tqdm

    path = Path(folder) / FILE
    kept = read(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    done = [result.cell for result in kept]
    todo = [cell for cell in cells if cell not in done]
    for cell in todo:
        options_of(cell)  # what can't be measured is said before hours have gone by
    failed: list[str] = []
    here = len(cells) - len(todo)
    with tqdm(total=len(cells), initial=here, unit="cell", disable=not sys.stderr.isatty()) as bar:
        for cell, outcome in run(todo, jobs, imports):
            if isinstance(outcome, Result):
                kept.append(outcome)
                write(path, kept)
                line = described(outcome)
            else:
                failed.append(f"{cell.task} by {cell.memory}")
                line = f"{cell.task:16} {cell.memory:24} failed: {outcome}"
            bar.write(line)
            bar.update()
    if failed:
        raise FloatingPointError(f"{len(failed)} cells met numbers that are not finite: {', '.join(failed)}")
    return [next(result for result in kept if result.cell == cell) for cell in cells]


def run(cells: Sequence[Cell], jobs: int = 1, imports: Sequence[str] = ()) -> Iterator[tuple[Cell, Outcome]]:
    """Measure ``cells``, ``jobs`` of them at a time, and give each when it is done.

    Where the caller goes away before the end, so do the processes.
    """
    if jobs == 1 or len(cells) < 2:
        for cell in cells:
            yield cell, _attempt(cell)
        return
    others = {process.pid for process in multiprocessing.active_children()}
    context = multiprocessing.get_context("spawn")  # a fork would share the threads of torch
    pool = ProcessPoolExecutor(min(jobs, len(cells)), context, _prepare, (tuple(imports),))
    try:
        waiting = {pool.submit(_attempt, cell): cell for cell in cells}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            if process.pid not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown()


def described(result: Result) -> str:
    """A result in a line."""
    cell = result.cell
    return (
        f"{cell.task:16} {cell.memory:24} {result.accuracy:7.2%} ± {1.96 * result.se:.2%} (chance {result.chance:.1%}) "
        f"after {result.updates:,} updates, {result.seconds:.0f} s, {result.parameters:,} parameters, seed {cell.seed}"
    )


def read(path: str | Path) -> list[Result]:
    """The results of a file; none where there is no file yet.

    Raises:
        ValueError: the file is damaged, or was not written by :func:`write`.
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, list):
            raise TypeError("expected a JSON list")
        return [build(Result, item, "result") for item in data]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} holds no results of the benchmark: {error}; move it away or give another folder"
        ) from None


def write(path: str | Path, results: Sequence[Result]) -> None:
    """Write results to a file, whole or not at all."""
    with replacing(path) as temporary:
        text = json.dumps([asdict(result) for result in results], indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _attempt(cell: Cell) -> Outcome:
    try:
        return measure(cell)
    except FloatingPointError as error:
        return error


def _prepare(imports: Sequence[str]) -> None:
    """In a process of its own: an interrupt is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in imports:
        import_module(module)

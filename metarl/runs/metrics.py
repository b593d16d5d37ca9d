"""The metrics of a run of any length, read line by line: thinned to what can be seen in a drawing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from metarl.runs.folder import RunError
from metarl.runs.rows import Row, read_rows

ROWS = 4000  # kept of a run: more than a drawing has pixels
LINE = 2**16  # bytes of the longest line that is read


def read_metrics(
    path: str | Path, means: Collection[str], last: Collection[str], most: int = ROWS
) -> list[dict[str, float]]:
    """The numbers of a ``metrics.jsonl``, oldest first.

    Of a longer file neighbouring lines are put together. Lines that are no rows of numbers, or go back, are left out
    with a UserWarning that counts them; a last line cut short by a crash is left out, as in
    :meth:`metarl.runs.folder.RunFolder.metrics`.

    Args:
        path: the file; where there is none, there are no rows.
        means: the names of numbers that are averaged over neighbouring lines.
        last: the names of those that only grow, of which the last is kept.
        most: rows that are returned.

    Returns:
        The numbers of these names; a row may lack any of them.

    Raises:
        RunError: ``path`` is something else than a file.
    """
    path = Path(path)
    if not path.exists():
        return []
    if not path.is_file():
        raise RunError(f"{path} is no regular file", key=str(path), expected="a file")
    names = (*last, *means)
    rows: list[dict[str, float]] = []
    block: list[Row] = []
    bad = 0
    with path.open("rb") as file:
        count = sum(part.count(b"\n") for part in iter(partial(file.read, LINE), b""))
        file.seek(0)
        size = max(1, math.ceil(count / most))
        for row in read_rows(_lines(file)):
            if isinstance(row, ValueError):
                bad += 1
                continue
            block.append({name: row[name] for name in names if name in row})
            if len(block) == size:
                rows.append(_together(block, means, last))
                block = []
    if block:
        rows.append(_together(block, means, last))
    if bad:
        what = f"{path} is damaged: {bad} of its {count} lines are no rows of numbers and were left out"
        warnings.warn(what, UserWarning, stacklevel=2)
    return rows


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines that are whole; nothing in the place of one that is too long."""
    while line := file.readline(LINE):
        if line.endswith(b"\n"):
            yield line
        elif len(line) == LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE)
            yield b""


def _together(block: Sequence[Row], means: Collection[str], last: Collection[str]) -> dict[str, float]:
    """One row for several: means, and the last of the other numbers."""
    row: dict[str, float] = {}
    for name in (*last, *means):
        values = [value for one in block if (value := one.get(name)) is not None]
        if len(values) > 1 and name in means:
            row[name] = sum(values) / len(values)
        elif values:
            row[name] = values[-1]
    return row

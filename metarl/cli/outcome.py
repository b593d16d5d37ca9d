"""What came of a training or an evaluation: for people as a table that fits their terminal, for programs as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Drawn

    from metarl.evaluation.results import Evaluation
    from metarl.report.tables import Cells, Table

GAP = 3  # columns between two columns of a table
NARROW = 10  # columns of values to which a head is wrapped where there is little room


def run_json(
    folder: Path, seed: int, evaluation: Evaluation | None, signal: int | None = None, error: str | None = None
) -> str:
    """What came of a training, as one line of JSON.

    Args:
        folder: of the run.
        seed: of the training.
        evaluation: on test tasks, where the run came to its end.
        signal: that ended it early.
        error: why it failed.
    """
    from metarl.config import to_plain
    from metarl.runs.folder import RunError, RunFolder
    from metarl.runs.status import cut_short

    try:
        run = RunFolder.open(folder)
        config, status = run.config, run.status
    except RunError:  # it failed before it began
        config, status = {}, {}
    told: dict[str, Any] = {"run": str(folder), "seed": seed}
    told["status"] = "failed" if error else "interrupted" if signal is not None else "finished"
    told |= {"signal": signal, "error": error}
    told |= {"steps": int(status.get("train_steps", 0)), "seconds": float(status.get("train_seconds", 0.0))}
    told["cut_short"] = cut_short(config, status) if status else None
    told["evaluation"] = None if evaluation is None else to_plain(evaluation)
    return json.dumps(told)


def print_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print the results: fitted to a terminal of any width; elsewhere as plain text of at most 100 columns.

    Args:
        evaluation: of any kind.
        console: None: standard output.
    """
    from metarl.report.tables import evaluation_table, table_of

    if console is None and not sys.stdout.isatty():
        print(evaluation_table(evaluation))
        return
    from rich.console import Console
    from rich.text import Text

    console = console or Console()  # which obeys NO_COLOR and TERM
    table = table_of(evaluation)
    console.print(Text(table.title, style="bold"), overflow="fold")
    console.print()
    for drawn in _drawn(table, console):
        console.print(drawn)
    for note in table.notes:
        console.print(Text(note, style="dim"), overflow="fold")


def _drawn(table: Table, console: Console) -> list[Any]:
    """The table, and after it the parts with columns of their own; too narrow ones have each row in lines."""
    common = [part for part in table.parts if not part.head]
    found: list[Any] = []
    if common:
        groups = [(part.name, part.rows) for part in common]
        found.append(_fitted(table.head, groups, console))
    found += [_fitted(part.head, [(part.name, part.rows)], console) for part in table.parts if part.head]
    return found


def _fitted(head: Cells, groups: list[tuple[str, list[Cells]]], console: Console) -> Any:
    """Columns, whose heads and names are wrapped between words where that is needed; lines where it isn't enough."""
    rows = [row for _, part in groups for row in part]
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    least = [max((len(word) for cell in column for word in cell.split()), default=1) for column in columns[:1]]
    for name, column in zip(head[1:], columns[1:], strict=True):
        least.append(max([1, *map(len, column), *map(len, name.split())]))
    room = console.width - GAP * len(head)  # rich keeps some at the edges
    if sum(least) > room:
        return _lines(head, groups)
    names = max(map(len, columns[0]), default=1)
    whole = names + sum(max(len(name), wide) for name, wide in zip(head[1:], least[1:], strict=True)) <= room
    wider = [least[0], *(max(wide, NARROW) for wide in least[1:])]
    return _columns(head, groups, least, None if whole else wider if sum(wider) <= room else least)


def _columns(head: Cells, groups: list[tuple[str, list[Cells]]], least: list[int], most: list[int] | None) -> Drawn:
    """A table whose columns have at least and at most these widths; None where each head has room in a line."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    made.add_column(Text(head[0]), style="cyan", overflow="fold", min_width=least[0])
    for number, name in enumerate(head[1:], 1):
        widths: dict[str, Any] = {"min_width": least[number], "max_width": None if most is None else most[number]}
        made.add_column(Text(name), justify="right", overflow="fold", **widths)
    for name, rows in groups:
        if name:
            made.add_row(Text(name, style="bold"))
        for row in rows:
            made.add_row(*map(Text, row))
        made.add_section()
    return made


def _lines(head: Cells, groups: list[tuple[str, list[Cells]]]) -> Any:
    """Each row as its name and, below it, what each column says."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    found: list[Any] = []
    for name, rows in groups:
        found += [Text(name, style="bold")] if name else []
        for first, *others in rows:
            found.append(Text(first, style="cyan", overflow="fold"))
            for column, value in zip(head[1:], others, strict=True):
                found.append(Padding(Text(f"{column} {value}", overflow="fold"), (0, 0, 0, 4)))
    return Group(*found)

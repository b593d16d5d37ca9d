"""Tables: those that fit a terminal, and lines for programs elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Rows = list[dict[str, Any]]
GAP = 2  # columns between two columns of a table
MUCH = 1.5  # times the width of the terminal: what is wider is no table that one can read


def print_table(rows: Rows) -> None:
    """Print rows with the same keys: wrapped to fit a terminal, elsewhere a line each, in aligned columns."""
    if not rows:
        return
    cells = [[text(value) for value in row.values()] for row in rows]
    head = list(rows[0])
    if not sys.stdout.isatty():
        widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
        for row in [head, *cells]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console

    console = Console()  # which obeys NO_COLOR and TERM
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
    if sum(widths) + GAP * (len(widths) - 1) > MUCH * console.width:
        _print_blocks(console, head, cells)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold" if console.color_system else "")
    for number, (name, width) in enumerate(zip(head, widths, strict=True)):
        short = number == 0 and width <= console.width // 2
        table.add_column(name, overflow="fold", no_wrap=short, style="cyan" if number == 0 else None)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_blocks(console: Console, head: list[str], cells: list[list[str]]) -> None:
    """Rows that are much wider than the terminal, each below its first cell."""
    from rich.padding import Padding
    from rich.text import Text

    for first, *others in cells:
        console.print(Text(first, style="cyan"), overflow="fold")
        *facts, last = zip(head[1:], others, strict=True)
        told = "; ".join(f"{name} {value}" for name, value in facts if value)
        for line in filter(None, [told, last[1]]):
            console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, 4)))


def text(value: Any) -> str:
    """A value as text for a table, in one line: names of files may hold line breaks, and codes that terminals obey."""
    if isinstance(value, dict):
        return " ".join(f"{text(k)}={text(v) if isinstance(v, str) else v}" for k, v in value.items())
    if value is None:
        return "–"
    shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)

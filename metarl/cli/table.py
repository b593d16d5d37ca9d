"""Tables: those that fit a terminal, and lines for programs elsewhere."""

from __future__ import annotations

import sys
from typing import Any

Rows = list[dict[str, Any]]


def print_table(rows: Rows) -> None:
    """Print rows with the same keys: wrapped in a terminal, elsewhere a line each, in aligned columns."""
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
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(head):
        table.add_column(name, overflow="fold", style="cyan" if number == 0 else None)
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)  # which obeys NO_COLOR and TERM


def text(value: Any) -> str:
    """A value as text for a table."""
    if isinstance(value, dict):
        return " ".join(f"{k}={v}" for k, v in value.items())
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

"""Tables of Markdown, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from results.rows import Row


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a table."""
    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def line(cells: Iterable[str]) -> str:
    """One line of it."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def shown(value: float | None) -> str:
    """Five digits that count, so that rounding hardly ever hides which side of a goal a value lies on."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.5g}"


def shown_goal(row: Row) -> str:
    """The goal of a row, or a dash where it has none."""
    low, high = row.goal
    ends = {
        (True, False): f"≥ {shown(low)}",
        (False, True): f"≤ {shown(high)}",
        (True, True): f"{shown(low)} to {shown(high)}",
    }
    return ends.get((low is not None, high is not None), "–")

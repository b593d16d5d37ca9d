"""The recall benchmark as rows of results, and the tables that ``docs/memory.md`` makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from metarl.evaluation.pooling import NORMAL95
from metarl.evaluation.recall import RecallCell, RecallResult
from metarl.report.recall import budget, mean
from results.rows import Row, meets
from results.text import table

NAME = "recall"
"""The file of the rows, without its suffix."""
IMAGE = "images/recall.png"
"""The image that the page shows, from the folder of the pages."""
COMMAND = "python scripts/reproduce/recall.py"
SUITE = "suite"
"""The part of the benchmark in which all memories meet all tasks; every further part has goals of its own."""
METRIC = "accuracy"

PUBLISHED = {
    "repeat_first": (
        "POPGym's RepeatFirst (Morad et al. 2023), by PPO, 15M steps",
        "GRU 1.00 / 1.00 / 0.94, best of 13 models 1.00 / 1.00 / 0.97",
    ),
    "repeat_previous": (
        "POPGym's RepeatPrevious, same source",
        "GRU 1.00 / -0.32 / -0.43, best 1.00 / 0.79 / 0.19 (LMU)",
    ),
    "count": ("POPGym's CountRecall, same source", "GRU 0.18 / -0.53 / -0.48, best 0.51 / -0.52 / -0.47"),
}
"""Published returns for easy / medium / hard, by our nearest task."""


def setting(part: str, cell: RecallCell) -> dict[str, str | int]:
    """What a cell is measured under."""
    sizes = ", ".join(f"{name}={size}" for name, size in cell.sizes.items())
    return {"part": part, "task": cell.task, "sizes": sizes, "budget": budget(cell.settings)}


def rows(
    results: Iterable[RecallResult],
    command: str,
    commit: str,
    part: str = SUITE,
    goals: Mapping[str, tuple[float | None, float | None]] | None = None,
) -> list[Row]:
    """A row for each memory on each task, the mean over seeds; in the order of the first seed.

    Args:
        results: of one part.
        command: what measured them.
        commit: of the code.
        part: its name.
        goals: lowest and highest acceptable value by memory.
    """
    groups: dict[tuple[str, str, str], list[RecallResult]] = {}
    for result in results:
        where = setting(part, result.cell)
        groups.setdefault((str(where), result.cell.task, result.cell.memory), []).append(result)
    made = []
    for (_, _, memory), group in groups.items():
        first, over = group[0], mean(group)
        steps = first.cell.settings.batch * first.cell.make_task().sizes.steps
        made.append(
            Row(
                setting=setting(part, first.cell),
                method=memory,
                metric=METRIC,
                ours=over.accuracy,
                se=over.se,
                n_tasks=first.sequences,
                seeds=tuple(result.cell.seed for result in group),
                goal=(goals or {}).get(memory, (None, None)),
                references={"chance": round(first.chance, 4)},
                command=command,
                train_seconds=max(result.seconds for result in group),
                train_steps=max(result.updates for result in group) * steps,
                commit=commit,
                parameters=first.parameters,
            )
        )
    return made


def markdown(measured: Sequence[Row]) -> str:
    """What the page of the memories says of the benchmark: image, tables, and published figures beside ours."""
    if not measured:
        return f"Nothing was measured yet: `{COMMAND}` does.\n"
    parts: dict[str, list[Row]] = {}
    for row in measured:
        parts.setdefault(row["part"], []).append(row)
    text = []
    if suite := parts.pop(SUITE, None):
        text += [f"![Accuracy of each memory on each task]({IMAGE})", ""]
        text += [f"Accuracy ± half the 95 % interval over sequences; {suite[0]['budget']}:", ""]
        text += [*_suite(suite), "", *_published(suite)]
    for part, own in parts.items():
        text += [f"**{part[0].upper()}{part[1:]}**: {own[0]['budget']}. {_verdict(own)}", ""]
        text += [*table(("memory", "accuracy", "goal", "training", "parameters"), map(_cells, own)), ""]
    return "\n".join(text)


def _suite(suite: Sequence[Row]) -> list[str]:
    """A line for each memory and one for chance."""
    cells = {(row.method, row["task"]): _percent(row) for row in suite}
    chance = {row["task"]: f"{100 * row.references['chance']:.1f} %" for row in suite}
    lines = [
        [memory, *(cells.get((memory, task), "–") for task in chance)]
        for memory in dict.fromkeys(row.method for row in suite)
    ]
    return table(["memory", *chance], [*lines, ["chance", *chance.values()]])


def _published(suite: Sequence[Row]) -> list[str]:
    """Published figures beside ours."""
    rows = []
    for task, told in PUBLISHED.items():
        column = {row.method: row for row in suite if row["task"] == task}
        if column:
            best = max(column, key=lambda memory: column[memory].ours)
            gru = _percent(column["gru"]) if "gru" in column else "–"
            rows.append((task, gru, f"{_percent(column[best])} ({best})", *told))
    if not rows:
        return []
    return [
        "Published figures beside ours. They are **not the same measure**: POPGym's are returns, from -1 for all wrong",
        "to 1 for all correct, of agents trained by reinforcement learning, on sequences of 51 steps and more with an",
        "answer at nearly every step. They say which tasks are hard, and not who is better. The NTM's paper (Graves et",
        "al. 2014, sections 4.1 and 4.3) has copy and associative recall, too, as curves of bits per sequence.",
        "",
        *table(
            ("task", "ours, gru", "ours, best", "nearest published task", "its return (easy / medium / hard)"), rows
        ),
        "",
    ]


def _verdict(own: Sequence[Row]) -> str:
    asked = [row for row in own if row.goal != (None, None)]
    short = [row.method for row in asked if not meets(row)]
    return f"All {len(asked)} reach their goal." if not short else f"Short of the goal: {', '.join(short)}."


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.goal
    goal = "–" if low is None else f"≥ {100 * low:g} %"
    if high is not None:
        goal = f"≤ {100 * high:g} %"
    ours = _percent(row) if meets(row) else f"**{_percent(row)}**"
    return row.method, ours, goal, f"{row.train_seconds:,.0f} s", f"{row.parameters:,}"


def _percent(row: Row) -> str:
    return f"{100 * row.ours:.1f} ± {100 * NORMAL95 * (row.se or 0):.1f} %"

"""The recall benchmark as rows of results and as tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metarl.report.rows import Row, meets

if TYPE_CHECKING:
    from metarl.evaluation.recall import RecallCell as Cell
    from metarl.evaluation.recall import RecallResult as Result

NAME = "recall"
"""The file of the rows, without its suffix."""
PICTURE = "images/recall.png"
"""The picture that the page shows, from the folder of the pages."""
COMMAND = "python scripts/reproduce/recall.py"
SUITE = "suite"
"""The part of the benchmark in which all candidates meet all tasks; every further part has goals of its own."""
METRIC = "share of right answers"
NORMAL95 = 1.96

PUBLISHED = {
    "repeat_first": (
        "POPGym's RepeatFirst (Morad et al. 2023), by PPO, 15M steps",
        "GRU 1.00 / 1.00 / 0.94, best of 13 models 1.00 / 1.00 / 0.97",
    ),
    "repeat_previous": (
        "POPGym's RepeatPrevious, likewise",
        "GRU 1.00 / -0.32 / -0.43, best 1.00 / 0.79 / 0.19 (LMU)",
    ),
    "count": ("POPGym's CountRecall, likewise", "GRU 0.18 / -0.53 / -0.48, best 0.51 / -0.52 / -0.47"),
}
"""Published returns for easy / medium / hard, by our nearest task."""


class Place(NamedTuple):
    """What a row's setting says."""

    part: str
    task: str
    budget: str


def setting(part: str, cell: Cell) -> str:
    """What a cell is measured under, in one line; :func:`place` reads it again."""
    given, sizes = cell.settings, ", ".join(f"{name}={size}" for name, size in cell.sizes.items())
    limits = [f"{given.updates:,} updates"] if given.updates else []
    limits += [f"{given.seconds:g} s"] if given.seconds else []
    until = "" if given.target is None else f" or until {100 * given.target:g} % of validation answers are right"
    return (
        f"{part}: {cell.task} ({sizes}), {given.parameters:,} parameters ± 10 %, batches of {given.batch}, "
        f"{' or '.join(limits)}{until}"
    )


def place(row: Row) -> Place:
    """Part, task and budget of a row that :func:`rows` made."""
    found = re.fullmatch(r"([^:]+): (\w+) \([^)]*\), (.*)", row.setting)
    if found is None:
        raise ValueError(f"the setting {row.setting!r} is none of the recall benchmark's; measure again: {COMMAND}")
    return Place(*found.groups())


def rows(
    results: Sequence[Result],
    command: str,
    commit: str,
    part: str = SUITE,
    goals: Mapping[str, tuple[float | None, float | None]] | None = None,
) -> list[Row]:
    """A row for each candidate on each task, the mean over seeds; in the order of the first seed.

    Args:
        results: of one part.
        command: what measured them.
        commit: of the code.
        part: its name.
        goals: lowest and highest acceptable value by candidate.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((setting(part, result.cell), result.cell.memory), []).append(result)
    made = []
    for (where, memory), group in groups.items():
        first = group[0]
        steps = first.cell.settings.batch * first.cell.make_task().sizes.steps
        made.append(
            Row(
                setting=where,
                method=memory,
                metric=METRIC,
                ours=float(np.mean([result.accuracy for result in group])),
                se=float(np.sqrt(np.sum([result.se**2 for result in group])) / len(group)),
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


class Grid(NamedTuple):
    """Candidates by tasks."""

    memories: list[str]
    tasks: list[str]
    chance: list[float]
    """Of each task."""
    cells: dict[tuple[str, str], Row]
    """By candidate and task."""


def grid(measured: Sequence[Row]) -> Grid:
    """The rows of one part as a table, in the order of their first appearance."""
    cells = {(row.method, place(row).task): row for row in measured}
    tasks = list(dict.fromkeys(task for _, task in cells))
    chance = {task: row.references["chance"] for (_, task), row in cells.items()}
    return Grid(list(dict.fromkeys(memory for memory, _ in cells)), tasks, [chance[task] for task in tasks], cells)


def table(measured: Sequence[Row]) -> list[dict[str, str]]:
    """The share of right answers in per cent, a line for each candidate and one for chance."""
    made = grid(measured)

    def shown(memory: str, task: str) -> str:
        return _percent(made.cells[memory, task]) if (memory, task) in made.cells else "–"

    lines = [{"memory": memory, **{task: shown(memory, task) for task in made.tasks}} for memory in made.memories]
    chance = {task: f"{100 * value:.1f} %" for task, value in zip(made.tasks, made.chance, strict=True)}
    return [*lines, {"memory": "chance", **chance}]


def markdown(measured: Sequence[Row]) -> str:
    """What the page of the memories says of the benchmark: picture, tables, and published figures beside ours."""
    if not measured:
        return f"Nothing was measured yet: `{COMMAND}` does.\n"
    parts: dict[str, list[Row]] = {}
    for row in measured:
        parts.setdefault(place(row).part, []).append(row)
    text = []
    if SUITE in parts:
        suite = parts.pop(SUITE)
        lines = table(suite)
        text += [f"![Share of right answers of each memory on each task]({PICTURE})", ""]
        text += [f"Share of right answers ± half the 95 % interval over sequences; {place(suite[0]).budget}:", ""]
        text += [_line(lines[0]), _line(["---"] * len(lines[0])), *(_line(line.values()) for line in lines), ""]
        text += _published(suite)
    for part, own in parts.items():
        text += [f"**{part[0].upper()}{part[1:]}**: {place(own[0]).budget}. {_verdict(own)}", ""]
        head = ("memory", "right answers", "goal", "training", "parameters")
        text += [_line(head), _line(["---"] * len(head)), *(_line(_cells(row)) for row in own), ""]
    return "\n".join(text)


def _published(suite: Sequence[Row]) -> list[str]:
    """Published figures beside ours."""
    made = grid(suite)
    known = [task for task in PUBLISHED if task in made.tasks]
    if not known:
        return []
    head = ("task", "ours, gru", "ours, best", "nearest published task", "its return (easy / medium / hard)")
    text = [
        "Published figures beside ours. They are **not the same measure**: POPGym's are returns, from -1 for all wrong",
        "to 1 for all right, of agents trained by reinforcement learning, on sequences of 51 steps and more with an",
        "answer at nearly every step. They say which tasks are hard, and not who is better. The NTM's paper (Graves et",
        "al. 2014, sections 4.1 and 4.3) has copy and associative recall, too, as curves of bits per sequence.",
        "",
        _line(head),
        _line(["---"] * len(head)),
    ]
    for task in known:
        column = {memory: row for (memory, other), row in made.cells.items() if other == task}
        best = max(column, key=lambda memory: column[memory].ours)
        gru = _percent(column["gru"]) if "gru" in column else "–"
        text.append(_line((task, gru, f"{_percent(column[best])} ({best})", *PUBLISHED[task])))
    return [*text, ""]


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


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"

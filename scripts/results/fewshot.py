"""Few-shot learning as rows of results, and the tables that ``docs/omniglot.md`` makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metarl.evaluation.pooling import NORMAL95, variance_over_seeds
from metarl.evaluation.results import FewShotEvaluation
from metarl.report.fewshot import (
    INSTANCES,
    LABELS,
    NOTHING,
    classes_name,
    comparable,
    data_name,
    flags,
    known_cells,
    known_stream,
    shown,
)
from metarl.report.published import BEST, CELLS, Cell, Published
from results.rows import Row, meets
from results.text import line, table

NAME = "omniglot"
"""The file of the rows, without its suffix."""
COMMAND = "python scripts/reproduce/omniglot.py"
METRIC = "accuracy %"
_FLAGS = "transduction, norm, order of gradients, training classes"
PUBLISHED, PIXELS = "published", "raw pixels"
RAW_PIXELS = Published(
    "cosine of raw pixels, in Garcia & Bruna 2018", dict(zip(CELLS, (41.7, 63.2, 26.7, 42.6), strict=True))
)

Goal = tuple[float | None, float | None]
"""Lowest and highest acceptable per cent."""
Goals = Mapping[tuple[Any, int], Goal]
"""By ``(ways, shots)`` or ``("stream", instance)``."""
_OPEN: Goal = (None, None)


class _Part(NamedTuple):
    """One number of an evaluation."""

    setting: dict[str, str | int]
    metric: str
    goal: Goal
    references: dict[str, float]
    episodes: int
    share: float
    error: float


def fewshot_rows(
    evaluations: Iterable[FewShotEvaluation], command: str, commit: str, goals: Goals | None = None
) -> list[Row]:
    """A row for each way and shot and for each of ``INSTANCES`` of a stream, in per cent, the mean over training seeds.

    Its error is that of :func:`metarl.evaluation.pooling.variance_over_seeds`.

    Args:
        evaluations: those that differ in their seeds alone are one result.
        command: what measured them.
        commit: of the code.
        goals: those of streams are for 5 classes with one-hot labels.

    Raises:
        ValueError: an evaluation is not of test classes, or of a seed that was given before.
    """
    groups: dict[tuple[str, ...], list[tuple[FewShotEvaluation, _Part]]] = {}
    for one in evaluations:
        if one.split != "test":
            raise ValueError(f"an evaluation is of {one.split} classes; results are of test classes, give those")
        for part in _parts(one, goals or {}):
            groups.setdefault((one.preset, flags(one), str(part.setting)), []).append((one, part))
    return [_row(group, command, commit) for group in groups.values()]


def _parts(one: FewShotEvaluation, goals: Goals) -> Iterator[_Part]:
    known, pixels = known_cells(one), RAW_PIXELS.accuracy if comparable(one) else {}
    where: dict[str, str | int] = {"data": data_name(one), "classes": classes_name(one)}
    for cell in one.cells:
        key = (cell.ways, cell.shots)
        references = {PUBLISHED: known.accuracy[key]} if key in known.accuracy else {}
        references |= {PIXELS: pixels[key]} if key in pixels else {}
        setting = {**where, "ways": cell.ways, "shots": cell.shots}
        yield _Part(setting, METRIC, goals.get(key, _OPEN), references, cell.episodes, cell.accuracy, cell.se)
    for stream in one.streams:
        theirs = known_stream(one, stream)
        for n in (n for n in INSTANCES if n <= len(stream.by_instance)):
            references = {PUBLISHED: theirs.accuracy[n]} if n in theirs.accuracy else {}
            goal = goals.get(("stream", n), _OPEN) if (stream.labels, stream.ways) == ("one_hot", 5) else _OPEN
            low, high = stream.by_instance_interval[n - 1]
            setting = {**where, "ways": stream.ways, "labels": LABELS[stream.labels], "instance": n}
            measured = stream.episodes, stream.by_instance[n - 1], (high - low) / (2 * NORMAL95)
            yield _Part(setting, f"{METRIC} of instance {n}", goal, references, *measured)


def _row(group: Sequence[tuple[FewShotEvaluation, _Part]], command: str, commit: str) -> Row:
    (first, part), evaluations = group[0], [one for one, _ in group]
    seeds = [one.seed if one.train_seed is None else one.train_seed for one in evaluations]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{first.preset} was given twice for one of the seeds {seeds}; give it once")
    shares, errors = np.array([p.share for _, p in group]), np.array([p.error for _, p in group])
    shared = len({one.seed for one in evaluations}) < len(evaluations)
    return Row(
        setting=part.setting,
        method=first.preset,
        metric=part.metric,
        ours=100 * float(shares.mean()),
        se=100 * float(variance_over_seeds(shares, errors, shared)) ** 0.5,
        n_tasks=part.episodes,
        seeds=tuple(seeds),
        goal=part.goal,
        references=part.references,
        command=command,
        train_seconds=max(one.train_seconds or 0.0 for one in evaluations),
        train_steps=max(one.train_steps or 0 for one in evaluations),
        commit=commit,
        parameters=first.parameters,
        flags=flags(first),
    )


def is_accuracy(row: Row) -> bool:
    """Whether :func:`fewshot_rows` made a row, or one like it."""
    return row.named("shots") or row.named("instance")


def markdown(rows: Sequence[Row]) -> str:
    """What ``omniglot.md`` says of the rows that are accuracies: methods by ways and shots, and by instance."""
    if not rows:
        return f"Nothing was measured yet: `{COMMAND}` does.\n"
    text: list[str] = []
    if cells := [row for row in rows if row.named("shots")]:
        text += [
            "Accuracy in per cent ± half its 95 % interval (1.96 standard errors, over test episodes, and over seeds "
            "where there are several), and in brackets the paper's figure. Papers count the four rotations of a test "
            "character as classes of their own. **Bold**: short of its goal.",
            "",
            *_cell_table(cells),
            "",
        ]
    if instances := [row for row in rows if row.named("instance")]:
        text += [
            "Accuracy in per cent by instance: how often the class was shown in the stream, this time included. "
            "In brackets the paper's figure (Santoro et al. 2016).",
            "",
            *_instance_table(instances),
            "",
        ]
    return "\n".join(text)


def _cell_table(rows: Sequence[Row]) -> list[str]:
    """One line for each method, data and learner, a column for each way and shot."""
    measured = {(row["ways"], row["shots"]) for row in rows}
    columns = [*(key for key in CELLS if key in measured), *sorted(measured - {*CELLS})]
    text = _table(
        rows,
        lambda row: f"{row['data']}, {row['classes']}",
        {key: f"{key[0]}-way {key[1]}-shot" for key in columns},
        lambda row: (row["ways"], row["shots"]),
    )
    for name, known in (("cosine of raw pixels", RAW_PIXELS), ("best published", BEST)):
        text.append(line([name, "Omniglot, rotations as classes", *_theirs(known, columns), *["–"] * 4]))
    return text


def _instance_table(rows: Sequence[Row]) -> list[str]:
    """One line for each method, streams and learner, a column for each instance."""
    return _table(
        rows,
        lambda row: f"{row['data']}, {row['ways']} classes, {row['labels']}, {row['classes']}",
        {n: _ordinal(n) for n in sorted({row["instance"] for row in rows})},
        lambda row: row["instance"],
    )


def _table(
    rows: Sequence[Row], tested_on: Callable[[Row], str], columns: Mapping[Any, str], column: Callable[[Row], Any]
) -> list[str]:
    """A line for each method, what it was tested on, and flags; ``columns``: their names by what ``column`` says."""
    lines: dict[tuple[str, str, str], dict[Any, Row]] = {}
    for row in rows:
        lines.setdefault((row.method, tested_on(row), row.flags), {})[column(row)] = row
    return table(
        ["method", "tested on", *columns.values(), _FLAGS, "training", "seeds", "command"],
        [
            [
                *where[:2],
                *(_ours(one[key]) if key in one else NOTHING for key in columns),
                where[2] or NOTHING,
                *_origin(one),
            ]
            for where, one in lines.items()
        ],
    )


def _ordinal(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _ours(row: Row) -> str:
    half = "" if row.se is None else f" ± {NORMAL95 * row.se:.2f}"
    ours = f"{row.ours:.2f}{half}"
    theirs = f" ({shown(row.references[PUBLISHED])})" if PUBLISHED in row.references else ""
    return (ours if meets(row) else f"**{ours}**") + theirs


def _theirs(known: Published, columns: Iterable[Cell]) -> list[str]:
    return [f"({shown(known.accuracy[key])})" if key in known.accuracy else NOTHING for key in columns]


def _origin(rows: Mapping[Any, Row]) -> tuple[str, str, str]:
    """Training, seeds and commands of the rows of one line."""
    training = dict.fromkeys(
        f"{row.train_seconds / 60:.1f} min, {row.train_steps:,} episodes, {row.parameters:,} parameters"
        for row in rows.values()
    )
    seeds = dict.fromkeys(", ".join(map(str, row.seeds)) for row in rows.values())
    commands = dict.fromkeys(f"`{' '.join(row.command.split())}`" for row in rows.values())
    return "; ".join(training), "; ".join(seeds), "; ".join(commands)

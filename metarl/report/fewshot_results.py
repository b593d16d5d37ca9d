"""Few-shot learning as rows of results, and the tables that ``docs/omniglot.md`` makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metarl.report.evaluation import Evaluation, floats
from metarl.report.fewshot import (
    INSTANCES,
    LABELS,
    NOTHING,
    cell_name,
    check_fewshot,
    classes_name,
    comparable,
    data_name,
    flags,
    known_cells,
    known_stream,
    shown,
)
from metarl.report.published import BEST, CELLS, RAW_PIXELS, Cell, Published
from metarl.report.rows import Row, meets
from metarl.types import Floats

NAME = "omniglot"
"""The file of the rows, without its suffix."""
COMMAND = "python scripts/reproduce/omniglot.py"
METRIC = "accuracy %"
_FLAGS = "transduction, norm, order of gradients, training classes"
PUBLISHED, PIXELS = "published", "raw pixels"
_NORMAL95 = 1.96
_CELL = re.compile(r"(?P<data>.+) (?P<ways>\d+)-way (?P<shots>\d+)-shot, (?P<classes>.+)")
_STREAM = re.compile(r"(?P<data>.+) stream, (?P<kind>\d+ classes, [^,]+), (?P<classes>.+)")
_INSTANCE = re.compile(rf"{METRIC} of instance (\d+)")

Goal = tuple[float | None, float | None]
"""Lowest and highest acceptable per cent."""
Goals = Mapping[tuple[Any, int], Goal]
"""By ``(ways, shots)`` or ``("stream", instance)``."""
_OPEN: Goal = (None, None)


class _Part(NamedTuple):
    """One number of an evaluation."""

    setting: str
    metric: str
    goal: Goal
    references: dict[str, float]
    episodes: int
    share: float
    error: float


def fewshot_rows(evaluations: Sequence[Evaluation], command: str, commit: str, goals: Goals | None = None) -> list[Row]:
    """A row for each way and shot and for each of ``INSTANCES`` of a stream, in per cent, the mean over training seeds.

    The variance of a mean over seeds is that between them, or that over episodes where it is the larger, divided by
    their number; where they were tested on the same episodes, whose error they share, that over episodes is added
    undivided.

    Args:
        evaluations: fields of ``evaluation.json``; those that differ in their seeds alone are one result.
        command: what measured them.
        commit: of the code.
        goals: those of streams are for 5 classes with one-hot labels.

    Raises:
        ValueError: an evaluation lacks a field, is not of test classes, or is of a seed that was given before.
    """
    groups: dict[tuple[str, ...], list[tuple[Evaluation, _Part]]] = {}
    for one in evaluations:
        check_fewshot(one)
        if one["split"] != "test":
            raise ValueError(f"an evaluation is of {one['split']} classes; results are of test classes, give those")
        for part in _parts(one, goals or {}):
            groups.setdefault((one["preset"], flags(one), part.setting, part.metric), []).append((one, part))
    return [_row(group, command, commit) for group in groups.values()]


def _parts(one: Evaluation, goals: Goals) -> Iterator[_Part]:
    known, pixels = known_cells(one), RAW_PIXELS.accuracy if comparable(one) else {}
    for cell in one["cells"]:
        key = (cell["ways"], cell["shots"])
        references = {PUBLISHED: known.accuracy[key]} if known and key in known.accuracy else {}
        references |= {PIXELS: pixels[key]} if key in pixels else {}
        setting = f"{data_name(one)} {cell_name(cell)}, {classes_name(one)}"
        measured = cell["episodes"], cell["accuracy"], cell["se"]
        yield _Part(setting, METRIC, goals.get(key, _OPEN), references, *measured)
    for stream in one["streams"]:
        theirs, kind = known_stream(one, stream), (stream["labels"], stream["ways"])
        setting = f"{data_name(one)} stream, {kind[1]} classes, {LABELS[kind[0]]}, {classes_name(one)}"
        for n in (n for n in INSTANCES if n <= len(stream["by_instance"])):
            references = {PUBLISHED: theirs.accuracy[n]} if theirs and n in theirs.accuracy else {}
            goal = goals.get(("stream", n), _OPEN) if kind == ("one_hot", 5) else _OPEN
            low, high = stream["by_instance_interval"][n - 1]
            measured = stream["episodes"], stream["by_instance"][n - 1], (high - low) / (2 * _NORMAL95)
            yield _Part(setting, f"{METRIC} of instance {n}", goal, references, *measured)


def _row(group: Sequence[tuple[Evaluation, _Part]], command: str, commit: str) -> Row:
    (first, part), evaluations = group[0], [one for one, _ in group]
    seeds = [int(one.get("train_seed", one["seed"])) for one in evaluations]
    if len(set(seeds)) < len(seeds):
        raise ValueError(
            f"{first['preset']}: {part.setting} was given twice for one of the seeds {seeds}; give it once"
        )
    shares, errors = floats([p.share for _, p in group]), floats([p.error for _, p in group])
    tested = [one["seed"] for one in evaluations]
    return Row(
        setting=part.setting,
        method=first["preset"],
        metric=part.metric,
        ours=100 * float(shares.mean()),
        se=100 * _pooled(shares, errors, shared=len(set(tested)) < len(tested)),
        n_tasks=part.episodes,
        seeds=tuple(seeds),
        goal=part.goal,
        references=part.references,
        command=command,
        train_seconds=max(float(one["train_seconds"]) for one in evaluations),
        train_steps=max(int(one.get("train_episodes") or 0) for one in evaluations),
        commit=commit,
        parameters=int(first.get("parameters") or 0),
        flags=flags(first),
    )


def _pooled(shares: Floats, errors: Floats, shared: bool) -> float:
    """The standard error of a mean over runs, from their shares and standard errors ``[S]``; see above."""
    runs, within = len(shares), float(np.square(errors).mean())
    if runs == 1:
        return within**0.5
    between = float(shares.var(ddof=1))
    return float((between / runs + within if shared else max(between, within) / runs) ** 0.5)


def is_accuracy(row: Row) -> bool:
    """Whether :func:`fewshot_rows` made a row, or one like it."""
    return _is_cell(row) or _is_instance(row)


def _is_cell(row: Row) -> bool:
    return row.metric == METRIC and _CELL.fullmatch(row.setting) is not None


def _is_instance(row: Row) -> bool:
    return _INSTANCE.fullmatch(row.metric) is not None and _STREAM.fullmatch(row.setting) is not None


def markdown(rows: Sequence[Row]) -> str:
    """What ``omniglot.md`` says of the rows that are accuracies: methods by ways and shots, and by instance."""
    if not rows:
        return f"Nothing was measured yet: `{COMMAND}` does.\n"
    text: list[str] = []
    if cells := [row for row in rows if _is_cell(row)]:
        text += [
            "Accuracy in per cent ± half its 95 % interval (1.96 standard errors, over test episodes, and over seeds "
            "where there are several), and in brackets the paper's figure. Papers count the four rotations of a test "
            "character as classes of their own. **Bold**: short of its goal.",
            "",
            *_cell_table(cells),
            "",
        ]
    if instances := [row for row in rows if _is_instance(row)]:
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
    lines: dict[tuple[str, str, str], dict[Cell, Row]] = {}
    for row in rows:
        found = _CELL.fullmatch(row.setting)
        assert found is not None
        where = row.method, f"{found['data']}, {found['classes']}", row.flags
        lines.setdefault(where, {})[int(found["ways"]), int(found["shots"])] = row
    measured = {key for line in lines.values() for key in line}
    columns = [*(key for key in CELLS if key in measured), *sorted(measured - {*CELLS})]
    head = ["method", "tested on", *(f"{ways}-way {shots}-shot" for ways, shots in columns)]
    text = [_line([*head, _FLAGS, "training", "seeds", "command"]), _line(["---"] * (len(head) + 4))]
    for (method, data, told), line in lines.items():
        cells = [_ours(line[key]) if key in line else NOTHING for key in columns]
        text.append(_line([method, data, *cells, told or NOTHING, *_origin(list(line.values()))]))
    for name, known in (("cosine of raw pixels", RAW_PIXELS), ("best published", BEST)):
        text.append(_line([name, "Omniglot, rotations as classes", *_theirs(known, columns), *["–"] * 4]))
    return text


def _instance_table(rows: Sequence[Row]) -> list[str]:
    lines: dict[tuple[str, str, str], dict[int, Row]] = {}
    for row in rows:
        place, number = _STREAM.fullmatch(row.setting), _INSTANCE.fullmatch(row.metric)
        assert place is not None
        assert number is not None
        where = row.method, f"{place['data']}, {place['kind']}, {place['classes']}", row.flags
        lines.setdefault(where, {})[int(number[1])] = row
    columns = sorted({number for line in lines.values() for number in line})
    head = ["method", "tested on", *map(_ordinal, columns), _FLAGS, "training", "seeds", "command"]
    text = [_line(head), _line(["---"] * len(head))]
    for (method, data, told), line in lines.items():
        cells = [_ours(line[number]) if number in line else NOTHING for number in columns]
        text.append(_line([method, data, *cells, told or NOTHING, *_origin(list(line.values()))]))
    return text


def _ordinal(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _ours(row: Row) -> str:
    half = "" if row.se is None else f" ± {_NORMAL95 * row.se:.2f}"
    ours = f"{row.ours:.2f}{half}"
    theirs = f" ({shown(row.references[PUBLISHED])})" if PUBLISHED in row.references else ""
    return (ours if meets(row) else f"**{ours}**") + theirs


def _theirs(known: Published, columns: Iterable[Cell]) -> list[str]:
    return [f"({shown(known.accuracy[key])})" if key in known.accuracy else NOTHING for key in columns]


def _origin(rows: Sequence[Row]) -> tuple[str, str, str]:
    """Training, seeds and commands of the rows of one line."""
    training = dict.fromkeys(
        f"{row.train_seconds / 60:.1f} min, {row.train_steps:,} episodes, {row.parameters:,} parameters" for row in rows
    )
    seeds = dict.fromkeys(", ".join(map(str, row.seeds)) for row in rows)
    commands = dict.fromkeys(f"`{' '.join(row.command.split())}`" for row in rows)
    return "; ".join(training), "; ".join(seeds), "; ".join(commands)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"

"""A few-shot evaluation (``evaluation.json`` of that kind): what is in it, the words for it, and its table."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metarl.report.evaluation import Evaluation
from metarl.report.published import Published, PublishedStream, of_learner, of_stream
from metarl.report.tables import WIDTH
from metarl.runs.folder import RunError, RunFolder

KIND = "fewshot"
AGAIN = "metarl fewshot eval"
"""What makes an evaluation and what is kept of single episodes."""
LABELS = {"one_hot": "one-hot labels", "letters": "labels of five letters"}
CHANCE = {"one_hot": lambda ways: 1 / ways, "letters": lambda ways: 5.0**-5}
"""How often a label is right that was drawn blindly from all that there can be."""
DRAWN = "drawn glyphs"
"""How the name of the generator's drawings begins."""
STANDARD = "Omniglot (standard split)"
"""What published figures can be set beside."""
NOTHING = "–"

_NEEDED = {
    "learner": str, "preset": str, "data": str, "split": str, "transductive": bool, "norm": str, "rotations": bool,
    "seed": int, "train_seconds": int | float, "cells": list, "streams": list,
}  # fmt: skip
_CELL = ("ways", "shots", "episodes", "accuracy", "se")


def is_fewshot(run: RunFolder) -> bool:
    """Whether a run folder is one of few-shot learning: its evaluation says so, or else its options name no family."""
    try:
        evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "env" not in run.config
    return isinstance(evaluation, dict) and evaluation.get("kind") == KIND


def read_fewshot(run: RunFolder) -> dict[str, Any] | None:
    """The evaluation of a few-shot run; None where there is none.

    Raises:
        RunError: the file is damaged.
    """
    if not run.evaluation.is_file():
        return None
    told = f"{run.evaluation} is damaged%s; remove it and make it again with {AGAIN} {run.path}"
    try:
        evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
    except ValueError:
        raise RunError(told % "") from None
    try:
        check_fewshot(evaluation)
    except ValueError as error:
        raise RunError(told % f" ({str(error).partition(';')[0]})") from None
    assert isinstance(evaluation, dict)
    return evaluation


def check_fewshot(evaluation: Any) -> None:
    """Refuse what is no few-shot evaluation.

    Raises:
        ValueError: a field is missing or holds something else, or nothing was measured.
    """
    again = f"make it again with `{AGAIN} RUN`"
    if not isinstance(evaluation, Mapping) or evaluation.get("kind") != KIND:
        raise ValueError(f"it is no few-shot evaluation; {again}")
    if missing := [name for name in _NEEDED if name not in evaluation]:
        raise ValueError(f"the evaluation lacks {', '.join(missing)}; {again}")
    wrong = [name for name, kind in _NEEDED.items() if not isinstance(evaluation[name], kind)]
    for cell in [] if wrong else evaluation["cells"]:
        if not (_numbers(cell, _CELL) and _interval(cell.get("interval"))):
            wrong.append("cells")
    for stream in [] if wrong else evaluation["streams"]:
        if not (_numbers(stream, ("ways", "episodes")) and stream.get("labels") in LABELS and _curve(stream)):
            wrong.append("streams")
    if wrong:
        raise ValueError(f"the evaluation holds {wrong[0]} of another form than expected; {again}")
    if not (evaluation["cells"] or evaluation["streams"]):
        raise ValueError(f"the evaluation has neither cells nor streams; {again}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(data: Any, names: Sequence[str]) -> bool:
    return isinstance(data, Mapping) and all(_is_number(data.get(name)) for name in names)


def _interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _curve(stream: Mapping[str, Any]) -> bool:
    means, intervals = stream.get("by_instance"), stream.get("by_instance_interval")
    if not (isinstance(means, list) and isinstance(intervals, list) and 0 < len(means) == len(intervals)):
        return False
    return all(map(_is_number, means)) and all(map(_interval, intervals))


def data_name(evaluation: Evaluation) -> str:
    """What the examples were; drawn glyphs are never taken for Omniglot, whose standard split need not be named."""
    name = str(evaluation["data"])
    if name.startswith(DRAWN):
        return f"{DRAWN}, not Omniglot"
    return "Omniglot" if name == STANDARD else name


def known_cells(evaluation: Evaluation) -> Published | None:
    """What was published of this learner under this protocol, if there is anything."""
    names = evaluation["preset"], evaluation["learner"]
    return of_learner(*names, transductive=evaluation["transductive"]) if comparable(evaluation) else None


def known_stream(evaluation: Evaluation, stream: Mapping[str, Any]) -> PublishedStream | None:
    """The same of one of its streams."""
    names = evaluation["preset"], evaluation["learner"]
    return of_stream(*names, labels=stream["labels"], ways=stream["ways"]) if comparable(evaluation) else None


def comparable(evaluation: Evaluation) -> bool:
    """Whether episodes are those of the papers."""
    special = evaluation.get("within_alphabet") or evaluation.get("distinct_drawers")
    return evaluation["data"] == STANDARD and not special


def classes_name(evaluation: Evaluation) -> str:
    """What counted as a class, and how episodes were put together."""
    parts = ["rotations as classes" if evaluation["rotations"] else "upright"]
    parts += ["one alphabet an episode"] * bool(evaluation.get("within_alphabet"))
    parts += ["support and queries by different drawers"] * bool(evaluation.get("distinct_drawers"))
    return ", ".join(parts)


def flags(evaluation: Evaluation) -> str:
    """What a reader has to know to compare the learner with others."""
    parts = ["transductive" if evaluation["transductive"] else "not transductive", f"{evaluation['norm']} norm"]
    if evaluation.get("first_order") is not None:
        parts.append("first order" if evaluation["first_order"] else "second order")
    parts += ["trained on train and validation classes"] * bool(evaluation.get("trainval"))
    return ", ".join(parts)


def cell_name(cell: Mapping[str, Any]) -> str:
    """Such as ``5-way 1-shot``."""
    return f"{cell['ways']}-way {cell['shots']}-shot"


def stream_name(stream: Mapping[str, Any]) -> str:
    """Such as ``streams of 5 classes, one-hot labels``."""
    return f"streams of {stream['ways']} classes, {LABELS[stream['labels']]}"


def in_percent(mean: float, interval: Sequence[float]) -> str:
    """``98.95 ± 0.12``: a share with half the width of its 95 % interval, in per cent."""
    return f"{100 * mean:.2f} ± {50 * (interval[1] - interval[0]):.2f}"


def headline(evaluation: Evaluation) -> str:
    """Preset, data and split."""
    data = STANDARD if evaluation["data"] == STANDARD else data_name(evaluation)
    return f"{evaluation['preset']} on {data}, {evaluation['split']} classes"


def shown(value: float) -> str:
    """A published figure: ``96.0``, and ``97.65`` where that many digits were told."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


INSTANCES = (1, 2, 3, 4, 5, 10)
"""Those that papers tell of, and tables with a column for each."""
HEAD = ("", "accuracy %", "paper", "data, classes and learner")


def cell_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """A row of the table for each way and shot, under :data:`HEAD`."""
    known = known_cells(evaluation)
    rows: list[tuple[str, ...]] = []
    for cell in evaluation["cells"]:
        value = known.accuracy.get((cell["ways"], cell["shots"])) if known else None
        ours = in_percent(cell["accuracy"], cell["interval"])
        rows.append((cell_name(cell), ours, _number(value), _told(evaluation)))
    return rows


def stream_rows(evaluation: Evaluation, stream: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The same for each instance of a stream."""
    known = known_stream(evaluation, stream)
    shares = zip(stream["by_instance"], stream["by_instance_interval"], strict=True)
    return [
        (
            f"instance {number}",
            in_percent(mean, interval),
            _number(known.accuracy.get(number) if known else None),
            _told(evaluation),
        )
        for number, (mean, interval) in enumerate(shares, start=1)
    ]


def percent_by_instance(stream: Mapping[str, Any]) -> dict[int, str]:
    """:func:`in_percent` of those of :data:`INSTANCES` that there are."""
    means, intervals = stream["by_instance"], stream["by_instance_interval"]
    return {n: in_percent(means[n - 1], intervals[n - 1]) for n in INSTANCES if n <= len(means)}


def notes(evaluation: Evaluation) -> Iterator[str]:
    """What the columns mean and where the published figures come from."""
    counts = sorted({part["episodes"] for part in (*evaluation["cells"], *evaluation["streams"])})
    many = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    yield f"±: half the width of the 95 % interval over {many} episodes, seed {evaluation['seed']}"
    known = known_cells(evaluation)
    if known and evaluation["cells"]:
        yield f"paper: {known.source}; with the rotations of characters as further classes"
    for stream in evaluation["streams"]:
        if found := known_stream(evaluation, stream):
            yield f"paper, {stream_name(stream)}: {found.name}, {found.source}"
    if str(evaluation["data"]).startswith(DRAWN):
        yield "drawn glyphs are made by the program; nothing measured on them can be compared with Omniglot"
    seconds, episodes = evaluation["train_seconds"], evaluation.get("train_episodes")
    trained = f" on {episodes:,} episodes" if _is_number(episodes) else ""
    yield f"trained{trained} in {f'{seconds:.0f} seconds' if seconds < 120 else f'{seconds / 60:.1f} minutes'}"
    if evaluation.get("note"):
        yield str(evaluation["note"])


def fewshot_table(evaluation: Evaluation) -> str:
    """Accuracy by ways and shots, and by instance of streams, as plain text of at most ``WIDTH`` columns.

    Args:
        evaluation: the fields of ``evaluation.json``.

    Raises:
        ValueError: a field is missing.
    """
    check_fewshot(evaluation)
    parts = [("", cell_rows(evaluation))] if evaluation["cells"] else []
    parts += [(stream_name(stream), stream_rows(evaluation, stream)) for stream in evaluation["streams"]]
    every = [HEAD, *(row for _, rows in parts for row in rows)]
    widths = [max(len(row[column]) for row in every) for column in range(3)]
    body = list(_line(HEAD, widths))
    for name, rows in parts:
        body += ["-" * WIDTH] + [name] * bool(name) + [line for row in rows for line in _line(row, widths)]
    told = [line for note in notes(evaluation) for line in textwrap.wrap(note, WIDTH, subsequent_indent="  ")]
    return "\n".join([*textwrap.wrap(headline(evaluation), WIDTH, subsequent_indent="  "), "", *body, *told])


def _told(evaluation: Evaluation) -> str:
    return f"{data_name(evaluation)}, {classes_name(evaluation)}, {flags(evaluation)}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else shown(value)


def _line(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """A row, its last cell wrapped to what is left of the terminal."""
    name, *numbers, last = row
    start = "  ".join([name.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))]) + "  "
    for number, text in enumerate(textwrap.wrap(last, WIDTH - len(start))):
        yield (start if number == 0 else " " * len(start)) + text

"""What a report shows of few-shot runs: the pictures of each, and the parts of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl.report import fewshot_curves as curves
from metarl.report import fewshot_kept, html
from metarl.report.fewshot import (
    AGAIN,
    HEAD,
    INSTANCES,
    NOTHING,
    cell_name,
    cell_rows,
    classes_name,
    data_name,
    flags,
    headline,
    in_percent,
    known_cells,
    known_stream,
    notes,
    percent_by_instance,
    read_fewshot,
    shown,
    stream_name,
    stream_rows,
)
from metarl.report.fewshot_drawings import drawings, stream_drawings
from metarl.report.fewshot_recall import recall
from metarl.report.fewshot_sheet import is_picture
from metarl.runs.folder import RunError, RunFolder

SHOWS = {
    "instances": ("Accuracy by instance", "accuracy by how often a class was shown, chance and published curves"),
    "drawings": ("Single episodes", "support images, queries and what was said of them, right and wrong"),
    "streams": ("Single streams", "examples step by step with their labels and what was said of them"),
    "recall": ("What was recalled", "weights over the support for single queries"),
    "learning": ("Learning", "accuracy, and training loss where it is drawn, over training episodes"),
}


def draw_fewshot(run: RunFolder) -> tuple[dict[str, Path], list[str]]:
    """Draw all that a few-shot run has the data for, into its ``figures`` folder.

    Returns:
        Pictures by what they show, and a line for each that could not be drawn.

    Raises:
        RunError: a file is damaged, or there is nothing to draw.
    """
    evaluation, metrics = read_fewshot(run), run.metrics()
    file = fewshot_kept.path_of(run)
    kept = fewshot_kept.load(file) if file.is_file() else None
    learned = any(len(curves.series(metrics, name)[0]) for name in (*curves.ACCURACIES, curves.LOSS))
    if not (evaluation or kept or learned):
        raise RunError(
            f"{run.path} has nothing to draw: no evaluation.json, no {file.name} and neither accuracy nor loss in "
            "metrics.jsonl; train or evaluate first"
        )
    pictures: dict[str, Path] = {}
    missing = []
    again = f"make it with {AGAIN} {run.path}"
    what = f"{evaluation['preset']} on {data_name(evaluation)}" if evaluation else run.path.resolve().name
    if evaluation is None:
        missing.append(f"table of accuracies: {run.path} has no evaluation.json; {again}")
    elif evaluation["streams"]:
        entries = [curves.Stream(what, stream) for stream in evaluation["streams"]]
        pictures["instances"] = curves.instances(entries, run.figures / "instances.png", what)
    if kept is None:
        missing.append(f"single episodes and what was recalled: {run.path} has no {file.name}; {again}")
    else:
        ink = evaluation is None or not str(evaluation["data"]).startswith("images")
        pictures |= _single(run, kept, what, ink)
        if not pictures.keys() & {"drawings", "streams"}:
            missing.append(f"single episodes: the examples of {run.path} are no pictures")
    if learned:
        pictures["learning"] = curves.learning(metrics, run.figures / "learning.png")
    else:
        missing.append(f"learning curve: {run.path} has neither accuracy nor loss in metrics.jsonl; train for longer")
    return pictures, missing


def _single(run: RunFolder, kept: fewshot_kept.Kept, what: str, ink: bool) -> dict[str, Path]:
    """What single episodes and streams show, where examples are pictures."""
    pictures = {}
    if kept.sets and is_picture(kept.sets.support_x.shape[2:]):
        pictures["drawings"] = drawings(kept.sets, run.figures / "drawings.png", what, ink)
        if kept.sets.weights is not None:  # a learner that recalls nothing by weight lacks nothing
            pictures["recall"] = recall(kept.sets, run.figures / "recall.png", what, ink)
    if kept.streams and is_picture(kept.streams.x.shape[2:]):
        pictures["streams"] = stream_drawings(kept.streams, run.figures / "streams.png", what, ink)
    return pictures


def run_parts(evaluation: Mapping[str, Any] | None, pictures: Mapping[str, Path], level: int) -> Iterator[str]:
    """The sections of one run, but for where it comes from."""
    if evaluation:
        yield html.paragraph(headline(evaluation))
        yield html.title("Accuracy", level)
        if evaluation["cells"]:
            yield html.table(HEAD, cell_rows(evaluation), words=True)
        for stream in evaluation["streams"]:
            yield html.paragraph(stream_name(stream))
            yield html.table(HEAD, stream_rows(evaluation, stream), words=True)
        yield html.paragraph(*notes(evaluation))
    for name in SHOWS:
        if name in pictures:
            yield html.title(SHOWS[name][0], level)
            yield html.picture(pictures[name], SHOWS[name][1])


Member = tuple[RunFolder, Mapping[str, Any] | None]
"""A run and its evaluation."""


def names(members: Sequence[Member]) -> list[str]:
    """What to call each run: its preset and seed, and its folder where these are not enough."""
    first = []
    for run, evaluation in members:
        seed = run.config.get("seed", "?")
        first.append(f"{evaluation['preset']}, seed {evaluation.get('train_seed', seed)}" if evaluation else "")
    folders = [run.path.resolve().name for run, _ in members]
    return [
        name if name and first.count(name) == 1 else f"{name} ({folder})".strip()
        for name, folder in zip(first, folders, strict=True)
    ]


def draw_together(members: Sequence[Member], stem: str) -> dict[str, Path]:
    """The pictures of all runs together that any of them has the data for; paths begin with ``stem``."""
    pictures = {}
    called = names(members)
    entries = [
        curves.Stream(name, stream)
        for name, (_, evaluation) in zip(called, members, strict=True)
        for stream in (evaluation["streams"] if evaluation else [])
    ]
    if entries:
        pictures["instances"] = curves.instances(entries, f"{stem}instances.png", f"{len(members)} runs")
    metrics = [(name, run.metrics()) for name, (run, _) in zip(called, members, strict=True)]
    if any(len(curves.accuracy(rows)[1]) for _, rows in metrics):
        pictures["learning"] = curves.learning_together(metrics, f"{stem}learning.png")
    return pictures


def together_parts(members: Sequence[Member], pictures: Mapping[str, Path]) -> Iterator[str]:
    """The tables of all runs, and their pictures."""
    evaluated = [(name, one) for name, (_, one) in zip(names(members), members, strict=True) if one]
    for head, rows in (_cells(evaluated), _instances(evaluated)):
        if rows:
            yield html.title("Accuracy in %" if head[1] != "streams" else "Accuracy in % by instance")
            yield html.table(head, rows, words=True)
    if evaluated:
        yield html.paragraph("±: half the width of the 95 % interval over episodes; in brackets: the paper's")
    for name, path in pictures.items():
        yield html.title(SHOWS[name][0])
        yield html.picture(path, f"{SHOWS[name][1]}, of {len(members)} runs")
    yield html.title("Each run")


Table = tuple[list[str], list[list[str]]]
"""A head and rows."""
_TOLD = ["data", "classes", "learner", "training"]


def _told(one: Mapping[str, Any]) -> list[str]:
    return [data_name(one), classes_name(one), flags(one), f"{one['train_seconds'] / 60:.1f} min"]


def _cells(evaluated: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """Runs by ways and shots."""
    known = {(cell["ways"], cell["shots"]): cell_name(cell) for _, one in evaluated for cell in one["cells"]}
    rows = []
    for name, one in evaluated:
        own = {(c["ways"], c["shots"]): in_percent(c["accuracy"], c["interval"]) for c in one["cells"]}
        theirs = paper.accuracy if (paper := known_cells(one)) else {}
        own |= {cell: f"{ours} ({shown(theirs[cell])})" for cell, ours in own.items() if cell in theirs}
        if own:
            rows.append([name, *(own.get(cell, NOTHING) for cell in sorted(known)), *_told(one)])
    return ["run", *(known[cell] for cell in sorted(known)), *_TOLD], rows


def _instances(evaluated: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """Streams of runs by instance."""
    rows = []
    for name, one in evaluated:
        for stream in one["streams"]:
            own = percent_by_instance(stream)
            theirs = paper.accuracy if (paper := known_stream(one, stream)) else {}
            own |= {n: f"{ours} ({shown(theirs[n])})" for n, ours in own.items() if n in theirs}
            rows.append([name, stream_name(stream), *(own.get(n, NOTHING) for n in INSTANCES), *_told(one)])
    return ["run", "streams", *map(str, INSTANCES), *_TOLD], rows

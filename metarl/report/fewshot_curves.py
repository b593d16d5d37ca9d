"""Curves of few-shot learning: accuracy by instance of a stream, and how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metarl.report import published
from metarl.report.canvas import (
    COLORS,
    SOFT,
    Line,
    below,
    canvas,
    clean,
    height_below,
    label_ends,
    named_below,
    save,
    smooth,
    title,
    whole_ticks,
)
from metarl.report.evaluation import floats
from metarl.report.fewshot import CHANCE, LABELS
from metarl.report.learning import thousands
from metarl.report.overlay import line_of
from metarl.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = "train/loss"
ACCURACIES = {"validation/accuracy": "validation classes", "train/accuracy": "training classes"}
"""The accuracies that metrics may have, and on what."""
_THIN = (Line("#000000", (0, (5, 2))), Line(SOFT, (0, (1, 1.5))), Line("#8C6D46", (0, (3, 1.5, 1, 1.5))))


class Stream(NamedTuple):
    """An entry of ``streams`` of an evaluation, and whose it is."""

    name: str
    data: Mapping[str, Any]


def instances(streams: Sequence[Stream], path: str | Path, what: str) -> Path:
    """Draw accuracy by instance with 95 % bands, and thin beside it chance and what was published of such streams.

    Args:
        streams: at least one.
        path: the picture to write, whole or not at all.
        what: learner and data, for the title.

    Returns:
        ``path``.
    """
    names = [_name(stream, streams) for stream in streams]
    figure, axes = canvas(7.6, 4.4 + (height_below(names) if len(streams) > 1 else 0.1))
    labels: list[tuple[str, float, Line]] = []
    longest = max(len(stream.data["by_instance"]) for stream in streams)
    for index, (name, stream) in enumerate(zip(names, streams, strict=True)):
        line = line_of(index)
        mean, band = 100 * floats(stream.data["by_instance"]), 100 * floats(stream.data["by_instance_interval"])
        x = np.arange(1, len(mean) + 1)
        label = below(name) if len(streams) > 1 else None
        axes.plot(x, mean, color=line.color, ls=line.dash, lw=line.width, marker="o", ms=5, zorder=4, label=label)
        axes.fill_between(x, band[:, 0], band[:, 1], color=line.color, alpha=0.22, lw=0, zorder=2)
        if len(streams) == 1:
            labels.append(("ours", float(mean[-1]), line))
    kinds = list(dict.fromkeys((stream.data["labels"], stream.data["ways"]) for stream in streams))
    _references(axes, kinds, longest, labels)
    axes.set_xlabel("instance: how often the class was shown, this time included")
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(-2, 102)
    axes.set_xlim(1 - 0.02 * longest, longest * 1.02)
    whole_ticks(axes.xaxis, 10)
    counts = sorted({stream.data["episodes"] for stream in streams})
    told = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    kind_told = f" of {kinds[0][1]} classes, {LABELS[kinds[0][0]]}" if len(kinds) == 1 else ""
    sources = dict.fromkeys(known.source for kind in kinds for known in published.streams(*kind))
    thin = f"; published: {', '.join(sources)}" if sources else ""
    title(axes, f"{what}: accuracy by instance", f"{told} streams{kind_told}; bands: 95 % intervals{thin}")
    if len(streams) > 1:
        named_below(figure)
    label_ends(figure, axes, labels)
    return save(figure, path)


def _name(stream: Stream, streams: Sequence[Stream]) -> str:
    kind = f"{stream.data['ways']} classes, {LABELS[stream.data['labels']]}"
    return kind if len({one.name for one in streams}) == 1 else f"{stream.name}: {kind}"


def _references(
    axes: Axes, kinds: Sequence[tuple[str, int]], longest: int, labels: list[tuple[str, float, Line]]
) -> None:
    """Chance and published curves of each kind of stream; their names go to ``labels``."""
    several = len(kinds) > 1
    for labels_kind, ways in kinds:
        where = (f", {ways} classes" if labels_kind == "one_hot" else ", letters") if several else ""
        chance = 100 * CHANCE[labels_kind](ways)
        line = Line(SOFT, (0, (1, 2)), 0.9)
        axes.axhline(chance, color=line.color, ls=line.dash, lw=line.width, zorder=1)
        labels.append((f"chance{where}", chance, line))
        for index, known in enumerate(published.streams(labels_kind, ways)):
            line, at = _THIN[index % len(_THIN)], [number for number in known.accuracy if number <= longest]
            values = [known.accuracy[number] for number in at]
            axes.plot(at, values, color=line.color, ls=line.dash, lw=line.width, marker=".", ms=4, zorder=5)
            labels.append((f"{known.name}, published{where}", values[-1], line))


def learning(metrics: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw training: the accuracy over episodes, and below it the training loss.

    Args:
        metrics: the rows of ``metrics.jsonl``; a row may lack any of the numbers.
        path: the picture to write, whole or not at all.

    Returns:
        ``path``.

    Raises:
        ValueError: no row has either.
    """
    where, at, accuracies = accuracy(metrics)
    parts = [("accuracy", at, accuracies), ("loss", *series(metrics, LOSS))]
    parts = [part for part in parts if len(part[1])]
    if not parts:
        raise ValueError(f"no row of the metrics has {' or '.join([*ACCURACIES, LOSS])}; train for longer first")
    figure, axes = canvas(7.6, 1.4 + 2.2 * len(parts))
    every = [axes]
    if len(parts) > 1:
        figure.delaxes(axes)
        every = list(figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1]))
        for one in every:
            clean(one)
    for one, (name, episodes, values) in zip(every, parts, strict=True):
        reach = len(values) // 60 if name == "loss" else 0
        color = COLORS[0] if name == "accuracy" else COLORS[2]
        shown = 100 * values if name == "accuracy" else values
        if reach:
            one.plot(episodes, shown, color=color, lw=0.8, alpha=0.35)
        marker = "o" if len(values) <= 30 else ""
        one.plot(episodes, smooth(shown, reach), color=color, lw=2.2, marker=marker, ms=4)
        one.set_ylabel(f"accuracy on\n{where} (%)" if name == "accuracy" else "training loss")
    every[-1].set_xlabel("training episodes")
    every[-1].xaxis.set_major_formatter(lambda value, _: thousands(value))
    figure.align_ylabels(every)
    title(every[0], "Learning curve", _cost(metrics))
    return save(figure, path)


def learning_together(runs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], path: str | Path) -> Path:
    """Draw the accuracy of several runs over episodes.

    Args:
        runs: their names and metrics.
        path: the picture to write, whole or not at all.

    Returns:
        ``path``.

    Raises:
        ValueError: no run has an accuracy.
    """
    known = [(name, *accuracy(metrics)) for name, metrics in runs]
    measured = dict.fromkeys(where for _, where, episodes, _ in known if len(episodes))
    if not measured:
        raise ValueError(f"no run has {' or '.join(ACCURACIES)} in its metrics; train for longer first")
    named = [f"{name}, {where}" if len(measured) > 1 else name for name, where, _, _ in known]
    figure, axes = canvas(7.6, 4.0 + height_below(named))
    for index, (name, (_, _, episodes, values)) in enumerate(zip(named, known, strict=True)):
        line, marker = line_of(index), "o" if len(values) <= 30 else ""
        if len(episodes):
            look: dict[str, Any] = {"color": line.color, "ls": line.dash, "lw": line.width, "marker": marker, "ms": 4}
            axes.plot(episodes, 100 * values, label=below(name), **look)
    axes.set_xlabel("training episodes")
    axes.set_ylabel(f"accuracy on {next(iter(measured))} (%)" if len(measured) == 1 else "accuracy (%)")
    axes.xaxis.set_major_formatter(lambda value, _: thousands(value))
    title(axes, "Learning curves", f"{sum(len(episodes) > 0 for _, _, episodes, _ in known)} runs")
    named_below(figure)
    return save(figure, path)


def accuracy(metrics: Sequence[Mapping[str, Any]]) -> tuple[str, Floats, Floats]:
    """What classes the accuracy of a run was measured on, and its :func:`series`."""
    found = [(where, *series(metrics, key)) for key, where in ACCURACIES.items()]
    return max(found, key=lambda one: len(one[1]))


def series(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[Floats, Floats]:
    """Training episodes and values of the rows that have a finite number of this ``name``."""
    numbers = (int, float)
    rows = [
        (row["episodes"], row[name])
        for row in metrics
        if isinstance(row.get(name), numbers) and isinstance(row.get("episodes"), numbers)
    ]
    pairs = floats(rows).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs[:, 1])]
    return pairs[:, 0], pairs[:, 1]


def _cost(metrics: Sequence[Mapping[str, Any]]) -> str:
    last = [row for row in metrics if "episodes" in row][-1]
    episodes = f"{last['episodes']:,} training episodes"
    if not isinstance(last.get("time"), int | float):
        return episodes
    minutes, seconds = divmod(round(last["time"]), 60)
    return f"{episodes} in {minutes} min {seconds:02d} s" if minutes else f"{episodes} in {seconds} s"

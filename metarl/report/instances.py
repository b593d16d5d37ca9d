"""The image of accuracy along streams, by instance: the position of an example among those of its class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metarl.evaluation.results import StreamResult
from metarl.report import published
from metarl.report.canvas import (
    SOFT,
    Line,
    below,
    canvas,
    counted,
    height_below,
    label_ends,
    line_of,
    named_below,
    save,
    title,
    whole_ticks,
)
from metarl.report.fewshot import CHANCE, LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_THIN = (Line("#000000", (0, (5, 2))), Line(SOFT, (0, (1, 1.5))), Line("#8C6D46", (0, (3, 1.5, 1, 1.5))))


class Stream(NamedTuple):
    """A result on streams, and whose it is."""

    name: str
    result: StreamResult


def instances(streams: Sequence[Stream], path: str | Path, what: str) -> Path:
    """Draw accuracy by instance with 95 % bands, and thin beside it chance and what was published of such streams.

    Args:
        streams: at least one.
        path: the image to write, whole or not at all.
        what: learner and data, for the title.

    Returns:
        ``path``.
    """
    names = [_name(stream, streams) for stream in streams]
    figure, axes = canvas(7.6, 4.4 + (height_below(names) if len(streams) > 1 else 0.1))
    labels: list[tuple[str, float, Line]] = []
    longest = max(len(stream.result.by_instance) for stream in streams)
    for index, (name, stream) in enumerate(zip(names, streams, strict=True)):
        line = line_of(index)
        mean, band = (100 * np.array(v) for v in (stream.result.by_instance, stream.result.by_instance_interval))
        x = np.arange(1, len(mean) + 1)
        label = below(name) if len(streams) > 1 else None
        axes.plot(x, mean, color=line.color, ls=line.dash, lw=line.width, marker="o", ms=5, zorder=4, label=label)
        axes.fill_between(x, band[:, 0], band[:, 1], color=line.color, alpha=0.22, lw=0, zorder=2)
        if len(streams) == 1:
            labels.append(("ours", float(mean[-1]), line))
    kinds = list(dict.fromkeys((stream.result.labels, stream.result.ways) for stream in streams))
    _references(axes, kinds, longest, labels)
    axes.set_xlabel("instance: how often the class was shown, this time included")
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(-2, 102)
    axes.set_xlim(1 - 0.02 * longest, longest * 1.02)
    whole_ticks(axes.xaxis, 10)
    told = counted(stream.result.episodes for stream in streams)
    kind_told = f" of {kinds[0][1]} classes, {LABELS[kinds[0][0]]}" if len(kinds) == 1 else ""
    sources = dict.fromkeys(known.source for kind in kinds for known in published.streams(*kind))
    thin = f"; published: {', '.join(sources)}" if sources else ""
    title(axes, f"{what}: accuracy by instance", f"{told} streams{kind_told}; bands: 95 % intervals{thin}")
    if len(streams) > 1:
        named_below(figure)
    label_ends(figure, axes, labels)
    return save(figure, path)


def _name(stream: Stream, streams: Sequence[Stream]) -> str:
    kind = f"{stream.result.ways} classes, {LABELS[stream.result.labels]}"
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

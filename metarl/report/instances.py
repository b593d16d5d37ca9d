"""The image of accuracy along streams, by instance: the position of an example among those of its class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metarl.evaluation.results import StreamResult
from metarl.report import canvas, published
from metarl.report.canvas import SOFT, Line
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
    figure, axes = canvas.figure(7.6, 4.4 + (canvas.height_below(names) if len(streams) > 1 else 0.1))
    labels: list[tuple[str, float, Line]] = []
    longest = max(len(stream.result.by_instance) for stream in streams)
    for index, (name, stream) in enumerate(zip(names, streams, strict=True)):
        line = canvas.line_of(index)
        mean, band = (100 * np.array(v) for v in (stream.result.by_instance, stream.result.by_instance_interval))
        x = np.arange(1.0, len(mean) + 1)
        label = canvas.below(name) if len(streams) > 1 else None
        shown = name if len(streams) > 1 else "ours"
        canvas.draw_line(axes, x, mean, line, shown, marker="o", ms=5, zorder=4, label=label)
        canvas.draw_band(axes, x, band[:, 0], band[:, 1], line, shown)
        if len(streams) == 1:
            labels.append(("ours", float(mean[-1]), line))
    kinds = list(dict.fromkeys((stream.result.labels, stream.result.ways) for stream in streams))
    _references(axes, kinds, longest, labels)
    axes.set_xlabel("instance: how often the class was shown, this time included")
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(-2, 102)
    axes.set_xlim(1 - 0.02 * longest, longest * 1.02)
    canvas.whole_ticks(axes.xaxis, 10)
    count = canvas.counted(stream.result.episodes for stream in streams)
    of_kind = f" of {kinds[0][1]} classes, {LABELS[kinds[0][0]]}" if len(kinds) == 1 else ""
    sources = dict.fromkeys(known.source for kind in kinds for known in published.streams(*kind))
    thin = f"; published: {', '.join(sources)}" if sources else ""
    canvas.title(axes, f"{what}: accuracy by instance", f"{count} streams{of_kind}; bands: 95 % intervals{thin}")
    if len(streams) > 1:
        canvas.named_below(figure)
    canvas.label_ends(figure, axes, labels)
    return canvas.save(figure, path)


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
        axes.axhline(chance, color=SOFT, ls=(0, (1, 2)), lw=0.9, zorder=1)
        labels.append((f"chance{where}", chance, Line(SOFT)))
        for index, known in enumerate(published.streams(labels_kind, ways)):
            line = _THIN[index % len(_THIN)]
            x, y = np.array([one for one in known.accuracy.items() if one[0] <= longest]).T
            name = f"{known.name}, published{where}"
            canvas.draw_line(axes, x, y, line, name, marker=".", ms=4, zorder=5)
            labels.append((name, float(y[-1]), line))

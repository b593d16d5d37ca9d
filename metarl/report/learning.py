"""The image of how training went, of one run or of several; a table says what is drawn for each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metarl.report import canvas, vector
from metarl.report.canvas import COLORS, INK
from metarl.runs.folder import RunFolder
from metarl.runs.metrics import read_metrics
from metarl.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = Sequence[Mapping[str, Any]]  # the rows of ``metrics.jsonl``; a row may lack any of the numbers
Series = tuple[Floats, Floats]  # where something was measured, and what: each ``[n]``


class Measure(NamedTuple):
    """A number of the metrics, and how it is drawn.

    Args:
        dots: up to this many values are marked by dots.
    """

    key: str
    label: str
    color: str
    dash: Any = "-"
    scale: float = 1.0
    smoothed: bool = False
    dots: int = 1

    @property
    def name(self) -> str:
        """The label in one line."""
        return self.label.replace("\n", " ")

    def reach(self, values: Floats) -> int:
        """Over how many neighbours on either side ``values`` ``[n]`` are averaged."""
        return len(values) // 60 if self.smoothed else 0


class Progress(NamedTuple):
    """What the learning curve of a kind of run shows.

    Args:
        axis: the key of the x-axis.
        main: alternatives: the one that has most values is drawn.
        side: drawn together below it.
    """

    axis: str
    axis_name: str
    main: tuple[Measure, ...]
    side: tuple[Measure, ...]


_BLUE, _VERMILLION, _GREEN = COLORS[:3]
_PERCENT: dict[str, Any] = {"color": _BLUE, "scale": 100.0, "dots": 30}
LEARNING: Mapping[str, Progress] = {
    "rl2": Progress(
        "env_steps",
        "environment steps",
        (Measure("rollout/ep_rew_mean", "return of a training trial (reward)", _BLUE, smoothed=True),),
        (
            Measure("train/entropy", "policy entropy (nats)", _GREEN),
            Measure("train/explained_variance", "explained variance\n(share)", _VERMILLION, (0, (5, 2))),
        ),
    ),
    "fewshot": Progress(
        "episodes",
        "training episodes",
        (
            Measure("validation/accuracy", "accuracy on\nvalidation classes (%)", **_PERCENT),
            Measure("train/accuracy", "accuracy on\ntraining classes (%)", **_PERCENT),
        ),
        (Measure("train/loss", "training loss", _GREEN, smoothed=True, dots=30),),
    ),
    "recall": Progress(
        "sequences",
        "training sequences, over all learning rates",
        (Measure("validation/accuracy", "accuracy on\nvalidation sequences (%)", **_PERCENT),),
        (Measure("train/loss", "training loss", _GREEN, dots=30),),
    ),
}


def drawn_metrics(run: RunFolder) -> Metrics:
    """What is drawn of the metrics of a run; see :func:`metarl.runs.metrics.read_metrics`."""
    every = LEARNING.values()
    means = {measure.key for progress in every for measure in (*progress.main, *progress.side)}
    return read_metrics(run.path / "metrics.jsonl", means, ("time", *(progress.axis for progress in every)))


def series(metrics: Metrics, axis: str, key: str) -> Series:
    """The finite values of a metric.

    Args:
        metrics: of a run.
        axis: the key of the x-axis.
        key: of the metric.

    Returns:
        Where it was measured and what, each ``[n]``, in the order of the rows that have both.
    """
    numbers = (int, float)
    rows = [(r[axis], r[key]) for r in metrics if isinstance(r.get(key), numbers) and isinstance(r.get(axis), numbers)]
    pairs = np.array(rows, dtype=np.float64).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs[:, 1])]
    return pairs[:, 0], pairs[:, 1]


def main_series(metrics: Metrics, kind: str) -> tuple[Measure, Series]:
    """What the upper part of a learning curve shows; it may be empty."""
    progress = LEARNING[kind]
    found = [(measure, series(metrics, progress.axis, measure.key)) for measure in progress.main]
    measure, (at, values) = max(found, key=lambda one: len(one[1][0]))
    return measure, (at, measure.scale * values)


def learned(metrics: Metrics, kind: str) -> bool:
    """Whether there is anything to draw; of a few-shot run the loss is enough."""
    side = LEARNING[kind].side if kind == "fewshot" else ()
    rows = [main_series(metrics, kind)[1], *(series(metrics, LEARNING[kind].axis, one.key) for one in side)]
    return any(len(at) for at, _ in rows)


def learning_curve(metrics: Metrics, kind: str, path: str | Path) -> Path:
    """Draw training: the return or accuracy along it, and below it what says whether training is sound.

    Args:
        metrics: of a run.
        kind: of the run, a key of :data:`LEARNING`.
        path: the image to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.

    Raises:
        ValueError: there is nothing to draw.
    """
    progress = LEARNING[kind]
    if not learned(metrics, kind):
        needed = " or ".join(one.key for one in (*progress.main, *progress.side * (kind == "fewshot")))
        raise ValueError(f"no row of the metrics has {needed}; train for longer first")
    side = [(one, series(metrics, progress.axis, one.key)) for one in progress.side]
    upper = [main_series(metrics, kind)]
    parts = [part for part in (upper, side) if any(len(at) for _, (at, _) in part)]
    heights = [1.6, 1][: len(parts)]
    figure, grid = canvas.panels(
        7.6, 1.4 + 2.2 * len(parts), len(parts), grid=True, squeeze=False, sharex=True, height_ratios=heights
    )
    every = list(grid[:, 0])
    for one, part in zip(every, parts, strict=True):
        _panel(one, part)
    every[-1].set_xlabel(progress.axis_name)
    every[-1].xaxis.set_major_formatter(lambda value, _: thousands(value))
    figure.align_ylabels(every)
    canvas.title(every[0], "Learning curve", _cost(metrics, progress))
    return canvas.save(figure, path)


def _panel(axes: Axes, part: Sequence[tuple[Measure, Series]]) -> None:
    """One measure on the left axis, or two, the second on the right one."""
    for measure, (at, values) in part:
        if measure is not part[0][0]:
            axes = axes.twinx()
            canvas.clean(axes, grid=False)
            axes.set_ylim(float(values.min(initial=0.0).clip(-0.5)) - 0.03, 1.03)
        reach = measure.reach(values)
        if reach:
            unsmoothed = f"{vector.SERIES}{measure.name}, unsmoothed"
            axes.plot(at, values, color=measure.color, lw=0.8, alpha=0.35, gid=unsmoothed)
        label = f"mean of {(2 * reach + 1) / len(values):.0%} of the reports" if reach else ""
        look: dict[str, Any] = {"lw": 1.6 if len(part) > 1 else 2.2, "ls": measure.dash, "label": label, "ms": 4}
        marker = "o" if len(values) <= measure.dots else ""
        gid = vector.SERIES + measure.name
        axes.plot(at, canvas.smooth(values, reach), color=measure.color, marker=marker, gid=gid, **look)
        if label:
            axes.legend(loc="best", frameon=False, labelcolor=INK, fontsize=9)
        axes.set_ylabel(measure.label)
        if len(part) > 1:
            axes.yaxis.label.set_color(measure.color)
            axes.tick_params(axis="y", labelcolor=measure.color)


def learning_overlay(groups: Sequence[tuple[str, Sequence[Metrics]]], kind: str, path: str | Path) -> Path:
    """Draw how several settings learn: of each the mean over its runs, and single runs as thin lines.

    Args:
        groups: names of settings with the metrics of their runs.
        kind: of the runs, a key of :data:`LEARNING`.
        path: the image to write, whole or not at all.

    Returns:
        ``path``.

    Raises:
        ValueError: there is nothing to draw.
    """
    found = [(name, [main_series(metrics, kind) for metrics in runs]) for name, runs in groups]
    drawn = [(name, [one for one in runs if len(one[1][0])]) for name, runs in found]
    measures = list(dict.fromkeys(measure for _, runs in drawn for measure, _ in runs))
    if not measures:
        needed = " or ".join(measure.key for measure in LEARNING[kind].main)
        raise ValueError(f"no run has {needed} in its metrics; train for longer first")
    several = len(measures) > 1
    names = [f"{name}: {runs[0][0].name}" if several and runs else name for name, runs in drawn]
    figure, axes = canvas.figure(7.6, 4.0 + canvas.height_below(names))
    for index, (name, (_, runs)) in enumerate(zip(names, drawn, strict=True)):
        line = canvas.line_of(index)
        curves = [(at, canvas.smooth(values, measure.reach(values))) for measure, (at, values) in runs]
        for at, values in curves if len(curves) > 1 else []:
            canvas.draw_line(axes, at, values, line, lw=0.8, alpha=0.5, gid=vector.PART + name)
        if curves:
            x = curves[int(np.argmin([at[-1] for at, _ in curves]))][0]  # as far as all runs went
            mean = np.mean([np.interp(x, *curve) for curve in curves], 0)
            marker = "o" if len(x) <= measures[0].dots else ""
            canvas.draw_line(axes, x, mean, line, name, label=canvas.below(name), marker=marker, ms=4)
    axes.set_xlabel(LEARNING[kind].axis_name)
    axes.set_ylabel("accuracy (%)" if several else measures[0].name)
    axes.xaxis.set_major_formatter(lambda value, _: thousands(value))
    sub = f"{sum(len(runs) for _, runs in drawn)} runs"
    sub += ", averaged over neighbouring reports" * measures[0].smoothed
    canvas.title(axes, "Learning curves", sub + "; thin: single runs" * any(len(runs) > 1 for _, runs in drawn))
    canvas.named_below(figure)
    return canvas.save(figure, path)


def _cost(metrics: Metrics, progress: Progress) -> str:
    last = [row for row in metrics if progress.axis in row][-1]
    count = f"{last[progress.axis]:,.0f} {progress.axis_name}"
    if not isinstance(last.get("time"), int | float):
        return count
    minutes, seconds = divmod(round(last["time"]), 60)
    return f"{count} in {minutes} min {seconds:02d} s" if minutes else f"{count} in {seconds} s"


def thousands(value: float) -> str:
    """A count of steps, such as ``2 M`` or ``50 k``."""
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"

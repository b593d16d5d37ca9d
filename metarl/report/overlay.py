"""Pictures of several runs in one: a curve for each setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metarl.report.canvas import COLORS, Line, below, canvas, height_below, named_below, save, smooth, title
from metarl.report.compare import Setting, common_env, pooled, same_tasks
from metarl.report.evaluation import headline
from metarl.report.figures import Curve, draw_curves, reference_curves
from metarl.report.learning import series, thousands
from metarl.types import Floats

_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))


def line_of(index: int) -> Line:
    """How the curve of the setting of this number is drawn; colours repeat with other dashes."""
    return Line(COLORS[index % len(COLORS)], _DASHES[index // len(COLORS) % len(_DASHES)], 2.4)


def adaptation_overlay(settings: Sequence[Setting], path: str | Path) -> Path:
    """Draw how every setting adapts: its mean over runs with a band, and the references where all share the tasks.

    Args:
        settings: what :func:`metarl.report.compare.gather` returned.
        path: the picture to write, whole or not at all.

    Returns:
        ``path``.

    Raises:
        ValueError: no run has an evaluation.
    """
    every = [evaluation for setting in settings for evaluation in setting.evaluated]
    if not every:
        raise ValueError("no run has an evaluation; make one with `metarl eval RUN`")
    along = "by_exposure" if all("by_exposure" in one for one in every) else "by_episode"
    curves = []
    for index, setting in enumerate(settings):
        if (mean := pooled(setting.evaluated, along)) is not None:
            band = mean[1] if len(setting.evaluated) > 1 or f"{along}_se" in setting.evaluated[0] else None
            curves.append(Curve(setting.name, mean[0], band, line_of(index)))
    members = [member for setting in settings for member in setting.members]
    first = max(every, key=lambda one: len(one.get("references", {})))
    references = reference_curves(first, along) if same_tasks(members) else []
    trials = sorted({one["trials"] for one in every})
    told = f"{trials[0]:,}" if len(trials) == 1 else f"{trials[0]:,} to {trials[-1]:,}"
    bands = "; bands: 95 % intervals over tasks and seeds" if any(curve.half is not None for curve in curves) else ""
    where = "trials in distribution" if first.get("in_distribution") else f"trials of {first['split']} tasks"
    sub = f"{told} {where} a run{bands}"
    return draw_curves(curves + references, first, along, {}, headline(common_env(members)), sub, path, legend=True)


def learning_overlay(settings: Sequence[Setting], path: str | Path) -> Path:
    """Draw how every setting learns: each run as a thin line, their mean as a thick one.

    Args:
        settings: what :func:`metarl.report.compare.gather` returned.
        path: the picture to write, whole or not at all.

    Returns:
        ``path``.

    Raises:
        ValueError: no run has a return in its metrics.
    """
    figure, axes = canvas(7.6, 4.0 + height_below(setting.name for setting in settings))
    drawn = 0
    for index, setting in enumerate(settings):
        line = line_of(index)
        runs = [(steps, smooth(values, len(values) // 60)) for steps, values in _returns(setting)]
        for steps, values in runs if len(runs) > 1 else []:
            axes.plot(steps, values, color=line.color, ls=line.dash, lw=0.8, alpha=0.5)
        if runs:
            x = runs[int(np.argmin([steps[-1] for steps, _ in runs]))][0]  # as far as all runs went
            mean = np.mean([np.interp(x, *run) for run in runs], 0)
            marker = "" if len(x) > 1 else "o"
            axes.plot(
                x,
                mean,
                color=line.color,
                ls=line.dash,
                lw=line.width,
                marker=marker,
                label=below(setting.name),
            )
            drawn += len(runs)
    if not drawn:
        raise ValueError("no run has a return in its metrics; train for at least one whole trial first")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return of a training trial (reward)")
    axes.xaxis.set_major_formatter(lambda value, _: thousands(value))
    thin = "; thin: single runs" if any(len(setting.members) > 1 for setting in settings) else ""
    title(axes, "Learning curves", f"{drawn} runs, averaged over neighbouring reports{thin}")
    named_below(figure)
    return save(figure, path)


def _returns(setting: Setting) -> list[tuple[Floats, Floats]]:
    found = [series(member.metrics, "rollout/ep_rew_mean") for member in setting.members]
    return [(steps, values) for steps, values in found if len(steps)]

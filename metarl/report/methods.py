"""Methods over seeds and families: interquartile means, probabilities of improvement and performance profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.evaluation.aggregate import (
    RUNS,
    Scores,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)
from metarl.evaluation.results import AgentEvaluation
from metarl.functional.stats import Interval
from metarl.report import canvas, html
from metarl.report.agent import ends_of_scale, mean_return, return_unit
from metarl.report.compare import Setting

SHOWS = ("Performance profiles", "share of runs above each score, of every method")
_THRESHOLDS = 101


class Methods(NamedTuple):
    """Methods that were trained often enough on the same tasks.

    Args:
        scores: by method, on each task.
        tasks: their names.
        unit: what a score is.
        left_out: methods with too few runs.
    """

    scores: Mapping[str, Scores]
    tasks: list[str]
    unit: str
    left_out: list[str]


def methods(families: Sequence[Sequence[Setting]]) -> Methods | None:
    """Group settings by method; scores are shares of the way from random to the best reference where these are known.

    A method is what differs within a family but for the options of its environment; a task is one choice of these.

    Args:
        families: settings of each, as :func:`metarl.report.compare.gather` returned them.

    Returns:
        None where no method has three or more runs on every task, or scores of several tasks have no common scale.
    """
    found: dict[str, dict[str, list[AgentEvaluation]]] = {}
    tasks: dict[str, None] = {}
    for settings in families:
        for setting in settings:
            of_task = [f"{name.removeprefix('env.')}={v}" for name, v in setting.options.items() if _env(name)]
            family = [one.env for one in setting.evaluated[:1]] if len(families) > 1 else []
            task = ", ".join([*family, *of_task])
            own = [f"{n.rpartition('.')[2]}={value}" for n, value in setting.options.items() if not _env(n)]
            if setting.evaluated:
                tasks[task] = None
                found.setdefault(", ".join(own) or "agent", {}).setdefault(task, []).extend(setting.evaluated)
    enough = {name for name, one in found.items() if all(len(one.get(task, ())) >= RUNS for task in tasks)}
    every = [one for by_task in found.values() for runs in by_task.values() for one in runs]
    normal = all(_share(one) is not None for one in every)
    if not enough or not (normal or len(tasks) == 1):
        return None
    unit = return_unit(every)
    scores = {
        name: [
            np.array([_share(one) if normal else mean_return(one, unit) for one in by_task[task]], float)
            for task in tasks
        ]
        for name, by_task in found.items()
        if name in enough
    }
    told = "way from random to the best reference (%)" if normal else f"reward per {unit}"
    return Methods(scores, list(tasks), told, [name for name in found if name not in enough])


def _env(option: str) -> bool:
    return option.startswith("env.")


def _share(one: AgentEvaluation) -> float | None:
    """The way from random to the best reference in per cent; None where there is none."""
    unit = return_unit([one])
    ends = ends_of_scale(one, unit)
    if ends is None or ends[1] <= ends[0]:
        return None
    return 100 * (mean_return(one, unit) - ends[0]) / (ends[1] - ends[0])


def profiles(made: Methods, path: str | Path) -> Path:
    """Draw the performance profile of every method with its band.

    Args:
        made: what :func:`methods` returned.
        path: the image to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.
    """
    every = np.concatenate([runs for scores in made.scores.values() for runs in scores])
    margin = 0.05 * (float(np.ptp(every)) or 1.0)
    x = np.linspace(float(every.min()) - margin, float(every.max()) + margin, _THRESHOLDS)
    names = list(made.scores)
    figure, axes = canvas.figure(7.6, 3.8 + canvas.height_below(names))
    for index, (name, scores) in enumerate(made.scores.items()):
        line, profile = canvas.line_of(index), performance_profile(scores, x)
        canvas.draw_line(axes, x, profile.share, line, name, label=canvas.below(name))
        canvas.draw_band(axes, x, profile.low, profile.high, line, name)
    axes.set_xlabel(made.unit)
    axes.set_ylabel("share of runs above")
    axes.set_ylim(-0.02, 1.02)
    runs = canvas.counted(len(runs) for scores in made.scores.values() for runs in scores)
    over = f"{len(made.tasks)} tasks" if len(made.tasks) > 1 else "one task"
    canvas.title(axes, "Performance profiles", f"{over}, {runs} runs each; bands: pointwise 95 % intervals")
    canvas.named_below(figure)
    return canvas.save(figure, path)


def parts(made: Methods, profile: Path) -> Iterator[str]:
    """What a page says of methods: the table of interquartile means, that of improvements, and the profiles."""
    yield html.title("Over all runs")
    means = sorted(((interquartile_mean(s), name) for name, s in made.scores.items()), key=lambda one: -one[0].mean)
    head = ("method", "runs", "interquartile mean", "95 % interval")
    rows = [(name, sum(map(len, made.scores[name])), f"{m.mean:.2f}", _range(m, 2)) for m, name in means]
    yield html.table(head, rows)
    about = [f"scores: {made.unit}; intervals: stratified bootstrap over runs (Agarwal et al. 2021)"]
    if len(made.tasks) > 1:
        about.append(f"tasks: {'; '.join(made.tasks)}")
    if made.left_out:
        about.append(f"left out, with fewer than {RUNS} runs on a task: {'; '.join(made.left_out)}")
    yield html.paragraph(*about)
    if len(means) > 1:
        yield html.title("Probability of improvement", 3)
        rows = []
        for (_, better), (_, other) in combinations(means, 2):
            one = probability_of_improvement(made.scores[better], made.scores[other])
            rows.append((f"{better} over {other}", len(made.tasks), f"{100 * one.mean:.0f} %", _range(one, 0, 100)))
        yield html.table(("a run of one is better than a run of the other", "tasks", "probability", "interval"), rows)
    yield from html.shown(profile, SHOWS, f"of {len(made.scores)} methods", 3)


def _range(one: Interval, digits: int, scale: float = 1.0) -> str:
    return f"{scale * one.low:.{digits}f} to {scale * one.high:.{digits}f}"

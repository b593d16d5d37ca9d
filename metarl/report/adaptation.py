"""The image that matters most: how an agent, or several, adapt within a trial.

Matplotlib is imported when an image is made, and only its figure objects are used: no pyplot, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from metarl.evaluation.pooling import NORMAL95, pooled
from metarl.evaluation.results import ActorResult, AgentEvaluation
from metarl.report import canvas
from metarl.report.agent import ABLATIONS, env_name, headline, held_out, one_step_episodes, step_word
from metarl.report.canvas import COLORS, SOFT, Line
from metarl.report.compare import Setting, common_env, same_tasks
from metarl.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Along = Literal["by_episode", "by_exposure"]
_BLUE, _VERMILLION, _GREEN, _ORANGE, _PURPLE, _SKY = COLORS


class Curve(NamedTuple):
    """A mean along the trial ``[x]``, half the width of its 95 % interval where it has one, and how it is drawn."""

    name: str
    mean: Floats
    half: Floats | None
    line: Line


_AGENT = Line(_BLUE, "-", 3.0)
_ABLATED = {
    "off": Line(_VERMILLION, "-", 1.9),
    "shuffled": Line(_ORANGE, "-", 1.9),
    "episode": Line(_SKY, "-", 1.9),
    "step": Line(_PURPLE, "-", 1.9),
}
_REFERENCES = {
    "random": Line("#8A8A8A", (0, (1, 1.5))),
    "greedy": Line(_PURPLE, (0, (5, 2))),
    "epsilon-greedy": Line("#8C6D46", (0, (3, 1.5, 1, 1.5))),
    "UCB1": Line(_SKY, (0, (5, 2))),
    "Thompson": Line(_GREEN, (0, (3, 1.5, 1, 1.5))),
    "Gittins": Line("#000000"),
    "within episode": Line(_PURPLE, (0, (5, 2))),
    "ideal memory": Line("#000000"),
    "greedy, fixed ties": Line(_PURPLE, (0, (1, 1.5))),
    "PSRL": Line(_GREEN, (0, (5, 2))),
    "Bayes bonus": Line(_GREEN, (0, (3, 1.5, 1, 1.5))),
    "Bayes bonus, replanned": Line("#000000"),
    "Bayes-optimal": Line("#000000", (0, (5, 2))),
    "UCB": Line(_SKY, (0, (5, 2))),
}
_OTHERS = (Line("#8C6D46", (0, (5, 2))), Line(_SKY, (0, (3, 1.5, 1, 1.5))), Line(_GREEN, (0, (1, 1.5))))
_FLAT = ("best arm known", "oracle", "known MDP")  # ceilings at a constant rate; the others are averages over a trial


def adaptation_curve(evaluation: AgentEvaluation, path: str | Path) -> Path:
    """Draw the mean reward along the trial: the agent with its 95 % band, its ablations and the references.

    The x-axis is the step of the trial where episodes have one step, else the episode of the trial, or the exposure of
    an episode's context where ``by_exposure`` is given. Fifty or more one-step episodes are smoothed a little, and the
    axis says so.

    Args:
        evaluation: what to draw.
        path: the image to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.
    """
    along: Along = "by_episode" if evaluation.by_exposure is None else "by_exposure"
    steps = len(evaluation.by_episode) if one_step_episodes(evaluation) else 1
    flat = {name: value / steps for name, value in evaluation.ceilings.items() if name in _FLAT}
    band = "; bands: 95 % intervals of the mean" if along == "by_episode" else ""
    curves = _curves(evaluation, along)
    return _draw(curves, evaluation, along, flat, headline(evaluation), held_out(evaluation) + band, path)


def adaptation_overlay(settings: Sequence[Setting], path: str | Path) -> Path:
    """Draw how every setting adapts: its mean over runs with a band, and the references where all share the tasks.

    Args:
        settings: what :func:`metarl.report.compare.gather` returned.
        path: the image to write, whole or not at all.

    Returns:
        ``path``.

    Raises:
        ValueError: no run has an evaluation.
    """
    every = [evaluation for setting in settings for evaluation in setting.evaluated]
    if not every:
        raise ValueError(
            "no run has an evaluation; make one with metarl eval, or metarl train --resume where it was cut off"
        )
    along: Along = "by_episode" if any(one.by_exposure is None for one in every) else "by_exposure"
    curves = []
    for index, setting in enumerate(settings):
        if (mean := pooled(setting.evaluated, along)) is not None:
            known = len(setting.evaluated) > 1 or along == "by_episode"
            curves.append(Curve(setting.name, mean[0], mean[1] if known else None, canvas.line_of(index)))
    members = [member for setting in settings for member in setting.members]
    first = max(every, key=lambda one: len(one.references))
    references = _references(first, along) if same_tasks(members) else []
    bands = "; bands: 95 % intervals over tasks and seeds" if any(curve.half is not None for curve in curves) else ""
    where = "trials in distribution" if first.in_distribution else f"trials of {first.split} tasks"
    sub = f"{canvas.counted(one.trials for one in every)} {where} a run{bands}"
    name = env_name(*common_env(members))
    return _draw(curves + references, first, along, {}, name, sub, path, legend=True)


def _draw(
    curves: Sequence[Curve],
    evaluation: AgentEvaluation,
    along: Along,
    flat: Mapping[str, float],
    main: str,
    sub: str,
    path: str | Path,
    legend: bool = False,
) -> Path:
    """Draw curves of adaptation, each named at its end; with ``legend`` the thick ones are named below instead.

    Args:
        curves: what to draw.
        evaluation: one that says what an episode is.
        along: the field that the curves come from, ``by_episode`` or ``by_exposure``.
        flat: constant rates by name.
        main: the title.
        sub: the line below it.
        path: the image to write.
        legend: for long names.

    Returns:
        ``path``.
    """
    count = max(len(curve.mean) for curve in curves)
    one_step = one_step_episodes(evaluation)
    reach = count // 50 if one_step and along == "by_episode" else 0
    unit = step_word(evaluation) if one_step else "episode"

    listed = [curve.name for curve in curves if legend and curve.line.width > 2]
    figure, axes = canvas.figure(7.6, 4.6 + (canvas.height_below(listed) if legend else 0))
    labels = [(name, rate, Line(SOFT)) for name, rate in flat.items()]
    for name, values, half, line in curves:
        mean = canvas.smooth(values, reach)
        x = np.arange(1.0, len(mean) + 1)
        look = {"marker": "o" if count <= 20 else "", "markersize": line.width + 2}
        label = canvas.below(name) if name in listed else "_"
        # Thin lines lie on thick ones, so that none is hidden.
        canvas.draw_line(axes, x, mean, line, name, label=label, zorder=6 - line.width, **look)
        if half is not None:
            # Neighbouring steps of a task are correlated, so the smoothed band is not narrowed.
            wide = canvas.smooth(half, reach)
            canvas.draw_band(axes, x, mean - wide, mean + wide, line, name)
        if name not in listed:
            labels.append((name, float(mean[np.isfinite(mean)][-1]), line))
    for rate in flat.values():
        axes.axhline(rate, color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=2)

    _limit_height(axes, [curve.mean for curve in curves])
    smoothed = f"\n(averaged over {2 * reach + 1} neighbouring {unit}s)" if reach else ""
    axes.set_xlabel("exposure of the episode's context" if along == "by_exposure" else f"{unit} of the trial")
    axes.set_ylabel(f"mean reward per {unit}{smoothed}")
    margin = 0.02 * max(1, count - 1)
    axes.set_xlim(1 - margin, count + margin)
    axes.set_xticks(_ticks(count))
    canvas.title(axes, main, sub)
    if legend:
        canvas.named_below(figure)
    if labels:
        canvas.label_ends(figure, axes, labels)
    return canvas.save(figure, path)


def _curves(evaluation: AgentEvaluation, along: Along) -> list[Curve]:
    """The agent and its ablations with their bands, and the references."""
    ours: list[tuple[str, ActorResult, Line]] = [("agent", evaluation, _AGENT)]
    named = [(key, name) for key, name in ABLATIONS.items() if key in evaluation.ablations]
    ours += [(f"agent, {name}", evaluation.ablations[key], _ABLATED[key]) for key, name in named]
    curves = []
    for name, result, line in ours:
        half = NORMAL95 * np.array(result.by_episode_se) if along == "by_episode" else None
        if values := getattr(result, along):
            curves.append(Curve(name, np.array(values), half, line))
    return curves + _references(evaluation, along)


def _references(evaluation: AgentEvaluation, along: Along) -> list[Curve]:
    """The references as thin lines, without bands, which would bury each other."""
    return [
        Curve(name, np.array(values), None, _REFERENCES.get(name, _OTHERS[index % len(_OTHERS)]))
        for index, (name, result) in enumerate(evaluation.references.items())
        if (values := getattr(result, along))
    ]


def _limit_height(axes: Axes, means: Sequence[Floats]) -> None:
    """Cut off bands that are far wider than the range of the means."""
    every = np.concatenate(means)
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    if high > low:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, low - (high - low)), min(top, high + high - low))


def _ticks(count: int) -> list[int]:
    """Ticks for 1, 2, ..., ``count``: round numbers, with 1 in place of 0."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(10 if count <= 20 else 6, integer=True, steps=[1, 2, 5, 10]).tick_values(0, count)
    return sorted({max(1, int(tick)) for tick in ticks if tick <= count})

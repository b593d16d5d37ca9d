"""The picture of a run that matters most: how the agent adapts within a trial.

Matplotlib is imported when a picture is made, and only its figure objects are used: no pyplot, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metarl.report.canvas import (
    COLORS,
    SOFT,
    Line,
    below,
    canvas,
    height_below,
    label_ends,
    named_below,
    save,
    smooth,
    title,
)
from metarl.report.evaluation import (
    ABLATIONS,
    Evaluation,
    check,
    floats,
    headline,
    held_out,
    one_step_episodes,
    step_word,
)
from metarl.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NORMAL95 = 1.96

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
    "greedy, prior 0": Line(_PURPLE, (0, (3, 1.5, 1, 1.5))),
    "PSRL": Line(_GREEN, (0, (5, 2))),
    "PSRL, prior 0": Line(_GREEN, (0, (3, 1.5, 1, 1.5))),
    "Bayes bonus": Line("#000000"),
    "UCB": Line(_SKY, (0, (5, 2))),
}
_OTHERS = (Line("#8C6D46", (0, (5, 2))), Line(_SKY, (0, (3, 1.5, 1, 1.5))), Line(_GREEN, (0, (1, 1.5))))
_FLAT = ("best arm known", "oracle", "known MDP")  # ceilings at a constant rate; the others are averages over a trial


def adaptation_curve(evaluation: Evaluation, path: str | Path) -> Path:
    """Draw the mean reward along the trial: the agent with its 95 % band, its ablations and the references.

    The x-axis is the step of the trial where episodes have one step, else the episode of the trial, or the exposure of
    an episode's context where ``by_exposure`` is given. Fifty or more one-step episodes are smoothed a little, and the
    axis says so.

    Args:
        evaluation: the fields of ``evaluation.json``.
        path: the picture to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.

    Raises:
        ValueError: a field is missing.
    """
    check(evaluation)
    along = "by_exposure" if "by_exposure" in evaluation else "by_episode"
    flat = {}
    for name, value in evaluation.get("ceilings", {}).items():
        if name in _FLAT:
            flat[name] = value / len(evaluation["by_episode"]) if one_step_episodes(evaluation) else value
    band = "; bands: 95 % intervals of the mean" if f"{along}_se" in evaluation else ""
    curves = _curves(evaluation, along)
    return draw_curves(curves, evaluation, along, flat, headline(evaluation), held_out(evaluation) + band, path)


def draw_curves(
    curves: Sequence[Curve],
    evaluation: Evaluation,
    along: str,
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
        path: the picture to write.
        legend: for long names.
    """
    count = max(len(curve.mean) for curve in curves)
    one_step = one_step_episodes(evaluation)
    reach = count // 50 if one_step and along == "by_episode" else 0
    unit = step_word(evaluation) if one_step else "episode"

    listed = [curve.name for curve in curves if legend and curve.line.width > 2]
    figure, axes = canvas(7.6, 4.6 + (height_below(listed) if legend else 0))
    labels: list[tuple[str, float, Line]] = []
    for name, values, half, line in curves:
        mean = smooth(values, reach)
        x = np.arange(1, len(mean) + 1)
        marker = "o" if count <= 20 else ""
        top = 6 - line.width  # thin lines lie on thick ones, so that none is hidden
        axes.plot(
            x,
            mean,
            color=line.color,
            ls=line.dash,
            lw=line.width,
            marker=marker,
            ms=line.width + 2,
            zorder=top,
            label=below(name) if name in listed else None,
        )
        if half is not None:
            # Neighbouring steps of a task are correlated, so the smoothed band is not narrowed.
            wide = smooth(half, reach)
            axes.fill_between(x, mean - wide, mean + wide, color=line.color, alpha=0.22, lw=0, zorder=2)
        if name not in listed:
            labels.append((name, float(mean[np.isfinite(mean)][-1]), line))
    for name, rate in flat.items():
        axes.axhline(rate, color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=2)
        labels.append((name, rate, Line(SOFT)))

    _keep_in_sight(axes, [curve.mean for curve in curves])
    where = "exposure of the episode's context" if along == "by_exposure" else f"{unit} of the trial"
    smoothed = f"\n(averaged over {2 * reach + 1} neighbouring {unit}s)" if reach else ""
    axes.set_xlabel(where)
    axes.set_ylabel(f"mean reward per {unit}{smoothed}")
    margin = 0.02 * max(1, count - 1)
    axes.set_xlim(1 - margin, count + margin)
    axes.set_xticks(_counted(count))
    title(axes, main, sub)
    if legend:
        named_below(figure)
    if labels:
        label_ends(figure, axes, labels)
    return save(figure, path)


def _curves(evaluation: Evaluation, along: str) -> list[Curve]:
    """The agent and its ablations with their bands, and the references."""
    ablations = evaluation.get("ablations", {})
    ours: list[tuple[str, Evaluation, Line]] = [("agent", evaluation, _AGENT)]
    ours += [(f"agent, {name}", ablations[key], _ABLATED[key]) for key, name in ABLATIONS.items() if key in ablations]
    curves = []
    for name, result, line in ours:
        if along in result:
            half = _NORMAL95 * floats(result[f"{along}_se"]) if f"{along}_se" in result else None
            curves.append(Curve(name, floats(result[along]), half, line))
    return curves + reference_curves(evaluation, along)


def reference_curves(evaluation: Evaluation, along: str) -> list[Curve]:
    """The references as thin lines, without bands, which would bury each other."""
    references = enumerate(evaluation.get("references", {}).items())
    return [
        Curve(name, floats(result[along]), None, _REFERENCES.get(name, _OTHERS[index % len(_OTHERS)]))
        for index, (name, result) in references
        if along in result
    ]


def _keep_in_sight(axes: Axes, means: Sequence[Floats]) -> None:
    """Let bands that are far wider than what they belong to leave the picture."""
    every = np.concatenate(means)
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    if high > low:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, low - (high - low)), min(top, high + high - low))


def _counted(count: int) -> list[int]:
    """Ticks for 1, 2, ..., ``count``: round numbers, with 1 in place of 0."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(10 if count <= 20 else 6, integer=True, steps=[1, 2, 5, 10]).tick_values(0, count)
    return sorted({max(1, int(tick)) for tick in ticks if tick <= count})

"""Pictures of a run: how the agent adapts within a trial, and how training went.

Matplotlib is imported when a picture is made, and only its figure objects are used: no pyplot, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metarl.report.canvas import (
    COLORS,
    INK,
    SOFT,
    Line,
    below,
    canvas,
    clean,
    height_below,
    label_ends,
    named_below,
    save,
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
}
_OTHERS = (Line("#8C6D46", (0, (5, 2))), Line(_SKY, (0, (3, 1.5, 1, 1.5))), Line(_GREEN, (0, (1, 1.5))))
_FLAT = ("best arm known", "oracle")  # ceilings that are a constant rate; the others are averages over a trial


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
            x, mean, color=line.color, ls=line.dash, lw=line.width, marker=marker, ms=line.width + 2, zorder=top,
            label=below(name) if name in listed else None,
        )  # fmt: skip
        if half is not None:
            # Neighbouring steps of a task are correlated, so the smoothed band is not narrowed.
            wide = smooth(half, reach)
            axes.fill_between(x, mean - wide, mean + wide, color=line.color, alpha=0.22, lw=0, zorder=2)
        if name not in listed:
            labels.append((name, float(mean[np.isfinite(mean)][-1]), line))
    for name, rate in flat.items():
        axes.axhline(rate, color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=2)
        labels.append((name, rate, Line(SOFT)))

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


def learning_curve(metrics: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw training: the return over environment steps, and below it the policy's entropy and explained variance.

    Args:
        metrics: the rows of ``metrics.jsonl``; a row may lack any of the numbers.
        path: the picture to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.

    Raises:
        ValueError: no row has a return.
    """
    steps, returns = series(metrics, "rollout/ep_rew_mean")
    if not len(steps):
        raise ValueError("no row of the metrics has rollout/ep_rew_mean; train for at least one whole trial first")
    entropy, explained = series(metrics, "train/entropy"), series(metrics, "train/explained_variance")
    below = len(entropy[0]) > 0 or len(explained[0]) > 0

    figure, axes = canvas(7.6, 5.6 if below else 3.8)
    bottom = axes
    if below:
        figure.delaxes(axes)
        axes, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
        clean(axes)
        clean(bottom)
    reach = len(returns) // 60
    if reach:
        axes.plot(steps, returns, color=_BLUE, lw=0.8, alpha=0.35)
    label = f"mean of {2 * reach + 1} neighbouring reports" if reach else ""
    axes.plot(steps, smooth(returns, reach), color=_BLUE, lw=2.2, label=label, marker="" if len(steps) > 1 else "o")
    if label:
        axes.legend(loc="best", frameon=False, labelcolor=INK, fontsize=9)
    axes.set_ylabel("return of a training trial (reward)")
    if below:
        _side(bottom, entropy, "policy entropy (nats)", _GREEN, "-")
        right = bottom.twinx()
        clean(right, grid=False)
        _side(right, explained, "explained variance\n(share)", _VERMILLION, (0, (5, 2)))
        figure.align_ylabels([axes, bottom])
        right.set_ylim(float(explained[1].min(initial=0.0).clip(-0.5)) - 0.03, 1.03)
    bottom.set_xlabel("environment steps")
    bottom.xaxis.set_major_formatter(lambda value, _: thousands(value))
    title(axes, "Learning curve", _cost(metrics))
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


def _counted(count: int) -> list[int]:
    """Ticks for 1, 2, ..., ``count``: round numbers, with 1 in place of 0."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(10 if count <= 20 else 6, integer=True, steps=[1, 2, 5, 10]).tick_values(0, count)
    return sorted({max(1, int(tick)) for tick in ticks if tick <= count})


def smooth(values: Floats, reach: int) -> Floats:
    """Mean over ``reach`` neighbours on either side; fewer near the ends, where both sides lose alike."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    near = np.minimum(reach, np.minimum(index, index[::-1]))
    return (total[index + near + 1] - total[index - near]) / (2 * near + 1) if reach else values


def series(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[Floats, Floats]:
    """Environment steps and values of the rows that have a finite number of this ``name``."""
    rows = [(row["env_steps"], row[name]) for row in metrics if isinstance(row.get(name), int | float)]
    pairs = floats(rows).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs[:, 1])]
    return pairs[:, 0], pairs[:, 1]


def _cost(metrics: Sequence[Mapping[str, Any]]) -> str:
    last = metrics[-1]
    steps = f"{last['env_steps']:,} environment steps"
    if not isinstance(last.get("time"), int | float):
        return steps
    minutes, seconds = divmod(round(last["time"]), 60)
    return f"{steps} in {minutes} min {seconds:02d} s" if minutes else f"{steps} in {seconds} s"


def _side(axes: Axes, series: tuple[Floats, Floats], label: str, color: str, dash: Any) -> None:
    axes.plot(*series, color=color, lw=1.6, ls=dash)
    axes.set_ylabel(label, color=color)
    axes.tick_params(axis="y", labelcolor=color)


def thousands(value: float) -> str:
    """A count of steps, such as ``2 M`` or ``50 k``."""
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"

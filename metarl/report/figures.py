"""Pictures of a run: how the agent adapts within a trial, and how training went.

Matplotlib is imported when a picture is made, and only its figure objects are used: no pyplot, no global state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl.report.canvas import INK, SOFT, Line, canvas, clean, label_ends, save, title
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
from metarl.runs import RunError, RunFolder
from metarl.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NORMAL95 = 1.96

# Okabe and Ito's palette, told apart under every common colour blindness; yellow is left out, pale on white.
_BLUE, _VERMILLION, _ORANGE, _GREEN, _SKY, _PURPLE = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#56B4E9", "#CC79A7"


_AGENT = Line(_BLUE, "-", 3.0)
_ABLATED = {"off": Line(_VERMILLION, "-", 1.9), "shuffled": Line(_ORANGE, "-", 1.9)}
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
    count = len(evaluation[along])
    one_step = one_step_episodes(evaluation)
    reach = count // 50 if one_step and along == "by_episode" else 0
    unit = step_word(evaluation) if one_step else "episode"

    figure, axes = canvas(7.6, 4.6)
    labels: list[tuple[str, float, Line]] = []
    for name, result, line in _curves(evaluation, along):
        mean = _smooth(floats(result[along]), reach)
        x = np.arange(1, len(mean) + 1)
        marker = "o" if count <= 20 else ""
        top = 6 - line.width  # thin lines lie on thick ones, so that none is hidden
        axes.plot(x, mean, color=line.color, ls=line.dash, lw=line.width, marker=marker, ms=line.width + 2, zorder=top)
        if f"{along}_se" in result:
            # Neighbouring steps of a task are correlated, so the smoothed band is not narrowed.
            half = _NORMAL95 * _smooth(floats(result[f"{along}_se"]), reach)
            axes.fill_between(x, mean - half, mean + half, color=line.color, alpha=0.22, lw=0, zorder=2)
        labels.append((name, float(mean[np.isfinite(mean)][-1]), line))
    for name, value in evaluation.get("ceilings", {}).items():
        if name in _FLAT:
            rate = value / len(evaluation["by_episode"]) if one_step else value
            axes.axhline(rate, color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=2)
            labels.append((name, rate, Line(SOFT)))

    where = "exposure of the episode's context" if along == "by_exposure" else f"{unit} of the trial"
    smoothed = f"\n(averaged over {2 * reach + 1} neighbouring {unit}s)" if reach else ""
    axes.set_xlabel(where)
    axes.set_ylabel(f"mean reward per {unit}{smoothed}")
    margin = 0.02 * max(1, count - 1)
    axes.set_xlim(1 - margin, count + margin)
    axes.set_xticks(_counted(count))
    band = "; bands: 95 % intervals of the mean" if f"{along}_se" in evaluation else ""
    title(axes, headline(evaluation), held_out(evaluation) + band)
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
    steps, returns = _series(metrics, "rollout/ep_rew_mean")
    if not len(steps):
        raise ValueError("no row of the metrics has rollout/ep_rew_mean; train for at least one whole trial first")
    entropy, explained = _series(metrics, "train/entropy"), _series(metrics, "train/explained_variance")
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
    axes.plot(steps, _smooth(returns, reach), color=_BLUE, lw=2.2, label=label, marker="" if len(steps) > 1 else "o")
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
    bottom.xaxis.set_major_formatter(lambda value, _: _thousands(value))
    title(axes, "Learning curve", _cost(metrics))
    return save(figure, path)


def _curves(evaluation: Evaluation, along: str) -> list[tuple[str, Mapping[str, Any], Line]]:
    curves: list[tuple[str, Mapping[str, Any], Line]] = [("agent", evaluation, _AGENT)]
    ablations = evaluation.get("ablations", {})
    curves += [(f"agent, {name}", ablations[key], _ABLATED[key]) for key, name in ABLATIONS.items() if key in ablations]
    for index, (name, result) in enumerate(evaluation.get("references", {}).items()):
        alone = {key: value for key, value in result.items() if key == along}  # no band: thin lines stay clear
        curves.append((name, alone, _REFERENCES.get(name, _OTHERS[index % len(_OTHERS)])))
    return [curve for curve in curves if along in curve[1]]


def _counted(count: int) -> list[int]:
    """Ticks for 1, 2, ..., ``count``: round numbers, with 1 in place of 0."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(10 if count <= 20 else 6, integer=True, steps=[1, 2, 5, 10]).tick_values(0, count)
    return sorted({max(1, int(tick)) for tick in ticks if tick <= count})


def _smooth(values: Floats, reach: int) -> Floats:
    """Mean over ``reach`` neighbours on either side; fewer near the ends, where both sides lose alike."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    near = np.minimum(reach, np.minimum(index, index[::-1]))
    return (total[index + near + 1] - total[index - near]) / (2 * near + 1) if reach else values


def _series(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[Floats, Floats]:
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


def _thousands(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"


def draw_run(run: RunFolder) -> list[Path]:
    """All pictures that a run folder has the data for, into its ``figures`` folder.

    Raises:
        RunError: the folder has neither an evaluation nor metrics.
    """
    drawn = []
    if run.evaluation.is_file():
        try:
            evaluation = json.loads(run.evaluation.read_text())
        except ValueError:
            told = f"{run.evaluation} is damaged; remove it and make it again with metarl eval {run.path}"
            raise RunError(told) from None
        drawn.append(adaptation_curve(evaluation, run.figures / "adaptation.png"))
    if (run.path / "metrics.jsonl").is_file() and (rows := run.metrics()):
        drawn.append(learning_curve(rows, run.figures / "learning.png"))
    if not drawn:
        raise RunError(
            f"{run.path} has nothing to draw: no evaluation.json and no metrics.jsonl; train or evaluate first"
        )
    return drawn

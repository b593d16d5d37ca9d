"""The picture of how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl.report.canvas import COLORS, INK, canvas, clean, save, smooth, title
from metarl.report.evaluation import floats
from metarl.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        axes.plot(steps, returns, color=COLORS[0], lw=0.8, alpha=0.35)
    label = f"mean of {2 * reach + 1} neighbouring reports" if reach else ""
    axes.plot(steps, smooth(returns, reach), color=COLORS[0], lw=2.2, label=label, marker="" if len(steps) > 1 else "o")
    if label:
        axes.legend(loc="best", frameon=False, labelcolor=INK, fontsize=9)
    axes.set_ylabel("return of a training trial (reward)")
    if below:
        _side(bottom, entropy, "policy entropy (nats)", COLORS[2], "-")
        right = bottom.twinx()
        clean(right, grid=False)
        _side(right, explained, "explained variance\n(share)", COLORS[1], (0, (5, 2)))
        figure.align_ylabels([axes, bottom])
        right.set_ylim(float(explained[1].min(initial=0.0).clip(-0.5)) - 0.03, 1.03)
    bottom.set_xlabel("environment steps")
    bottom.xaxis.set_major_formatter(lambda value, _: thousands(value))
    title(axes, "Learning curve", _cost(metrics))
    return save(figure, path)


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

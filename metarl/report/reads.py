"""The image of what an agent reads of its memory along a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from metarl.evaluation.records import Trial
from metarl.report import canvas, vector
from metarl.report.canvas import COLORS, GRID, INK, SOFT
from metarl.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACTIONS = (*COLORS, "#8C6D46", "#7F7F7F", "#B5BD00", "#5B3FA0", "#00B8C4", "#A3003F")
"""Colours of the actions that slots hold; more actions than these are not told apart."""
GREEN = COLORS[2]
CELLS = 350  # cells of the image along either side; more steps and slots are put together
MARKED = 20  # episodes are separated by lines if there are fewer than this; more would hide what is below them


def memory_reads(trial: Trial, path: str | Path) -> Path:
    """Draw the reading weights of a trial: slots over steps, and below them the share that no slot got.

    Beside each slot stand the action and the reward that it holds, where that is known: they say something also where
    all slots are read alike.

    Slots are in the order of writing. Colours show the square root, so that little is seen beside much, and end where
    all but the largest of two hundred cells lie. Of many steps the mean is shown, of many slots the sum.

    Args:
        trial: one with weights.
        path: the image to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.

    Raises:
        ValueError: the trial has no weights.
    """
    if trial.weights is None:
        raise ValueError("the trial has no reading weights; an agent without a store has none")
    from matplotlib.colors import PowerNorm

    steps, slots = trial.weights.shape
    by_slot, by_step = -(-slots // CELLS), -(-steps // CELLS)
    shown = _blocks(_blocks(trial.weights.T, by_slot, "sum").T, by_step, "mean").T
    most = max(float(np.nanquantile(shown, 0.995)), 1e-6)

    figure, (top, strip) = canvas.panels(7.6, 6.2, 2, 1, sharex=True, height_ratios=[9, 1])
    top.set_facecolor(GRID)
    where: dict[str, Any] = {"origin": "lower", "extent": (0.5, steps + 0.5, 0.5, slots + 0.5), "aspect": "auto"}
    look: dict[str, Any] = {"cmap": "Blues", "norm": PowerNorm(0.5, 0, most), "interpolation": "nearest"}
    image = top.imshow(shown, gid=vector.INVERT, **look, **where)
    _contents(figure, top, trial, slots)
    together = [f"sum of {by_slot} slots"] * (by_slot > 1) + [f"mean of {by_step} steps"] * (by_step > 1)
    label = "weight" + (f" ({', '.join(together)})" if together else "")
    canvas.color_bar(figure, image, top, label, True, extend="max" if np.nanmax(shown) > most else "neither")
    unread = (1 - np.nansum(trial.weights, 1)).clip(0, 1)
    strip.stairs(unread, np.arange(steps + 1) + 0.5, fill=True, color=SOFT)
    strip.set(ylim=(0, 1), yticks=[0, 1], ylabel="read of\nno slot", xlabel="step of the trial")
    for axis in (strip.xaxis, top.yaxis):
        canvas.whole_ticks(axis)

    episodes = trial.episodes()
    held = _HELD[holds(trial)]
    top.set_ylabel(f"memory slot{held}")
    marks = [part.stop + 0.5 for part in episodes[:-1] if part.stop < steps]
    marks = marks if len(marks) < MARKED and len(episodes) < len(trial.rewards) else []
    for mark in marks:
        for axes in (top, strip):
            axes.axvline(mark, color=INK, lw=0.7, ls=(0, (4, 3)))
        if holds(trial) == "step":
            top.axhline(mark, color=INK, lw=0.7, ls=(0, (4, 3)))
    figure.align_ylabels([top, strip])
    ends = "; dashed: where an episode ends" if marks else ""
    canvas.title(top, "What the agent reads of its memory", f"along one trial; grey: nothing written yet{ends}")
    return canvas.save(figure, path)


def _contents(figure: Figure, top: Axes, trial: Trial, slots: int) -> None:
    """Draw beside each slot which action and reward it holds, as far as that is known and differs."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    held = holds(trial)
    if held is None:
        return
    rewards = trial.rewards if held == "step" else np.array([trial.rewards[part].sum() for part in trial.episodes()])
    place, named = 1.015, []
    taken = np.unique(trial.actions[:slots])
    if held == "step" and trial.actions.ndim == 1 and taken.dtype.kind in "iu" and len(taken) <= len(ACTIONS):
        colors = dict(zip(taken.tolist(), ACTIONS, strict=False))
        _strip(top, place, [colors[action] for action in trial.actions[:slots].tolist()], "action")
        place += 0.035
        named += [Patch(color=color, label=str(action)) for action, color in colors.items()]
    low, high = float(rewards[:slots].min()), float(rewards[:slots].max())
    if high > low:
        share = (rewards[:slots] - low) / (high - low)
        green = to_rgb(GREEN)
        _strip(top, place, [(*green, 0.08 + 0.92 * float(part)) for part in share], "reward")
        named.append(Patch(color=GREEN, label=f"reward {high:.3g} (pale: {low:.3g})"))
    if named:
        where: dict[str, Any] = {
            "loc": "outside lower left",
            "ncols": len(named),
            "title": "At the right: what a slot holds",
        }
        legend = figure.legend(
            handles=named,
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
            handlelength=1,
            columnspacing=1,
            alignment="left",
            **where,
        )
        legend.get_title().set(fontsize=8.5, color=SOFT)


def _strip(top: Axes, place: float, colors: Sequence[Any], name: str) -> None:
    """A column of cells beside the axes, one for each slot from below."""
    axes = top.inset_axes((place, 0, 0.025, 1))
    starts = [i for i in range(len(colors)) if i == 0 or colors[i] != colors[i - 1]]  # neighbours alike are one bar
    high = np.diff([*starts, len(colors)])
    axes.barh(np.array(starts) + 0.5, 1, height=high, align="edge", color=[colors[i] for i in starts], lw=0)
    axes.set(xlim=(0, 1), ylim=(0.5, len(colors) + 0.5), yticks=[], xticks=[])
    axes.set_xlabel(name, rotation=90, fontsize=8.5, color=INK)
    axes.spines[:].set_visible(False)


Held = Literal["step", "episode"] | None
_HELD: dict[Held, str] = {
    "step": " (the step that it holds)",
    "episode": " (the episode that it holds)",
    None: ", in the order of writing",
}


def holds(trial: Trial) -> Held:
    """What the slot of a number holds: the step or the episode of this number, where none was replaced; else None."""
    assert trial.weights is not None
    steps, slots = trial.weights.shape
    if slots == steps - 1:
        return "step"
    return "episode" if slots == len(trial.episodes()) - 1 else None


def _blocks(values: Floats, size: int, how: str) -> Floats:
    """Sums or means of ``size`` neighbouring rows of ``[n, m]``; nan where all of them are nan."""
    if size == 1:
        return values
    starts = np.arange(0, len(values), size)
    known = np.isfinite(values)
    total, count = np.add.reduceat(np.where(known, values, 0.0), starts), np.add.reduceat(known.astype(int), starts)
    return np.where(count > 0, total / np.maximum(1, count) if how == "mean" else total, np.nan)

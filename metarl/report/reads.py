"""The image of what an agent reads of its memory along a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metarl.evaluation.records import Trial
from metarl.report import canvas
from metarl.report.canvas import GRID, INK, SOFT
from metarl.types import Floats

CELLS = 350  # cells of the image along either side; more steps and slots are put together
MARKED = 20  # episodes are separated by lines if there are fewer than this; more would hide what is below them


def memory_reads(trial: Trial, path: str | Path) -> Path:
    """Draw the reading weights of a trial: slots over steps, and below them the share that no slot got.

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
    image = top.imshow(shown, cmap="Blues", norm=PowerNorm(0.5, 0, most), interpolation="nearest", **where)
    together = [f"sum of {by_slot} slots"] * (by_slot > 1) + [f"mean of {by_step} steps"] * (by_step > 1)
    label = "weight" + (f" ({', '.join(together)})" if together else "")
    canvas.color_bar(figure, image, top, label, extend="max" if np.nanmax(shown) > most else "neither")
    unread = (1 - np.nansum(trial.weights, 1)).clip(0, 1)
    strip.stairs(unread, np.arange(steps + 1) + 0.5, fill=True, color=SOFT)
    strip.set(ylim=(0, 1), yticks=[0, 1], ylabel="read of\nno slot", xlabel="step of the trial")
    for axis in (strip.xaxis, top.yaxis):
        canvas.whole_ticks(axis)

    episodes = trial.episodes()
    held = _held(steps, slots, len(episodes))
    top.set_ylabel(f"memory slot{held}")
    marks = [part.stop + 0.5 for part in episodes[:-1] if part.stop < steps]
    marks = marks if len(marks) < MARKED and len(episodes) < len(trial.rewards) else []
    for mark in marks:
        for axes in (top, strip):
            axes.axvline(mark, color=INK, lw=0.7, ls=(0, (4, 3)))
        if held == _BY_STEP:
            top.axhline(mark, color=INK, lw=0.7, ls=(0, (4, 3)))
    figure.align_ylabels([top, strip])
    ends = "; dashed: where an episode ends" if marks else ""
    canvas.title(top, "What the agent reads of its memory", f"along one trial; grey: nothing written yet{ends}")
    return canvas.save(figure, path)


_BY_STEP, _BY_EPISODE = " (the step that it holds)", " (the episode that it holds)"


def _held(steps: int, slots: int, episodes: int) -> str:
    """What the number of a slot means: with one slot a step, or one an episode, none of which was replaced."""
    if slots == steps - 1:
        return _BY_STEP
    return _BY_EPISODE if slots == episodes - 1 else ", in the order of writing"


def _blocks(values: Floats, size: int, how: str) -> Floats:
    """Sums or means of ``size`` neighbouring rows of ``[n, m]``; nan where all of them are nan."""
    if size == 1:
        return values
    starts = np.arange(0, len(values), size)
    known = np.isfinite(values)
    total, count = np.add.reduceat(np.where(known, values, 0.0), starts), np.add.reduceat(known.astype(int), starts)
    return np.where(count > 0, total / np.maximum(1, count) if how == "mean" else total, np.nan)

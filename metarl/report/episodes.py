"""Images of single trials: the first episode beside the last one, or the pulls of a bandit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl.evaluation.records import Trial
from metarl.report import canvas, vector
from metarl.report.canvas import COLORS, GRID, INK, SOFT
from metarl.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 6  # at most this many numbers of an observation are drawn as lines; more are drawn as rows of a map
ROWS = 64  # numbers of an observation beyond which it is left out
FRAMES = 6  # images that are shown of an episode
PULLS = 3  # trials that are shown of a bandit
Part = tuple[str, slice]  # the name of an episode, and its steps


def episodes(trials: Sequence[Trial], path: str | Path) -> Path:
    """Draw what adaptation looks like in single trials, chosen before anything was seen of them.

    Where every episode is one step: which arm was pulled and its reward, along the first trials. Else the first
    episode beside the last whole one of the first trial: as images where the agent sees images, else as traces of
    observation, action and reward.

    Args:
        trials: at least one.
        path: the image to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.

    Raises:
        ValueError: no trials.
    """
    if not trials:
        raise ValueError("there are no trials to draw; expected at least one")
    trial = trials[0]
    if trial.ends.all() and trial.actions.ndim == 1 and trial.actions.dtype.kind in "iu":
        return _pulls(trials[:PULLS], path)
    parts = compared(trial)
    images = [part for part in trial.observations.values() if _is_image(part)]
    figure, tops = _filmstrip(trial, images[0], parts) if images else _traces(trial, parts)
    for (name, steps), axes in zip(parts, tops, strict=True):
        canvas.subtitle(axes, f"{name}: return {trial.rewards[steps].sum():.4g}")
    canvas.heading(figure, tops[0], f"One trial: {'first and last' if len(parts) > 1 else 'its only'} episode")
    return canvas.save(figure, path)


def compared(trial: Trial) -> list[Part]:
    """The first episode and the last whole one, with their names; only one where there are no two whole ones."""
    parts = trial.episodes()
    whole = [number for number, part in enumerate(parts) if trial.ends[part.stop - 1]]
    last = whole[-1] if whole else 0
    numbers = [0] if last == 0 else [0, last]
    return [(f"episode {number + 1} of {len(parts)}", parts[number]) for number in numbers]


def _pulls(trials: Sequence[Trial], path: str | Path) -> Path:
    figure, grid = canvas.panels(7.6, 1.4 + 1.6 * len(trials), len(trials), 1, squeeze=False, sharex=True, sharey=True)
    every = np.unique(np.concatenate([trial.rewards for trial in trials]))
    paid = bool(np.isin(every, (0, 1)).all())
    most = float(max(-every.min(), every.max()))
    shown: Any = None
    for number, (trial, axes) in enumerate(zip(trials, grid[:, 0], strict=True), start=1):
        x, size = np.arange(1, len(trial.rewards) + 1), float(np.clip(1500 / len(trial.rewards), 4, 40))
        if paid:
            for value, style in ((1, {"c": COLORS[0]}), (0, {"c": COLORS[1], "marker": "x", "lw": 1})):
                at = trial.rewards == value
                axes.scatter(x[at], trial.actions[at], s=size, **style)
        else:
            shown = axes.scatter(
                x, trial.actions, c=trial.rewards, s=size, cmap="PuOr", vmin=-most, vmax=most, edgecolors=SOFT, lw=0.3
            )
        axes.grid(axis="y", color=GRID, lw=0.8)
        axes.set_ylabel(f"trial {number}:\narm")
        canvas.whole_ticks(axes.yaxis, 6)
        axes.margins(x=0.01, y=0.12)
    if shown is not None:
        canvas.color_bar(figure, shown, grid, "reward")
    grid[-1, 0].set_xlabel("pull of the trial")
    canvas.whole_ticks(grid[-1, 0].xaxis)
    what = "blue dot: reward 1; orange cross: reward 0" if paid else "colour: reward"
    canvas.subtitle(grid[0, 0], what)
    canvas.heading(figure, grid[0, 0], "Which arm the agent pulls in each trial")
    return canvas.save(figure, path)


def _traces(trial: Trial, parts: Sequence[Part]) -> tuple[Figure, Sequence[Axes]]:
    """The figure, and its axes below the title of each part."""
    rows = [(name, part) for name, part in trial.observations.items() if _shows(part)]
    rows += [("action", trial.actions.reshape(len(trial.actions), -1)), ("reward", trial.rewards[:, None])]
    figure, grid = canvas.panels(
        7.6, 1.2 + 1.5 * len(rows), len(rows), len(parts), squeeze=False, sharex="col", sharey="row"
    )
    for (name, values), line in zip(rows, grid, strict=True):
        for (_, steps), axes in zip(parts, line, strict=True):
            _trace(axes, name, values.reshape(len(values), -1), steps, axes is line[-1])
        line[0].set_ylabel(canvas.plain(name.removeprefix("obs.")) if name != "obs" else "observation")
    for axes in grid[-1]:
        axes.set_xlabel("step of the episode")
        canvas.whole_ticks(axes.xaxis)
    figure.align_ylabels(grid[:, 0])
    return figure, grid[0]


def _trace(axes: Axes, name: str, values: Array, steps: slice, last: bool) -> None:
    """One part of a trial ``[T, D]`` over the steps of an episode; the ``last`` of a row names the lines."""
    canvas.clean(axes)
    part = values[steps]
    edges = np.arange(len(part) + 1) + 0.5
    if _one_hot(values):
        part = part.argmax(1)[:, None]
    elif values.shape[1] > LINES:
        axes.grid(False)
        where: dict[str, Any] = {"extent": (0.5, len(part) + 0.5, part.shape[1] - 0.5, -0.5), "aspect": "auto"}
        axes.imshow(
            part.T,
            cmap="Greys",
            vmin=values.min(),
            vmax=values.max(),
            interpolation="nearest",
            gid=vector.INVERT,
            **where,
        )
        return
    stepped = name in ("action", "reward") or part.dtype.kind in "iu"
    for index, (color, one) in enumerate(zip(cycle(COLORS), part.T, strict=False)):
        label = str(index) if part.shape[1] > 1 else ""
        if stepped:
            axes.stairs(one, edges, baseline=None, color=color, lw=1.6, label=label)
        else:
            axes.plot(np.arange(1, len(one) + 1), one, color=color, lw=1.4, label=label)
    if name == "reward":
        axes.axhline(0, color=GRID, lw=0.8, zorder=0)  # zero is always visible
    if part.dtype.kind in "iu":
        canvas.whole_ticks(axes.yaxis, 5)
    axes.margins(x=0.02, y=0.12)
    if part.shape[1] > 1 and last:
        look: dict[str, Any] = {"frameon": False, "fontsize": 8, "handlelength": 1, "labelcolor": INK}
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), **look)


def _filmstrip(trial: Trial, images: Array, parts: Sequence[Part]) -> tuple[Figure, Sequence[Axes]]:
    """The figure, and its axes below the title of each part."""
    chosen = [_spread(steps, FRAMES) for _, steps in parts]
    figure, grid = canvas.panels(7.6, 0.6 + 2.0 * len(parts), len(parts), max(map(len, chosen)), squeeze=False)
    for axes in np.ravel(grid):
        axes.set_axis_off()
    for (_, steps), frames, line in zip(parts, chosen, grid, strict=True):
        for step, axes in zip(frames, line, strict=False):
            axes.imshow(_visible(images[step]), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            did = " ".join(f"{value:.2g}" for value in np.ravel(trial.actions[step]))
            which = f"step {step - steps.start + 1}\naction {textwrap.shorten(did, 14)}"
            text = f"{which}\nreward {trial.rewards[step]:.3g}"
            axes.text(0.5, -0.04, text, transform=axes.transAxes, ha="center", va="top", fontsize=8, color=SOFT)
    return figure, grid[:, 0]


def _visible(image: Array) -> Array:
    """``[H, W, C]`` as a grey or coloured image."""
    return image if image.shape[2] in (3, 4) else image[:, :, -1]


def _shows(part: Array) -> bool:
    """Whether observations ``[T, ...]`` are few enough numbers to be drawn, and not always the same."""
    return 0 < part[0].size <= ROWS and bool((part != part[0]).any())


def _is_image(part: Array) -> bool:
    """Whether observations ``[T, ...]`` are images."""
    return part.ndim == 4 and part.dtype == np.uint8


def _one_hot(values: Array) -> bool:
    """Whether all rows ``[T, D]`` are one-hot, as discrete observations are."""
    return values.shape[1] > 1 and bool(np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all())


def _spread(steps: slice, most: int) -> list[int]:
    """At most ``most`` steps of an episode, evenly spread, its first and last among them."""
    count = min(most, steps.stop - steps.start)
    return sorted({round(step) for step in np.linspace(steps.start, steps.stop - 1, count)})

"""The picture of the recall benchmark: candidates by tasks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metarl.report.canvas import COLORS, INK, SOFT, canvas, plain, save
from metarl.report.recall import grid, place
from metarl.report.rows import Row

PALE = "#F4F7FA"
SAME = 5e-4
"""Shares nearer than this to the best are as good: they look the same as numbers."""


def draw(measured: Sequence[Row], path: str | Path) -> Path:
    """Draw candidates by tasks: the share of right answers as a number, the way from chance to all right as a colour.

    Args:
        measured: the rows of one part.
        path: the picture to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.
    """
    from matplotlib.colors import LinearSegmentedColormap

    made = grid(measured)
    names, tasks = made.memories[::-1], made.tasks  # the first one on top
    shares = np.full((len(names), len(tasks)), np.nan)
    for (memory, task), row in made.cells.items():
        shares[names.index(memory), tasks.index(task)] = row.ours
    chance = np.asarray(made.chance)
    way = np.clip((shares - chance) / (1 - chance), 0, 1)
    figure, axes = canvas(7.6, 1.7 + 0.3 * len(names))
    axes.grid(False)
    colors = LinearSegmentedColormap.from_list("way", [PALE, COLORS[0]])
    axes.imshow(way, cmap=colors, vmin=0, vmax=1, aspect="auto", origin="lower")
    best = np.nanmax(shares, 0)
    for i, j in np.ndindex(*shares.shape):
        known = np.isfinite(shares[i, j])
        shown = f"{100 * shares[i, j]:.1f}" if known else "–"
        strong = known and shares[i, j] >= best[j] - SAME
        axes.text(
            j,
            i,
            shown,
            ha="center",
            va="center",
            fontsize=9.5,
            fontweight="bold" if strong else "normal",
            color="white" if known and way[i, j] > 0.55 else INK,
        )
    axes.set_xticks(
        range(len(tasks)),
        [f"{task}\nchance {100 * c:.1f}" for task, c in zip(tasks, chance, strict=True)],
        fontsize=8.5,
    )
    axes.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=9)
    axes.xaxis.tick_top()
    axes.spines["bottom"].set_visible(False)
    for edge in np.arange(0.5, len(names) - 1):
        axes.axhline(edge, color="white", lw=1.5)
    for edge in np.arange(0.5, len(tasks) - 1):
        axes.axvline(edge, color="white", lw=1.5)
    about = f"{place(measured[0]).budget}. Bold: the best of a task; colour: the way from chance to all right."
    axes.set_xlabel(textwrap.fill(about, 100), color=SOFT, fontsize=8.5)
    axes.set_title("Recall: right answers in %", loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=10)
    return save(figure, path)

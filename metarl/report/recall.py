"""The recall benchmark: memories by tasks, as a grid and as its image."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.evaluation.recall import RecallResult, RecallSettings
from metarl.report import canvas
from metarl.report.canvas import COLORS, INK, SOFT

PALE = "#F4F7FA"
SAME = 5e-4  # accuracies nearer than this to the best are as good: they look the same as numbers


class Mean(NamedTuple):
    """The accuracy of a memory on a task over seeds."""

    accuracy: float
    se: float


class Grid(NamedTuple):
    """Memories by tasks, in the order of their first appearance.

    Args:
        chance: of each task.
        cells: by memory and task.
    """

    memories: list[str]
    tasks: list[str]
    chance: list[float]
    cells: dict[tuple[str, str], Mean]


def grid(results: Sequence[RecallResult]) -> Grid:
    """The means over seeds of results, one for each memory and task."""
    groups: dict[tuple[str, str], list[RecallResult]] = {}
    for result in results:
        groups.setdefault((result.cell.memory, result.cell.task), []).append(result)
    chance = {task: group[0].chance for (_, task), group in groups.items()}
    memories = list(dict.fromkeys(memory for memory, _ in groups))
    return Grid(memories, list(chance), list(chance.values()), {key: mean(group) for key, group in groups.items()})


def mean(results: Sequence[RecallResult]) -> Mean:
    """The mean over seeds, and its standard error over sequences."""
    errors = [result.se for result in results]
    return Mean(
        float(np.mean([result.accuracy for result in results])), float(np.sqrt(np.sum(np.square(errors))) / len(errors))
    )


def budget(settings: RecallSettings) -> str:
    """What every memory was given, in one line."""
    limits = [f"{settings.updates:,} updates"] if settings.updates else []
    limits += [f"{settings.seconds:g} s"] if settings.seconds else []
    reached = f" or until {100 * (settings.target or 0):g} % of validation answers are correct"
    until = "" if settings.target is None else reached
    return f"{settings.parameters:,} parameters ± 10 %, batches of {settings.batch}, {' or '.join(limits)}{until}"


def draw_recall(results: Sequence[RecallResult], path: str | Path) -> Path:
    """Draw memories by tasks: the accuracy as a number, the way from chance to all correct as a colour.

    Args:
        results: at least one.
        path: the image to write, whole or not at all; its suffix says the format.

    Returns:
        ``path``.
    """
    from matplotlib.colors import LinearSegmentedColormap

    made = grid(results)
    names, tasks = made.memories[::-1], made.tasks  # the first one on top
    shares = np.full((len(names), len(tasks)), np.nan)
    for (memory, task), cell in made.cells.items():
        shares[names.index(memory), tasks.index(task)] = cell.accuracy
    chance = np.asarray(made.chance)
    way = np.clip((shares - chance) / (1 - chance), 0, 1)
    figure, axes = canvas.figure(7.6, 1.7 + 0.3 * len(names))
    axes.grid(False)
    colors = LinearSegmentedColormap.from_list("way", [PALE, COLORS[0]])
    axes.imshow(way, cmap=colors, vmin=0, vmax=1, aspect="auto", origin="lower")
    best = np.nanmax(shares, 0)
    for i, j in np.ndindex(*shares.shape):
        known = np.isfinite(shares[i, j])
        text = axes.text(j, i, f"{100 * shares[i, j]:.1f}" if known else "–", ha="center", va="center", fontsize=9.5)
        text.set_fontweight("bold" if known and shares[i, j] >= best[j] - SAME else "normal")
        text.set_color("white" if known and way[i, j] > 0.55 else "#212121")  # on a cell, which is no part of a theme
    below = [f"{task}\nchance {100 * value:.1f}" for task, value in zip(tasks, chance, strict=True)]
    axes.set_xticks(range(len(tasks)), below, fontsize=8.5)
    axes.set_yticks(range(len(names)), [canvas.plain(name) for name in names], fontsize=9)
    axes.xaxis.tick_top()
    axes.spines["bottom"].set_visible(False)
    for draw, count in ((axes.axhline, len(names)), (axes.axvline, len(tasks))):
        for edge in np.arange(0.5, count - 1):
            draw(edge, color="white", lw=1.5)
    about = f"{budget(results[0].cell.settings)}. Bold: best of a task; colour: the way from chance to all correct."
    axes.set_xlabel(textwrap.fill(about, 100), color=SOFT, fontsize=8.5)
    axes.set_title("Recall: accuracy in %", loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=10)
    return canvas.save(figure, path)

"""The image of what a few-shot learner recalls: the weights of the support for single queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metarl.evaluation.records import EpisodeRecord
from metarl.report.canvas import COLORS, GRID, SOFT
from metarl.report.sheet import Sheet
from metarl.types import Array, Floats

QUERIES = 8  # shown on a sheet
MOST = 25  # examples of a support beside each other; of larger ones those that are recalled most
STEP = 1.08
AHEAD = 1.6  # from the left edge of a query to its support
BAR = 1.0  # height of a weight of 1
NARROW = 14.0  # least width of a sheet, in sides of an image
OWN, OTHER = COLORS[0], COLORS[1]


def recall_sheet(record: EpisodeRecord, path: str | Path, what: str, ink: bool = True) -> Path:
    """Draw queries, half of them mistakes where there are as many, and beside each the support under its weights.

    Args:
        record: episodes with weights.
        path: the image to write, whole or not at all.
        what: learner and data, for the title.
        ink: whether the images are ink on paper.

    Returns:
        ``path``.

    Raises:
        ValueError: the episodes have no weights.
    """
    if record.weights is None:
        raise ValueError("the episodes have no weights; only learners that read slots by a weighted sum have them")
    slots = record.weights.shape[2]
    count = min(slots, MOST)
    wide = AHEAD + STEP * count + 0.8
    across = max(1, round(NARROW // (wide - 0.8)))
    sheet = Sheet(max(NARROW, across * wide), ink)
    size = 7.5 if sheet.width < 18 else 6
    y = 0.0
    for place, (episode, query) in enumerate(chosen(record, QUERIES)):
        x, y = wide * (place % across), (BAR + 1.95) * (place // across)
        _one(sheet, x, y + 0.3, record, episode, query, count, size)
    what_of = "class means, shown by an example" if slots != record.support_y.shape[1] else "the support"
    what_of = f"the {count} of {slots} examples recalled most" if count < slots else what_of
    sub = f"Left: queries. Bars: weights of {what_of}. Blue: the query's class; hatched: others."
    return sheet.save(y + BAR + 1.75, f"{what}: what was recalled", sub, path)


def chosen(record: EpisodeRecord, most: int) -> list[tuple[int, int]]:
    """Episode and number of queries, half of them wrong where there are as many, of as many episodes as can be."""
    wrong, correct = (_spread(np.argwhere(record.correct == good)) for good in (False, True))
    first = wrong[: most // 2]
    return (first + correct[: most - len(first)])[:most]


def _spread(found: Array) -> list[tuple[int, int]]:
    """Rows ``[n, 2]`` of episode and query, the first query of each episode before the second."""
    seen: dict[int, int] = {}
    order = []
    for episode, query in found.tolist():
        seen[episode] = seen.get(episode, 0) + 1
        order.append((seen[episode], episode, query))
    return [(episode, query) for _, episode, query in sorted(order)]


def _slots(record: EpisodeRecord, episode: int, weights: Floats) -> list[tuple[Array, int, float]]:
    """Image, class and weight of each slot, by class."""
    labels, images = record.support_y[episode], record.support_x[episode]
    if len(weights) != len(labels):  # a slot is the mean of a class
        labels = np.arange(len(weights))
        images = np.stack([record.first_of(episode, label) for label in range(len(weights))])
    order = np.argsort(labels, kind="stable")
    return [(images[i], int(labels[i]), float(weights[i])) for i in order]


def _one(
    sheet: Sheet, x: float, y: float, record: EpisodeRecord, episode: int, query: int, count: int, size: float
) -> None:
    """A query whose bars hang from ``y`` to ``y + BAR``, above the images."""
    assert record.weights is not None
    true, correct = int(record.query_y[episode, query]), bool(record.correct[episode, query])
    sheet.image(x, y + BAR, record.query_x[episode, query], correct)
    sheet.verdict(x + 0.5, y + BAR + 1.07, correct, str(true), size)
    slots = _slots(record, episode, record.weights[episode, query])
    nothing = 1 - sum(weight for *_, weight in slots)
    if nothing > 0.01:  # an empty slot took it
        sheet.write(x + 0.5, y + BAR - 0.1, f"none:\n{nothing:.2f}", size, SOFT, va="bottom")
    strong = sorted(slots, key=lambda slot: -slot[2])[:count]
    for number, (image, label, weight) in enumerate(sorted(strong, key=lambda slot: slot[1])):
        left = x + AHEAD + STEP * number
        sheet.image(left, y + BAR, image)
        _bar(sheet, left, y, weight, label == true, count, size)
        sheet.write(left + 0.5, y + BAR + 1.07, str(label), size, SOFT, va="top")


def _bar(sheet: Sheet, x: float, y: float, weight: float, own: bool, count: int, size: float) -> None:
    high = BAR * min(1.0, max(0.0, weight))
    sheet.frame(x, y + BAR - 0.06, 1, 0.012, edgecolor=GRID, facecolor="none", lw=0.6)
    other: dict[str, Any] = {"edgecolor": OTHER, "facecolor": "none", "lw": 0.8, "hatch": "//////"}
    look: dict[str, Any] = {"edgecolor": OWN, "facecolor": OWN, "lw": 0.0} if own else other
    if weight >= 0.01:
        sheet.frame(x + 0.12, y + BAR - 0.06 - high, 0.76, high, **look)
    if count <= 12 or weight >= 0.1:
        text = f"{weight:.2f}" if count <= 12 else f"{weight:.1f}".lstrip("0")
        sheet.write(x + 0.5, y + BAR - 0.1 - high, text, size, SOFT, va="bottom")

"""The picture of continual learning: accuracy against the number of classes that a stream has shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from results.rows import Row

from metarl.report.canvas import SOFT, draw_line, figure, label_ends, line_of, save, title

LINES = {
    "memory, nearest, full bytes": "memory of 2 slots a class",
    "memory, nearest, half bytes": "memory of 1 slot a class",
    "memory, nearest, quarter bytes": "memory of 1 slot for 2 classes",
    "memory, nearest, quarter bytes, float16": "as many bytes, in half precision",
    "memory, random, full bytes": "2 slots a class, at random",
    "memory, oldest, full bytes": "2 slots a class, the oldest give way",
    "linear layer, SGD": "linear layer, SGD",
}
"""The methods that are drawn, by what they are called beside their line."""


def draw(rows: Sequence[Row], published: Mapping[str, float], path: Path) -> Path:
    """Draw the rows of accuracies, and published figures at the last number of classes."""
    drawing, axes = figure(8.2, 4.6)
    ends = []
    for number, (method, name) in enumerate(LINES.items()):
        points = [
            (int(re.findall(r"of (\d+) ", row.where)[0]), row.ours)
            for row in rows
            if row.method == method and row.metric == "accuracy %"
        ]
        x, y = np.array(sorted(points)).T
        line = line_of(number)._replace(width=2.4 if number < 1 else 1.6)
        draw_line(axes, x, y, line, marker="o", ms=3.5)
        ends.append((name, float(y[-1]), line))
    for name, value in published.items():
        axes.plot([x[-1]], [value], "D", color=SOFT, ms=5, clip_on=False, zorder=5)
        ends.append((f"{name} (published)", value, line_of(0)._replace(color=SOFT, width=1.0)))
    axes.set(
        xlabel="classes shown so far, one after the other",
        ylabel="% of held-out images",
        ylim=(0, 101),
        xlim=(0, x[-1]),
    )
    title(axes, "Hundreds of classes, each shown once", "accuracy on all classes so far, unseen Omniglot alphabets")
    label_ends(drawing, axes, ends)
    return save(drawing, path)

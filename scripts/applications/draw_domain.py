"""Draw docs/images/domain.png from the rows of domain.json: ``python scripts/applications/draw_domain.py``.

Above, the same drawings in every domain that has rows; below, how many are recognised there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).resolve().parents[1] / "reproduce"))  # whose common.py finds the package of rows
from adaptors import ANEW, BEFORE, NORM, PIXELS, UNDONE
from domain import DIGITS, NAME, SHIFTS, UPRIGHT
from pictures import pictures
from results.rows import ROOT, read

from metarl.data.digits import digits, drawn_side
from metarl.data.omniglot import Omniglot
from metarl.data.shifts import Shift
from metarl.report.canvas import COLORS, DPI, INK, SOFT, save
from metarl.types import Bytes

PICTURE = ROOT / "docs" / "images" / "domain.png"
SAMPLES = 6  # classes of which a drawing is shown
SHOWN = {
    PIXELS: ("raw pixels", "#B8B8B8"),
    BEFORE: ("memory written before the shift", COLORS[1]),
    ANEW: ("written anew", COLORS[5]),
    NORM: ("anew, norm of the support", COLORS[3]),
    UNDONE: ("anew, shift recognised and undone", COLORS[2]),
}


def samples(folder: str | None) -> dict[str, Bytes]:
    """``[SAMPLES, H, W]`` of each domain, by how its settings begin."""
    train, test = (Omniglot(split, folder=folder) for split in ("train", "test"))
    rng = np.random.default_rng(0)
    in_order = sorted(SHIFTS.items(), key=lambda one: one[1].rotation or 360)  # turns by their angles, then the others
    first = test.examples[:: test.classes // SAMPLES, 0][:SAMPLES]
    found = {f"Omniglot, {where}": shift(first, rng) for where, shift in [(UPRIGHT, Shift()), *in_order]}
    side = drawn_side(train.flat)
    for form, crisp in (("blurred", False), ("crisp", True)):
        pool = digits(side=side, crisp=crisp)
        found[f"scikit-learn's digits, {form}"] = pool.flat[pool.counts.cumsum() - pool.counts][:SAMPLES]
    for name, pool in pictures(side):
        found[name] = pool.flat[pool.counts.cumsum() - pool.counts][:: pool.classes // SAMPLES][:SAMPLES]
    return found


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA, or the user's cache)")
    args = parser.parse_args()
    rows = [row for row in read(ROOT / "docs" / "results" / f"{NAME}.json") if row.metric == "accuracy %"]
    ways = {True: "20-way 1-shot", False: f"{next(iter(DIGITS)).ways}-way 1-shot"}
    domains = {}
    for where, images in samples(args.data).items():
        setting = f"{where}, {ways[where.startswith('Omniglot')]}"
        if own := {row.method: row for row in rows if row.where == setting}:
            domains[where] = (images, own)
    figure = Figure(figsize=(1.25 * len(domains) + 0.6, 6.4), dpi=DPI)
    grid = figure.add_gridspec(2, len(domains), height_ratios=(3.4, 2.6), hspace=0.1, wspace=0.08)
    below = figure.add_subplot(grid[1, :])
    for column, (where, (images, own)) in enumerate(domains.items()):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(255 - np.concatenate(images[:SAMPLES]), cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        name = where.removeprefix("Omniglot, ").replace("scikit-learn's digits, ", "digits, ").replace(" degrees", "°")
        axes.set_title(
            name.replace("ink and paper ", "ink and\npaper\n")
            .replace(", ", ",\n")
            .replace("rotated by ", "rotated\nby ")
            .replace("with ", "with\n")
            .replace("printed ", "printed\n"),
            fontsize=9,
            color=INK,
        )
        methods = [method for method in SHOWN if method in own]
        for place, method in enumerate(methods):
            x = column + 0.15 * (place - (len(methods) - 1) / 2)
            row = own[method]
            below.bar(
                x,
                row.ours,
                0.14,
                color=SHOWN[method][1],
                yerr=1.96 * (row.se or 0),
                error_kw={"lw": 0.8, "ecolor": INK},
            )
    for label, color in SHOWN.values():
        below.bar(0, 0, color=color, label=label)
    below.set_xlim(-0.55, len(domains) - 0.45)
    below.set_ylim(0, 100)
    below.set_xticks([])
    below.set_ylabel("accuracy %, 1 shot", color=SOFT, fontsize=9)
    below.spines[["top", "right"]].set_visible(False)
    below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, frameon=False, fontsize=9)
    print(save(figure, PICTURE))


if __name__ == "__main__":
    main()

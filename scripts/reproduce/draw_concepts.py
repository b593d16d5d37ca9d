"""Draw docs/images/trial.png, the picture of docs/concepts.md: ``python scripts/reproduce/draw_concepts.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from metarl.report.canvas import DPI, INK, SOFT, save

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "trial.png"

EPISODES, STEPS = 3, 2
T = EPISODES * STEPS
READER = 4
"""The step whose read is drawn: the first of the third episode."""

BANDS = ("#EAF1FA", "#FBF1E3", "#E9F5EC")
FEEDBACK, WRITE, READ = "#B4561F", "#1F6F5C", "#5B3FA8"
PAPER, EMPTY = "white", "#B8B8B8"
SLOTS, INPUTS, CONTROLLER, OUTCOME = 5.05, 3.05, 1.55, 0.3
"""Heights of the rows, from top to bottom."""
WIDTH = 1.85
"""Of a step."""


def x_of(t: int) -> float:
    """Middle of step ``t``; the next trial stands a little apart."""
    return WIDTH * t + (0.35 if t == T else 0.0)


def box(axes: Axes, x: float, y: float, text: str, *, size: tuple[float, float], edge: str, fill: str = PAPER) -> None:
    """A rounded box with text in its middle."""
    w, h = size
    style = "round,pad=0,rounding_size=0.09"
    axes.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle=style, fc=fill, ec=edge, lw=1.3, zorder=3))
    axes.text(x, y - 0.015, text, ha="center", va="center", fontsize=10, color=INK, zorder=4)


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str,
    *,
    path: str = "arc3",
    width: float = 1.4,
    dash: Any = "-",
) -> None:
    """An arrow along a connection style of matplotlib."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            connectionstyle=path,
            arrowstyle="-|>,head_length=4,head_width=2.4",
            shrinkA=0,
            shrinkB=0,
            color=color,
            lw=width,
            ls=dash,
            zorder=2.5,
        )
    )


def episodes(axes: Axes) -> None:
    """Bands, their names, and the bracket that says what a trial is."""
    left, right = x_of(0) - WIDTH / 2, x_of(T - 1) + WIDTH / 2
    bottom, top = -0.15, 6.05
    for e in range(EPISODES):
        axes.add_patch(Rectangle((left + e * STEPS * WIDTH, bottom), STEPS * WIDTH, top - bottom, fc=BANDS[e], lw=0))
        middle = left + (e + 0.5) * STEPS * WIDTH
        axes.text(middle, top - 0.2, f"episode {e + 1}", ha="center", va="center", fontsize=10.5, color=SOFT)
    axes.plot([left, left, right, right], [top + 0.1, top + 0.25, top + 0.25, top + 0.1], color=INK, lw=1.3)
    axes.text((left + right) / 2, top + 0.4, "one trial: several episodes of ONE task", ha="center", fontsize=12)
    axes.text(x_of(T), top + 0.4, "next trial", ha="center", fontsize=12, color=SOFT)


def step(axes: Axes, t: int) -> None:
    """One input, the controller's turn, and what came of it."""
    x, first = x_of(t), t in (0, T)
    begin = "TRIAL" if first else "EPISODE" if t % STEPS == 0 else "INSIDE"
    now = rf"$o_{t}$" if t < T else r"$o'_0$"
    if first:
        before = "none"
    else:
        done = 1 if t % STEPS == 0 else 0
        before = rf"$a_{t - 1}\ r_{t - 1}\ {done}$"
    box(axes, x, INPUTS + 0.24, now, size=(1.12, 0.48), edge=INK)
    box(axes, x, INPUTS - 0.24, before, size=(1.12, 0.48), edge=FEEDBACK if not first else EMPTY)
    weight = "normal" if begin == "INSIDE" else "bold"
    axes.text(x, INPUTS + 0.62, begin, ha="center", va="center", fontsize=8.5, color=INK, fontweight=weight)
    if t == T:
        return
    arrow(axes, (x, INPUTS - 0.48), (x, CONTROLLER + 0.28), INK)
    box(axes, x, CONTROLLER, "controller", size=(1.12, 0.5), edge=INK)
    arrow(axes, (x, CONTROLLER - 0.25), (x, OUTCOME + 0.26), INK)
    axes.text(x, OUTCOME, rf"$a_{t}$, $r_{t}$", ha="center", va="center", fontsize=11, color=INK)
    if t < T - 1:
        arrow(axes, (x + 0.56, CONTROLLER), (x + WIDTH - 0.58, CONTROLLER), SOFT)
        outcome, feedback = (x + 0.36, OUTCOME + 0.05), (x + WIDTH - 0.58, INPUTS - 0.3)
        arrow(axes, outcome, feedback, FEEDBACK, path="angle3,angleA=0,angleB=70", width=1.6)


def slot(axes: Axes, t: int) -> None:
    """The slot that the input of step ``t`` completes."""
    x = x_of(t)
    done = 1 if t % STEPS == 0 else 0
    text = rf"$o_{t - 1}$ :  $a_{t - 1}\,r_{t - 1}\,{done}\,o_{t}$"
    box(axes, x, SLOTS, text, size=(1.62, 0.46), edge=WRITE)
    axes.text(x - 0.79, SLOTS + 0.35, f"slot {t}", ha="left", va="center", fontsize=8.5, color=WRITE)
    arrow(axes, (x, INPUTS + 0.78), (x, SLOTS - 0.25), WRITE, width=1.6)


def read(axes: Axes) -> None:
    """What step READER reads: slots that match its observation count more."""
    x = x_of(READER) + 0.74
    node = (x, INPUTS + 1.02)
    shares = (0.6, 3.2, 0.6, 1.6)
    for t, share in zip(range(1, READER + 1), shares, strict=True):
        axes.plot([x_of(t) + 0.45, node[0]], [SLOTS - 0.25, node[1]], color=READ, lw=share, alpha=0.75, zorder=2.4)
    axes.plot(*node, "o", color=READ, ms=8, zorder=5)
    arrow(
        axes,
        (x_of(READER) + 0.57, INPUTS + 0.3),
        (x - 0.02, node[1] - 0.1),
        READ,
        dash=(0, (2, 1.2)),
        path="arc3,rad=0.25",
    )
    arrow(axes, node, (x_of(READER) + 0.58, CONTROLLER + 0.14), READ, path="arc3,rad=-0.12", width=1.8)


def legend(axes: Axes) -> None:
    """What the colours mean, below the picture."""
    lines = [
        (FEEDBACK, "feedback: the last action, reward, end-of-episode flag (and time) come with the next input"),
        (WRITE, "write: that input completes a transition, which becomes a slot  (key : value)"),
        (READ, f"read: $o_{READER}$ asks, the slots written so far answer (drawn for one step; every step reads)"),
        (SOFT, "working memory: the controller's own state, if it has one, runs on through the trial"),
    ]
    for i, (color, text) in enumerate(lines):
        y = -0.55 - 0.36 * i
        axes.plot([x_of(0) - 0.85, x_of(0) - 0.45], [y, y], color=color, lw=3, solid_capstyle="butt")
        axes.text(x_of(0) - 0.3, y, text, va="center", fontsize=10, color=INK)


def draw() -> Figure:
    """The whole picture."""
    figure = Figure(figsize=(12.4, 7.2), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.005, 0.005, 0.99, 0.99))
    axes.set_axis_off()
    axes.set_xlim(-2.75, x_of(T) + 0.95)
    axes.set_ylim(-1.95, 6.85)
    episodes(axes)
    for t in range(T + 1):
        step(axes, t)
    for t in range(1, T):
        slot(axes, t)
    read(axes)
    legend(axes)
    for y, name in (
        (SLOTS, "episodic store"),
        (INPUTS + 0.62, "what begins"),
        (INPUTS + 0.24, "observation"),
        (INPUTS - 0.24, "feedback"),
        (CONTROLLER, "controller"),
        (OUTCOME, "action, reward"),
    ):
        axes.text(-1.05, y, name, ha="right", va="center", fontsize=10, color=SOFT)
    axes.text(x_of(0), SLOTS, "empty", ha="center", va="center", fontsize=10, color=SOFT, style="italic")
    axes.text(x_of(T), SLOTS, "empty again", ha="center", va="center", fontsize=10, color=SOFT, style="italic")
    note = rf"$r_{T - 1}$ counts in" + "\nthe return, but\nno input shows it"
    axes.text(x_of(T), OUTCOME + 0.3, note, ha="center", va="center", fontsize=9, color=SOFT)
    return figure


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    print(f"wrote {save(draw(), PICTURE)}")

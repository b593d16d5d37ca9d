"""What the frames of several families have in common: a heading, arms, and a column of facts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl.envs.picture import GREEN, GRID, INK, ORANGE, RED, SOFT, Picture
from metarl.envs.single import WIDTH, Move
from metarl.types import Floats

LEFT, RIGHT = 24, WIDTH - 24
BARS = 10  # the least number of pulls that fills the height of an arm


def heading(picture: Picture, title: str, moves: Sequence[Move]) -> None:
    """Write what is going on, and the reward so far.

    Args:
        picture: to write on.
        title: what is going on.
        moves: of the trial so far.
    """
    picture.text((LEFT, 18), title, 15)
    total = sum(move.reward for move in moves)
    picture.text((RIGHT, 18), f"reward {total:.4g}", 15, anchor="ra")


def arms(
    picture: Picture,
    moves: Sequence[Move],
    count: int,
    truth: Floats | None,
    *,
    counted: bool,
    top: float = 60,
    last: Move | None = None,
) -> None:
    """Draw arms side by side, how often each was pulled, and what it paid.

    Args:
        picture: to draw on, down to its lower edge.
        moves: the pulls to count.
        count: how many arms.
        truth: what each is worth, ``[count]``, written below it; None: it is not shown.
        counted: whether rewards are 0 or 1, so that those that paid are a part of the bar; else their mean is written.
        top: where the arms begin.
        last: the pull that was made just now.
    """
    bottom, step = picture.height - 74.0, (RIGHT - LEFT) / count
    pulls = np.bincount([move.action for move in moves], minlength=count)
    paid = np.bincount([move.action for move in moves], [move.reward for move in moves], minlength=count)
    unit = (bottom - top - 22) / max(BARS, pulls.max())
    small = 12 if step >= 30 else 9
    for arm in range(count):
        x, wide = LEFT + step * (arm + 0.12), 0.76 * step
        tall, won = pulls[arm] * unit, paid[arm] * unit if counted else 0
        now = last is not None and last.action == arm
        picture.box((x, bottom - tall), (wide, tall - won), "#C9D3DC" if counted else "#9DC3DE")
        picture.box((x, bottom - won), (wide, won), GREEN)
        if pulls[arm] and step >= 24:
            said = f"{paid[arm]:.0f}/{pulls[arm]}" if counted else f"{paid[arm] / pulls[arm]:.2f}"
            picture.text((x + wide / 2, bottom - tall - 5), said, small - 1, SOFT, "mb")
        if now and last is not None:
            color = GREEN if last.reward > 0 else RED
            picture.box((x - 2, bottom + 4), (wide + 4, 28), color)
            if step >= 24:
                picture.text((x + wide / 2, bottom + 40), f"{last.reward:+.3g}", small, color, "ma")
        if step >= 14:
            picture.text((x + wide / 2, bottom + 18), str(arm), small + 2, "#FFFFFF" if now else INK, "mm")
        if truth is not None and step >= 24:
            best = truth[arm] == truth.max()
            picture.text((x + wide / 2, bottom + 66), f"{truth[arm]:.2f}", small - 1, ORANGE if best else SOFT, "ms")
    picture.line([(LEFT, bottom + 1), (RIGHT, bottom + 1)], INK, 1)
    if counted:
        picture.box((LEFT, top - 14), (10, 10), GREEN)
        picture.text((LEFT + 15, top - 9), "paid", 11, SOFT, "lm")
        picture.box((LEFT + 52, top - 14), (10, 10), "#C9D3DC")
        picture.text((LEFT + 67, top - 9), "did not", 11, SOFT, "lm")
    else:
        picture.text((LEFT, top - 9), "bars: pulls; above them: mean reward", 11, SOFT, "lm")
    if truth is not None:
        picture.text((RIGHT, top - 9), "below: what each arm is worth", 11, SOFT, "rm")


def facts(picture: Picture, x: float, y: float, rows: Sequence[tuple[str, str]]) -> None:
    """Write names and values below each other.

    Args:
        picture: to write on.
        x: of the left edge.
        y: of the upper edge.
        rows: names and values.
    """
    for number, (name, value) in enumerate(rows):
        picture.text((x, y + 40 * number), name, 11, SOFT)
        picture.text((x, y + 40 * number + 14), value, 15)


def bars(picture: Picture, corner: tuple[float, float], values: Sequence[float]) -> None:
    """Draw numbers as bars to the right and left of a line.

    Args:
        picture: to draw on.
        corner: the upper left one.
        values: one a row.
    """
    x, y = corner
    most = max(1e-9, *(abs(value) for value in values))
    for number, value in enumerate(values):
        row = y + 18 * number
        picture.text((x, row + 6), str(number), 11, SOFT, "lm")
        reach = 40 * abs(value) / most
        color = "#9DC3DE" if value >= 0 else "#E3B5A0"
        picture.box((x + 60 - (reach if value < 0 else 0), row), (reach, 12), color)
        picture.text((x + 106, row + 6), f"{value:.2f}", 11, SOFT, "lm")
    picture.line([(x + 60, y - 2), (x + 60, y + 18 * len(values) - 4)], GRID, 1)

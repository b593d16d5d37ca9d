"""A sheet of small images: placed in a plane whose unit is the side of an image, marked and written on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.report.canvas import COLORS, GRID, INK, canvas, plain, save, title
from metarl.types import Array

CORRECT, WRONG = COLORS[2], COLORS[1]
"""Green and vermillion."""
SIDE = 7.6
"""Width of a sheet in inches."""
HEADER = 0.65
"""Height of its title, likewise."""


class Label(NamedTuple):
    """Text on a sheet, around a point."""

    x: float
    y: float
    text: str
    size: float = 8.0
    color: str = INK
    across: str = "center"
    down: str = "center"
    bold: bool = False


class Frame(NamedTuple):
    """A rectangle on a sheet."""

    x: float
    y: float
    width: float
    height: float
    color: str
    line: float = 0.0
    """In points; 0: filled instead."""
    hatch: str | None = None


class Sheet:
    """Collects what is to be drawn, then draws it.

    Args:
        width: of the sheet, in sides of an image.
        ink: grey images are of ink, 255, on paper; else 255 is white.
    """

    def __init__(self, width: float, ink: bool) -> None:
        self.width, self.ink = width, ink
        self._images: list[tuple[float, float, Array]] = []
        self._labels: list[Label] = []
        self._frames: list[Frame] = []

    def image(self, x: float, y: float, image: Array, correct: bool | None = None) -> None:
        """An image whose upper left corner lies at (x, y); ``correct`` says the colour of its frame."""
        self._images.append((x, y, image))
        color = GRID if correct is None else CORRECT if correct else WRONG
        self.frame(Frame(x, y, 1, 1, color, 0.8 if correct is None else 2.2))

    def verdict(self, x: float, y: float, correct: bool, told: str, size: float = 7.5) -> None:
        """Below an image, what is told with a mark that needs no colour."""
        text, color = f"{'✓' if correct else '✗'} {told}".strip(), CORRECT if correct else WRONG
        self.write(Label(x, y, text, size, color, down="top", bold=not correct))

    def frame(self, frame: Frame) -> None:
        """A rectangle."""
        self._frames.append(frame)

    def write(self, label: Label) -> None:
        """A text."""
        self._labels.append(label)

    def save(self, height: float, main: str, sub: str, path: str | Path) -> Path:
        """Draw all of it, ``height`` sides high, under a title, and write the file, whole or not at all."""
        from matplotlib.patches import Rectangle

        figure, axes = canvas(SIDE, height * SIDE / self.width + HEADER)
        for x, y, image in self._images:
            shown, grey = visible(image)
            colors = ("gray_r" if self.ink else "gray") if grey else None
            axes.imshow(shown, cmap=colors, vmin=0, vmax=255, extent=(x, x + 1, y + 1, y), interpolation="nearest")
        for x, y, width, height_, color, line, hatch in self._frames:
            inside = "none" if line else color
            patch = Rectangle((x, y), width, height_, edgecolor=color, facecolor=inside, lw=line, hatch=hatch)
            axes.add_patch(patch)
        for x, y, text, size, color, across, down, bold in self._labels:
            weight = "bold" if bold else "normal"
            axes.text(x, y, plain(text), fontsize=size, color=color, ha=across, va=down, fontweight=weight)
        axes.set_axis_off()
        axes.set_xlim(0, self.width)
        axes.set_ylim(height, 0)
        axes.set_aspect("equal", anchor="NW")
        title(axes, main, sub)
        return save(figure, path)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether examples of this shape can be shown: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``."""
    return len(shape) == 2 or (len(shape) == 3 and bool({1, 3, 4} & {shape[0], shape[2]}))


def visible(image: Array) -> tuple[Array, bool]:
    """An image as ``[H, W]`` or ``[H, W, 3]``, bytes, and whether it is grey; numbers from 0 to 1 become bytes."""
    if image.dtype != np.uint8:
        image = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    if image.ndim == 3:
        image = image if image.shape[2] in (1, 3, 4) else np.moveaxis(image, 0, 2)
        image = image[:, :, 0] if image.shape[2] == 1 else image[:, :, :3]
    return image, image.ndim == 2


def wrong_of(correct: Array) -> str:
    """Such as ``12 of 400 are wrong``."""
    wrong, total = int((~correct.astype(bool)).sum()), correct.size
    return f"{wrong:,} of {total:,} {'is' if wrong == 1 else 'are'} wrong"

"""A sheet of small images: placed in a plane whose unit is the side of an image, marked and written on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metarl.report import canvas, vector
from metarl.report.canvas import COLORS, GRID, INK
from metarl.types import Array

CORRECT, WRONG = COLORS[2], COLORS[1]  # green and vermillion
SIDE = 7.6  # width of a sheet in inches
HEADER = 0.65  # height of its title, likewise


class Sheet:
    """A figure that is drawn on from top to bottom and gets its height at the end.

    Args:
        width: of the sheet, in sides of an image.
        ink: grey images are of ink, 255, on paper; else 255 is white.
    """

    def __init__(self, width: float, ink: bool) -> None:
        self.width, self.ink = width, ink
        self.figure, self.axes = canvas.figure(SIDE, SIDE)

    def image(self, x: float, y: float, image: Array, correct: bool | None = None) -> None:
        """Draw an image.

        Args:
            x: of its upper left corner.
            y: likewise.
            image: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``, bytes or numbers from 0 to 1.
            correct: green frame, or red; None: grey.
        """
        shown, grey = visible(image)
        colors = ("gray_r" if self.ink else "gray") if grey else None
        extent = (x, x + 1, y + 1, y)
        gid = vector.INVERT if grey and self.ink else None  # a photo stays as it is
        self.axes.imshow(shown, cmap=colors, vmin=0, vmax=255, extent=extent, interpolation="nearest", gid=gid)
        color = GRID if correct is None else CORRECT if correct else WRONG
        self.frame(x, y, 1, 1, edgecolor=color, facecolor="none", lw=0.8 if correct is None else 2.2)

    def verdict(self, x: float, y: float, correct: bool, label: str, size: float = 7.5) -> None:
        """Write below an image whether the answer was correct, with a mark that needs no colour.

        Args:
            x: the middle of the text.
            y: its upper edge.
            correct: a tick, or a cross.
            label: what follows the mark.
            size: of the text in points.
        """
        text, color = f"{'✓' if correct else '✗'} {label}".strip(), CORRECT if correct else WRONG
        self.write(x, y, text, size, color, va="top", fontweight="normal" if correct else "bold")

    def frame(self, x: float, y: float, width: float, height: float, **look: Any) -> None:
        """Draw a rectangle.

        Args:
            x: of its upper left corner.
            y: likewise.
            width: in sides of an image.
            height: likewise.
            look: properties of a patch.
        """
        from matplotlib.patches import Rectangle

        self.axes.add_patch(Rectangle((x, y), width, height, **look))

    def write(self, x: float, y: float, text: str, size: float, color: str = INK, **look: Any) -> None:
        """Write a text.

        Args:
            x: its middle, unless ``look`` aligns it otherwise.
            y: likewise.
            text: what is written.
            size: in points.
            color: of the text.
            look: its other properties.
        """
        self.axes.text(
            x, y, canvas.plain(text), **{"fontsize": size, "color": color, "ha": "center", "va": "center", **look}
        )

    def save(self, height: float, main: str, sub: str, path: str | Path) -> Path:
        """Write the file, whole or not at all.

        Args:
            height: of the sheet, in sides of an image.
            main: the title.
            sub: the line below it.
            path: the image to write.

        Returns:
            ``path``.
        """
        self.figure.set_size_inches(SIDE, height * SIDE / self.width + HEADER)
        axes = self.axes
        axes.set_axis_off()
        axes.set(xlim=(0, self.width), ylim=(height, 0))
        axes.set_aspect("equal", anchor="NW")
        canvas.title(axes, main, sub)
        return canvas.save(self.figure, path)


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
    """How many of ``correct`` ``[...]`` are not, such as ``12 of 400 are wrong``."""
    wrong, total = int((~correct.astype(bool)).sum()), correct.size
    return f"{wrong:,} of {total:,} {'is' if wrong == 1 else 'are'} wrong"

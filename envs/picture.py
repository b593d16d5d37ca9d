"""A small picture to draw on: shapes and text with smooth edges, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from metarl.types import Array, Bytes

PAPER, INK, SOFT, GRID = "#FFFFFF", "#222222", "#666666", "#E3E3E3"
BLUE, RED, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SCALE = 2  # it is drawn so many times larger, and scaled down
Point = tuple[float, float]


class Picture:
    """Drawn on in pixels from the upper left corner.

    Args:
        width: in pixels.
        height: in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        self._image: Any = Image.new("RGB", (SCALE * width, SCALE * height), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def box(
        self, corner: Point, size: Point, fill: str | None = None, edge: str | None = None, *, wide: float = 1
    ) -> None:
        """Draw a rectangle.

        Args:
            corner: its upper left one.
            size: width and height; nothing is drawn where one is below half a pixel.
            fill: color inside.
            edge: color of its line.
            wide: width of the line.
        """
        if min(size) < 0.5:
            return
        x, y = (SCALE * v for v in corner)
        right, bottom = x + SCALE * size[0] - 1, y + SCALE * size[1] - 1
        self._draw.rectangle((x, y, max(x, right), max(y, bottom)), fill, edge, round(SCALE * wide))

    def disc(self, middle: Point, radius: float, fill: str | None = None, edge: str | None = None) -> None:
        """Draw a circle with a line of two pixels.

        Args:
            middle: its center.
            radius: in pixels.
            fill: color inside.
            edge: color of its line.
        """
        x, y, r = (SCALE * v for v in (*middle, radius))
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill, edge, 2 * SCALE)

    def line(self, points: Sequence[Point], color: str, wide: float = 1) -> None:
        """Draw a line through points.

        Args:
            points: at least two.
            color: of the line.
            wide: its width.
        """
        flat = [(SCALE * x, SCALE * y) for x, y in points]
        self._draw.line(flat, color, max(1, round(SCALE * wide)), joint="curve")

    def arrow(self, start: Point, end: Point, color: str, wide: float = 2) -> None:
        """Draw an arrow; nothing where it is shorter than its head.

        Args:
            start: of the line.
            end: where the head is.
            color: of both.
            wide: width of the line.
        """
        a, b = np.array(start, float), np.array(end, float)
        length = float(np.linalg.norm(b - a))
        head = 3 + 2.5 * wide
        if length < head:
            return
        along = (b - a) / length
        across = np.array([-along[1], along[0]])
        neck = b - head * along
        self.line([tuple(a), tuple(neck)], color, wide)
        tip = (b, neck + 0.5 * head * across, neck - 0.5 * head * across)
        self._draw.polygon([(SCALE * x, SCALE * y) for x, y in tip], color)

    def text(self, at: Point, words: str, size: float = 13, color: str = INK, anchor: str = "la") -> None:
        """Write a line.

        Args:
            at: where.
            words: the text.
            size: of the font.
            color: of the text.
            anchor: which point of the text lies there, as Pillow says it: ``la`` is its upper left, ``mm`` its middle.
        """
        self._draw.text((SCALE * at[0], SCALE * at[1]), words, color, _font(size), anchor)

    def image(self, corner: Point, size: Point, pixels: Array) -> None:
        """Put an image into a rectangle; its pixels stay sharp.

        Args:
            corner: the upper left one.
            size: width and height.
            pixels: ``[H, W]``, ``[H, W, 1]`` or ``[H, W, 3]`` of bytes.
        """
        from PIL import Image

        shown = Image.fromarray(np.asarray(pixels, np.uint8).squeeze()).convert("RGB")
        wide, tall = (round(SCALE * v) for v in size)
        place = round(SCALE * corner[0]), round(SCALE * corner[1])
        self._image.paste(shown.resize((wide, tall), Image.Resampling.NEAREST), place)

    def array(self) -> Bytes:
        """The picture, ``[height, width, 3]``."""
        from PIL import Image

        return np.array(self._image.resize((self.width, self.height), Image.Resampling.BOX))


def mix(first: str, second: str, share: float) -> str:
    """A color between two.

    Args:
        first: as ``#RRGGBB``.
        second: likewise.
        share: of the second one.
    """
    parts = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (first, second))
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in zip(*parts, strict=True))


@lru_cache(maxsize=32)
def _font(size: float) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(SCALE * size)

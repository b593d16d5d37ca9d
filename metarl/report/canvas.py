"""How every image looks: size, grid, title, the names at the ends of lines, and the file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metarl.files import replacing
from metarl.report import vector
from metarl.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

DPI = 150
INK, SOFT, GRID = "#222222", "#666666", "#E3E3E3"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
"""Blue, vermillion, green, orange, purple, sky: Okabe and Ito's palette, distinct under every common colour
blindness; yellow is left out, pale on white."""


_TITLE: dict[str, Any] = {"fontsize": 11.5, "fontweight": "bold", "color": INK}


class Line(NamedTuple):
    """How a line is drawn; the name of a thick one is written in bold.

    Args:
        dash: a line style of matplotlib.
        width: in points.
    """

    color: str
    dash: str | tuple[float, tuple[float, ...]] = "-"
    width: float = 1.2


_DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))


def line_of(index: int) -> Line:
    """How the curve with this number is drawn; after the last colour they repeat with other dashes."""
    return Line(COLORS[index % len(COLORS)], _DASHES[index // len(COLORS) % len(_DASHES)], 2.4)


def counted(numbers: Iterable[int]) -> str:
    """A count, or the range of several: ``1,000`` or ``100 to 1,000``."""
    every = sorted(set(numbers))
    return f"{every[0]:,}" if len(every) == 1 else f"{every[0]:,} to {every[-1]:,}"


def panels(
    width: float, height: float, rows: int = 1, columns: int = 1, *, grid: bool = False, **options: Any
) -> tuple[Figure, Any]:
    """A figure with empty axes.

    Args:
        width: of the figure in inches.
        height: likewise.
        rows: of axes.
        columns: of axes.
        grid: whether the axes have a grid.
        options: those of ``Figure.subplots``.

    Returns:
        The figure, and its axes as ``Figure.subplots`` gives them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, **options)
    for one in np.ravel(axes):
        clean(one, grid)
    return figure, axes


def figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size in inches with one pair of axes and a grid."""
    return panels(width, height, grid=True)


def clean(axes: Axes, grid: bool = True) -> None:
    """Remove the frame and the ticks, and make labels readable, with or without a light grid."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK, pad=5)
    axes.xaxis.label.set(size=10.5, color=INK)
    axes.yaxis.label.set(size=10.5, color=INK)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(color=GRID, lw=0.8)


def draw_line(axes: Axes, x: Floats, y: Floats, line: Line, name: str = "", **look: Any) -> None:
    """Plot a line.

    Args:
        axes: where to draw.
        x: ``[n]``
        y: ``[n]``
        line: colour, dashes and width.
        name: of the series, by which a page tells its values and hides it; empty: it does neither.
        look: further options of ``Axes.plot``.
    """
    gid = vector.SERIES + name if name else None
    axes.plot(x, y, **{"color": line.color, "ls": line.dash, "lw": line.width, "gid": gid, **look})


def draw_band(axes: Axes, x: Floats, low: Floats, high: Floats, line: Line, name: str = "") -> None:
    """Fill the interval of a line.

    Args:
        axes: where to draw.
        x: ``[n]``
        low: ``[n]``
        high: ``[n]``
        line: the one that the band belongs to.
        name: of that line.
    """
    gid = vector.PART + name if name else None
    axes.fill_between(x, low, high, color=line.color, alpha=0.22, lw=0, zorder=2, gid=gid)


def color_bar(figure: Figure, shown: Any, axes: Any, label: str, inverted: bool = False, **options: Any) -> None:
    """Draw the scale of the colours beside the axes.

    Args:
        figure: with the axes.
        shown: what has the colours, such as the result of ``Axes.imshow``.
        axes: one or several.
        label: what a colour means.
        inverted: whether a dark page inverts the colours, as it does those of images on white.
        options: further ones of ``Figure.colorbar``.
    """
    bar = figure.colorbar(shown, ax=axes, fraction=0.04, pad=0.02, **options)
    bar.outline.set_visible(False)
    if inverted:
        bar.ax.set_gid(vector.BAR)
        for part in bar.ax.patches:
            part.set_gid(vector.INVERT)
    bar.ax.tick_params(length=0, labelsize=9, labelcolor=INK)
    bar.set_label(label, size=9.5, color=INK)


def whole_ticks(axis: Axis, most: int = 9) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]))


def plain(text: str) -> str:
    """Text as it is, where matplotlib would read formulas between dollars, and without what cannot be drawn."""
    return "".join(c for c in text if c == "\n" or c.isprintable()).replace("$", r"\$")


def title(axes: Axes, main: str, sub: str) -> None:
    """Write a title over the axes, and a smaller line below it.

    Args:
        axes: the topmost of a figure.
        main: the title, which is wrapped to the figure's width.
        sub: the smaller line.
    """
    subtitle(axes, sub)
    where: dict[str, Any] = {"xytext": (0, 25), "xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(textwrap.fill(plain(main), 68), (0, 1), **where, **_TITLE, va="bottom", gid=vector.WORDS)


def subtitle(axes: Axes, text: str) -> None:
    """Write a small title over the axes."""
    axes.set_title(text, loc="left", fontsize=9.5, color=SOFT, pad=8, gid=vector.WORDS)


def heading(figure: Figure, axes: Axes, main: str) -> None:
    """Write a title over all panels.

    Args:
        figure: with the panels.
        axes: the title begins above the left edge of these; they may have a :func:`subtitle`.
        main: the title.
    """
    text = figure.suptitle(main, ha="left", **_TITLE, gid=vector.WORDS)
    figure.draw_without_rendering()  # only then is the edge known
    text.set_x(axes.get_position().x0)


def below(name: str) -> str:
    """A line's name as :func:`named_below` writes it, wrapped to the figure's width."""
    return textwrap.fill(plain(name), 88)


def height_below(names: Iterable[str]) -> float:
    """What :func:`named_below` takes for these names, in inches."""
    return 0.1 + sum(0.06 + 0.15 * len(below(name).splitlines()) for name in names)


def named_below(figure: Figure) -> None:
    """Name the labelled lines below the axes, one a row."""
    figure.legend(loc="outside lower left", ncols=1, frameon=False, labelcolor=INK, fontsize=9, handlelength=2.6)


def label_ends(figure: Figure, axes: Axes, labels: list[tuple[str, float, Line]], size: float = 9.0) -> None:
    """Write the name of each line to the right of its end, with a thin lead to it; names never overlap.

    Args:
        figure: with the axes.
        axes: finished but for the names.
        labels: of each line the name, its last value, and how it is drawn.
        size: of the text in points.
    """
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # else the leads below would rescale it
    labels = sorted(labels, key=lambda label: label[1])
    gap = 1.45 * size / 72 * DPI / axes.get_window_extent().height  # of a line of text, as a fraction of the axes
    ends = np.array([(value - low) / (high - low) for _, value, _ in labels])
    for (name, _, line), end, height in zip(labels, ends, spread(ends, gap), strict=True):
        x, y = [1.0, 1.015, 1.04, 1.05], [end, end, height, height]
        part = vector.PART + name
        axes.plot(x, y, transform=axes.transAxes, color=line.color, lw=1.2, clip_on=False, gid=part)
        text = axes.text(
            1.06, height, plain(name), transform=axes.transAxes, va="center", fontsize=size, color=INK, gid=part
        )
        text.set_fontweight("bold" if line.width > 2 else "normal")


def spread(ends: Floats, gap: float) -> Floats:
    """The heights ``[n]`` in [0, 1] that are ``gap`` apart and nearest to sorted ``ends`` ``[n]`` in least squares.

    This is isotonic regression.
    """
    from scipy.optimize import isotonic_regression

    offset = gap * np.arange(len(ends))
    return np.clip(isotonic_regression(ends - offset).x, 0, max(0.0, 1 - offset[-1])) + offset


def smooth(values: Floats, reach: int) -> Floats:
    """Means over neighbours.

    Args:
        values: ``[n]``
        reach: neighbours on either side; near the ends as many as both sides have.

    Returns:
        ``[n]``
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    near = np.minimum(reach, np.minimum(index, index[::-1]))
    return (total[index + near + 1] - total[index - near]) / (2 * near + 1) if reach else values


def save(figure: Figure, path: str | Path) -> Path:
    """Write the image, whole or not at all, in the format of the path's suffix."""
    path = Path(path)
    with replacing(path) as temporary:
        if path.suffix == ".svg":
            temporary.write_bytes(vector.svg(figure))
        else:
            figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png")
    return path

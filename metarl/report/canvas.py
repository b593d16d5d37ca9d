"""How every image looks: size, grid, title, the names at the ends of lines, and the file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metarl.files import replacing
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


class Line(NamedTuple):
    """How a line is drawn; the name of a thick one is written in bold."""

    color: str
    dash: str | tuple[float, tuple[float, ...]] = "-"
    """A line style of matplotlib."""
    width: float = 1.2
    """In points."""


_DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))


def line_of(index: int) -> Line:
    """How the curve of this number is drawn; colours repeat with other dashes."""
    return Line(COLORS[index % len(COLORS)], _DASHES[index // len(COLORS) % len(_DASHES)], 2.4)


def counted(numbers: Iterable[int]) -> str:
    """A count, or the range of several: ``1,000`` or ``100 to 1,000``."""
    every = sorted(set(numbers))
    return f"{every[0]:,}" if len(every) == 1 else f"{every[0]:,} to {every[-1]:,}"


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size in inches with empty axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots()
    clean(axes)
    return figure, axes


def panels(width: float, height: float, rows: int, columns: int, **options: Any) -> tuple[Figure, Any]:
    """A figure of this size in inches and its empty axes, ``options`` being those of ``Figure.subplots``."""
    figure, first = canvas(width, height)
    figure.delaxes(first)
    axes = figure.subplots(rows, columns, **options)
    for one in np.ravel(axes):
        clean(one, grid=False)
    return figure, axes


def clean(axes: Axes, grid: bool = True) -> None:
    """Take away the frame and ticks, leave a light grid and readable labels."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK, pad=5)
    axes.xaxis.label.set(size=10.5, color=INK)
    axes.yaxis.label.set(size=10.5, color=INK)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(color=GRID, lw=0.8)


def whole_ticks(axis: Axis, most: int = 9) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]))


def plain(text: str) -> str:
    """Text as it is, where matplotlib would read formulas between dollars, and without what cannot be drawn."""
    return "".join(c for c in text if c == "\n" or c.isprintable()).replace("$", r"\$")


def title(axes: Axes, main: str, sub: str) -> None:
    """Write a title over the axes, wrapped to the figure's width, and a smaller line below it."""
    main = textwrap.fill(plain(main), 68)
    axes.set_title(sub, loc="left", fontsize=9.5, color=SOFT, pad=8)
    axes.annotate(
        main,
        (0, 1),
        xytext=(0, 25),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=11.5,
        fontweight="bold",
        color=INK,
        va="bottom",
    )


def heading(figure: Figure, axes: Axes, main: str) -> None:
    """Write a title over all panels, above the left edge of ``axes``, which may have a smaller title of its own."""
    text = figure.suptitle(main, ha="left", fontsize=11.5, fontweight="bold", color=INK)
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
    """Write each line's name right of its end, spread where they would overlap, with a thin lead to the line."""
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # else the leads below would rescale it
    labels = sorted(labels, key=lambda label: label[1])
    gap = 1.45 * size / 72 * DPI / axes.get_window_extent().height  # of a line of text, as a fraction of the axes
    ends = np.array([(value - low) / (high - low) for _, value, _ in labels])
    for (name, _, line), end, height in zip(labels, ends, spread(ends, gap), strict=True):
        x, y = [1.0, 1.015, 1.04, 1.05], [end, end, height, height]
        axes.plot(x, y, transform=axes.transAxes, color=line.color, lw=1.2, clip_on=False)
        text = axes.text(1.06, height, plain(name), transform=axes.transAxes, va="center", fontsize=size, color=INK)
        text.set_fontweight("bold" if line.width > 2 else "normal")


def spread(ends: Floats, gap: float) -> Floats:
    """The heights in [0, 1] nearest to sorted ``ends`` (least squares) that are ``gap`` apart: isotonic regression."""
    from scipy.optimize import isotonic_regression

    offset = gap * np.arange(len(ends))
    return np.clip(isotonic_regression(ends - offset).x, 0, max(0.0, 1 - offset[-1])) + offset


def smooth(values: Floats, reach: int) -> Floats:
    """Mean over ``reach`` neighbours on either side; fewer near the ends, where both sides lose alike."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    near = np.minimum(reach, np.minimum(index, index[::-1]))
    return (total[index + near + 1] - total[index - near]) / (2 * near + 1) if reach else values


def save(figure: Figure, path: str | Path) -> Path:
    """Write the image, whole or not at all, in the format of the path's suffix."""
    path = Path(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png")
    return path

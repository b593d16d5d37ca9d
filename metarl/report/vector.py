"""Figures as SVG: a file that carries the numbers it shows, and its form within a page, in the page's colours."""

from __future__ import annotations

import html
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES, PART, WORDS, INVERT, BAR = "series:", "part:", "words:", "invert:", "bar:"
"""How the ``gid`` of an artist begins: a line whose values are kept, what is shown and hidden with it, a text that
belongs to the alternative text, an image on white that is inverted on a dark page, and axes whose image is."""

POINTS = 12_000  # that are kept of all lines of a figure together, evenly spread over longer ones
_DESCRIBED = 10  # series that an alternative text tells of
_UNIT = 72  # of an SVG to the inch
_LOOK: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "metarl",  # the same figure has the same ids
    "image.composite_image": False,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
}
_THEMED = {
    "#ffffff": "--card",
    "#222222": "--ink",
    "#666666": "--soft",
    "#e3e3e3": "--grid",
    "#000000": "--black",
    "#8c6d46": "--brown",
    "#0072b2": "--blue",
    "#d55e00": "--vermillion",
    "#009e73": "--green",
    "#e69f00": "--orange",
    "#cc79a7": "--purple",
    "#56b4e9": "--sky",
}
"""Colours of figures and the variables of the style sheet that replace them."""


def svg(figure: Figure) -> bytes:
    """A figure as SVG, with the values of its marked lines in ``data-shown``."""
    import matplotlib

    marked: list[tuple[Any, str]] = [
        (artist, str(artist.get_gid())) for artist in figure.findobj(lambda a: bool(a.get_gid()))
    ]
    named = [(artist, gid) for artist, gid in marked if gid.startswith((SERIES, PART))]
    names = list(dict.fromkeys(gid.partition(":")[2] for _, gid in named))
    with matplotlib.rc_context(_LOOK):
        figure.set_dpi(_UNIT)
        figure.draw_without_rendering()
        shown = {
            "words": [_clean(artist.get_text()) for artist, gid in marked if gid.startswith(WORDS)],
            **_numbers(figure, [(artist, gid) for artist, gid in named if artist.get_visible()], names),
        }
        for number, (artist, gid) in enumerate(marked):
            kind, _, name = gid.partition(":")
            artist.set_gid(f"s{names.index(name)}-{number}" if (artist, gid) in named else f"{kind}-{number}")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    for artist, gid in marked:
        artist.set_gid(gid)
    data = html.escape(json.dumps(shown, separators=(",", ":"))).encode("ascii")
    return file.getvalue().replace(b"<svg ", b'<svg data-shown="%s" ' % data, 1)


def _numbers(figure: Figure, named: list[tuple[Any, str]], names: list[str]) -> dict[str, Any]:
    """The places of the axes in the image, and the values of the lines on them."""
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

    axes: list[Any] = []
    series = []
    most = max(100, POINTS // max(1, sum(gid.startswith(SERIES) for _, gid in named)))
    bands = [(artist, gid) for artist, gid in named if isinstance(artist, PolyCollection)]
    for line, gid in named:
        if not (isinstance(line, Line2D) and gid.startswith(SERIES) and line.axes):
            continue
        if line.axes not in axes:
            axes.append(line.axes)
        name = gid.removeprefix(SERIES)
        x, y = (np.asarray(part, float) for part in line.get_data())
        kept = np.linspace(0, max(0, len(x) - 1), min(len(x), most)).round().astype(int)
        x, y = x[kept], y[kept]
        one = {
            "name": _clean(name),
            "group": names.index(name),
            "axes": axes.index(line.axes),
            "color": line.get_color(),
        }
        one |= {"x": _plain(x), "y": _plain(y)}
        for band, of in bands:
            if of == PART + name and band.axes is line.axes:
                edge = np.asarray(band.get_paths()[0].vertices)
                ends = [edge[edge[:, 0] == at, 1] for at in x]
                one["low"] = _plain(np.array([e.min() if len(e) else np.nan for e in ends]))
                one["high"] = _plain(np.array([e.max() if len(e) else np.nan for e in ends]))
        series.append(one)
    height = figure.bbox.height
    places = []
    for one_axes in axes:
        box = one_axes.get_window_extent()
        places.append(
            {
                "box": [round(v, 2) for v in (box.x0, height - box.y1, box.x1, height - box.y0)],
                "xlim": list(one_axes.get_xlim()),
                "ylim": list(one_axes.get_ylim()),
                "x": _clean(one_axes.get_xlabel() or figure.axes[-1].get_xlabel()),
                "y": _clean(one_axes.get_ylabel()),
            }
        )
    return {"axes": places, "series": series}


def _clean(text: str) -> str:
    """A text of a figure in one line, without what cannot be shown."""
    line = " ".join(text.replace("\\$", "$").split())
    return "".join(c for c in line if c.isprintable())


def _plain(values: Array) -> list[float | None]:
    """Six digits of each value; None where there is none."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def inlined(path: Path, about: str) -> str:
    """An SVG file as an element of a page: its ids are its own there, and its colours those of the page.

    Args:
        path: what :func:`svg` made.
        about: what kind of figure it is, the beginning of its alternative text.
    """
    text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg ") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    body = re.sub(r' id="image[0-9a-f]+"', "", body)  # equal images have equal ids, which nothing refers to
    prefix = f"{path.stem}-{zlib.crc32(str(path).encode('utf-8', 'replace')):08x}-"
    body = re.sub(r'(?<= id=")(?=[^"]*")|(?<=url\(#)|(?<=href="#)', prefix, body)
    body = re.sub(r"<(\w+)[^<>]*? style=\"[^\"]*\"", _themed, body)
    found = re.search(r'data-shown="([^"]*)"', head)
    box = re.search(r'viewBox="[^"]*"', head)
    assert found is not None, f"{path} was not made by this module"
    assert box is not None
    alt = html.escape(f"{about}. {' '.join(described(json.loads(html.unescape(found[1]))))}")
    look = f'class="drawn" role="img" aria-label="{alt}" data-prefix="{prefix}" preserveAspectRatio="xMinYMin meet"'
    return f"<svg {look} {box[0]} {found[0]}>{body.strip()}"


def _themed(match: re.Match[str]) -> str:
    """The style of an element with variables for colours; white text stands on a colour and remains as it is."""
    known = {k: v for k, v in _THEMED.items() if match[1] != "text" or k != "#ffffff"}
    return re.sub(
        r"#[0-9a-f]{6}", lambda hit: f"var({known[hit[0]]},{hit[0]})" if hit[0] in known else hit[0], match[0]
    )


def described(shown: dict[str, Any]) -> Iterator[str]:
    """What a figure shows, in words: its titles, and how each of its lines begins and ends."""
    for words in shown["words"]:
        yield words.rstrip(".") + "."
    for one in shown["series"][:_DESCRIBED]:
        known = [(x, y) for x, y in zip(one["x"], one["y"], strict=True) if y is not None]
        if known:
            (first, start), (last, end) = known[0], known[-1]
            yield f"{one['name']}: {start:.4g} at {first:,.6g}, {end:.4g} at {last:,.6g}."
    if len(shown["series"]) > _DESCRIBED:
        yield f"And {len(shown['series']) - _DESCRIBED} more."

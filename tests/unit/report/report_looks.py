"""Looking at figures: what is written on them, and whether it can be read."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure) -> list[Text]:
    """Those that are drawn; matplotlib keeps labels of ticks beyond the limits, too."""
    beyond = set()
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low <= tick.get_loc() <= high:
                    beyond |= {tick.label1, tick.label2}
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible() and artist not in beyond)
    return [text for text in found if isinstance(text, Text) and text.get_text().strip()]


def words(figure: Figure) -> set[str]:
    return {text.get_text() for text in texts(figure)}


def is_readable(figure: Figure) -> bool:
    """No two texts overlap, and none leaves the picture."""
    boxes = [text.get_window_extent() for text in texts(figure)]
    inside = all(
        figure.bbox.x0 <= b.x0 and b.x1 <= figure.bbox.x1 and b.y0 >= 0 and b.y1 <= figure.bbox.y1 for b in boxes
    )
    return inside and not any(a.overlaps(b) for a, b in combinations(boxes, 2))

"""The image of what a few-shot learner confused: wrong queries beside the class it named and their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarl.evaluation.records import EpisodeRecord
from metarl.report.canvas import SOFT
from metarl.report.sheet import Sheet, wrong_of

SHOWN = 12  # queries, at most
ACROSS = 3  # in a row
WIDE = 4.7  # of one, in sides of an image
HIGH = 1.95


def confusions(record: EpisodeRecord, path: str | Path, what: str, ink: bool = True) -> Path:
    """Draw wrong queries, each beside an example of the class that was answered and one of its own.

    Where it is known, the weight that was read of each of the two classes stands below.

    Args:
        record: episodes with at least one wrong answer.
        path: the image to write, whole or not at all; its suffix says the format.
        what: learner and data, for the title.
        ink: whether the images are ink on paper.

    Returns:
        ``path``.

    Raises:
        ValueError: no answer is wrong.
    """
    wrong = np.argwhere(~record.correct)
    if not len(wrong):
        raise ValueError("no answer is wrong, so that nothing was confused")
    sheet = Sheet(ACROSS * WIDE, ink)
    chosen = wrong[np.unique(np.linspace(0, len(wrong) - 1, min(SHOWN, len(wrong))).round().astype(int))]
    for place, (episode, query) in enumerate(chosen.tolist()):
        x, y = WIDE * (place % ACROSS), 0.3 + HIGH * (place // ACROSS)
        said, true = int(record.predicted[episode, query]), int(record.query_y[episode, query])
        sheet.image(x, y, record.query_x[episode, query], False)
        sheet.write(x + 0.5, y - 0.12, "query", 7, SOFT)
        for left, label, name, correct in ((1.45, said, "taken for", False), (2.75, true, "is", True)):
            sheet.write(x + left + 0.5, y - 0.12, name, 7, SOFT)
            if label < record.ways:
                sheet.image(x + left, y, record.first_of(episode, label), correct)
            read = _read(record, episode, query, label)
            told = f"class {label}" if read is None else f"class {label}\nread {read:.2f}"
            sheet.write(x + left + 0.5, y + 1.06, told, 7, va="top")
    rows = -(-len(chosen) // ACROSS)
    spread = f"{len(chosen)} of them, evenly spread" if len(chosen) < len(wrong) else "all of them"
    sub = f"{wrong_of(record.correct)}; shown are {spread}."
    return sheet.save(0.2 + HIGH * rows, f"{what}: what was confused", sub, path)


def _read(record: EpisodeRecord, episode: int, query: int, label: int) -> float | None:
    """The weight that a query read of a class; None where that isn't known."""
    if record.weights is None:
        return None
    weights = record.weights[episode, query]
    of_slot = record.support_y[episode] if len(weights) == record.support_y.shape[1] else np.arange(len(weights))
    return float(weights[of_slot == label].sum())

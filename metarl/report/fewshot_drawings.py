"""Pictures of single few-shot episodes and streams: what was shown, what was said of it, and whether it was right."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarl.data.episodes import class_positions
from metarl.report.canvas import SOFT
from metarl.report.fewshot_kept import KeptSets, KeptStreams
from metarl.report.fewshot_sheet import Label, Sheet, wrong_of
from metarl.types import Array, Ints

WIDTH = 14.0
"""Of a sheet, in sides of a picture."""
EPISODES, STREAMS = 4, 2
"""As many are shown; fewer episodes where supports take several rows."""
QUERIES = 5
"""Of an episode."""
PAIR = 2.8
"""Width of a query with its answer."""
STEP = 1.075
"""From one picture of a row to the next."""
STEPS = 4 * int(WIDTH / STEP)
"""Of a stream."""


def drawings(kept: KeptSets, path: str | Path, what: str, ink: bool = True) -> Path:
    """Draw a few episodes: supports, and below them queries beside an example of the class that was said.

    Episodes with mistakes come first, and in each the mistakes.

    Args:
        kept: the episodes.
        path: the picture to write, whole or not at all.
        what: learner and data, for the title.
        ink: whether the pictures are ink on paper; see :class:`Sheet`.

    Returns:
        ``path``.
    """
    sheet, y = Sheet(WIDTH, ink), 0.0
    shots = kept.support_y.shape[1] // kept.ways
    most = EPISODES if kept.ways * STEP <= WIDTH else EPISODES - 1
    for episode in np.argsort(kept.right.mean(1), kind="stable")[:most]:
        y = _support(sheet, kept, int(episode), y)
        y = _queries(sheet, kept, int(episode), y) + 0.55
    shown = "the support" if shots == 1 else f"some of the {kept.ways * shots} examples given"
    sub = f"Above: {shown}. Below: queries → the class said. {wrong_of(kept.right)} (✗), shown first."
    return sheet.save(y - 0.5, f"{what}: {kept.ways}-way {shots}-shot episodes", sub, path)


def first_of(kept: KeptSets, episode: int, label: int) -> Array:
    """The support's first example of a class."""
    return kept.support_x[episode, int(np.flatnonzero(kept.support_y[episode] == label)[0])]


def _support(sheet: Sheet, kept: KeptSets, episode: int, y: float) -> float:
    """The support by class, as many examples of each as fit in a row; returns where it ends."""
    ways, labels = kept.ways, kept.support_y[episode]
    most = max(1, int((WIDTH / ways - 0.3) // STEP))
    each = min(most, *(int((labels == label).sum()) for label in range(ways)))
    wide = PAIR if each * STEP + 0.3 <= PAIR and ways * PAIR <= WIDTH else each * STEP + (0.3 if each > 1 else 0.0)
    in_row = int((WIDTH + 1e-6) // wide)
    for label in range(ways):
        x, row = wide * (label % in_row), y + 1.5 * (label // in_row)
        for number, example in enumerate(np.flatnonzero(labels == label)[:each]):
            sheet.picture(x + STEP * number, row, kept.support_x[episode, example])
        middle = x + (STEP * (each - 1) + 1) / 2
        sheet.write(Label(middle, row + 1.06, f"class {label}" if wide >= 2 else str(label), 7.5, SOFT, down="top"))
    return y + 1.5 * (1 + (ways - 1) // in_row) + 0.1


def _queries(sheet: Sheet, kept: KeptSets, episode: int, y: float) -> float:
    right = kept.right[episode]
    for place, query in enumerate(np.argsort(right, kind="stable")[:QUERIES]):
        x, said, true = PAIR * place, int(kept.predicted[episode, query]), int(kept.query_y[episode, query])
        sheet.picture(x, y, kept.query_x[episode, query], bool(right[query]))
        sheet.write(Label(x + 1.21, y + 0.5, "→", 9))
        if said < kept.ways:
            sheet.picture(x + 1.42, y, first_of(kept, episode, said))
        told = f"said {said}" if right[query] else f"said {said}, is {true}"
        sheet.verdict(x + 1.21, y + 1.08, bool(right[query]), told)
    return y + 1.5


def stream_drawings(kept: KeptStreams, path: str | Path, what: str, ink: bool = True) -> Path:
    """Draw a few streams step by step: each example, its label, and what was said of it before the label was shown.

    Args:
        kept: the streams.
        path: the picture to write, whole or not at all.
        what: learner and data, for the title.
        ink: whether the pictures are ink on paper; see :class:`Sheet`.

    Returns:
        ``path``.
    """
    sheet, y = Sheet(WIDTH, ink), 0.0
    in_row, right = int(WIDTH / STEP), kept.right
    for stream in range(min(STREAMS, len(kept.x))):
        steps = min(kept.x.shape[1], STEPS)
        nth = class_positions(kept.y[stream, None])[0]
        for step in range(steps):
            x, row = STEP * (step % in_row), y + 1.75 * (step // in_row)
            good = bool(right[stream, step])
            sheet.picture(x, row, kept.x[stream, step], good)
            sheet.write(Label(x + 0.06, row + 0.04, str(nth[step]), 6.5, SOFT, "left", "top"))
            true, said = _word(kept.y[stream, step]), _word(kept.predicted[stream, step])
            sheet.write(Label(x + 0.5, row + 1.05, true, 7, down="top"))
            sheet.verdict(x + 0.5, row + 1.33, good, "" if good else said, 7)
        y += 1.75 * (1 + (steps - 1) // in_row) + 0.45
    sub = f"Small: the how-manieth of its class. Below: its label, and ✓ or ✗ with what was said. {wrong_of(right)}."
    return sheet.save(y - 0.45, f"{what}: single streams", sub, path)


def _word(digits: Ints) -> str:
    """A label: its number, or its letters."""
    return str(digits[0]) if len(digits) == 1 else "".join("abcdefghij"[digit % 10] for digit in digits)

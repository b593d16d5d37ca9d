"""Images of single few-shot episodes and streams: what was shown, what was answered, and whether it was correct."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarl.data.episodes import class_positions
from metarl.evaluation.records import EpisodeRecord, StreamRecord
from metarl.report.canvas import SOFT
from metarl.report.sheet import Sheet, wrong_of
from metarl.types import Ints

WIDTH = 14.0  # of a sheet, in sides of an image
EPISODES, STREAMS = 4, 2  # as many are shown; fewer episodes where supports take several rows
QUERIES = 5  # of an episode
PAIR = 2.8  # width of a query with its answer
STEP = 1.075  # from one image of a row to the next
STEPS = 4 * int(WIDTH / STEP)  # of a stream


def drawings(record: EpisodeRecord, path: str | Path, what: str, ink: bool = True) -> Path:
    """Draw a few episodes: supports, and below them queries beside an example of the predicted class.

    Episodes with mistakes come first, and in each the mistakes.

    Args:
        record: the episodes.
        path: the image to write, whole or not at all.
        what: learner and data, for the title.
        ink: whether the images are ink on paper; see :class:`Sheet`.

    Returns:
        ``path``.
    """
    sheet, y = Sheet(WIDTH, ink), 0.0
    shots = record.support_y.shape[1] // record.ways
    most = EPISODES if record.ways * STEP <= WIDTH else EPISODES - 1
    for episode in np.argsort(record.correct.mean(1), kind="stable")[:most]:
        y = _support(sheet, record, int(episode), y)
        y = _queries(sheet, record, int(episode), y) + 0.55
    shown = "the support" if shots == 1 else f"some of the {record.ways * shots} examples given"
    sub = f"Above: {shown}. Below: queries → predicted class. {wrong_of(record.correct)} (✗), shown first."
    return sheet.save(y - 0.5, f"{what}: {record.ways}-way {shots}-shot episodes", sub, path)


def _support(sheet: Sheet, record: EpisodeRecord, episode: int, y: float) -> float:
    """The support by class, as many examples of each as fit in a row; returns where it ends."""
    ways, labels = record.ways, record.support_y[episode]
    most = max(1, int((WIDTH / ways - 0.3) // STEP))
    each = min(most, *(int((labels == label).sum()) for label in range(ways)))
    wide = PAIR if each * STEP + 0.3 <= PAIR and ways * PAIR <= WIDTH else each * STEP + (0.3 if each > 1 else 0.0)
    in_row = int((WIDTH + 1e-6) // wide)
    for label in range(ways):
        x, row = wide * (label % in_row), y + 1.5 * (label // in_row)
        for number, example in enumerate(np.flatnonzero(labels == label)[:each]):
            sheet.image(x + STEP * number, row, record.support_x[episode, example])
        middle = x + (STEP * (each - 1) + 1) / 2
        sheet.write(middle, row + 1.06, f"class {label}" if wide >= 2 else str(label), 7.5, SOFT, va="top")
    return y + 1.5 * (1 + (ways - 1) // in_row) + 0.1


def _queries(sheet: Sheet, record: EpisodeRecord, episode: int, y: float) -> float:
    correct = record.correct[episode]
    for place, query in enumerate(np.argsort(correct, kind="stable")[:QUERIES]):
        x, said, true = PAIR * place, int(record.predicted[episode, query]), int(record.query_y[episode, query])
        sheet.image(x, y, record.query_x[episode, query], bool(correct[query]))
        sheet.write(x + 1.21, y + 0.5, "→", 9)
        if said < record.ways:
            sheet.image(x + 1.42, y, record.first_of(episode, said))
        told = str(said) if correct[query] else f"{said}, true {true}"
        sheet.verdict(x + 1.21, y + 1.08, bool(correct[query]), told)
    return y + 1.5


def stream_drawings(record: StreamRecord, path: str | Path, what: str, ink: bool = True) -> Path:
    """Draw a few streams step by step: each example, its label, and what was predicted before the label was shown.

    Args:
        record: the streams.
        path: the image to write, whole or not at all.
        what: learner and data, for the title.
        ink: whether the images are ink on paper; see :class:`Sheet`.

    Returns:
        ``path``.
    """
    sheet, y = Sheet(WIDTH, ink), 0.0
    in_row, correct = int(WIDTH / STEP), record.correct
    for stream in range(min(STREAMS, len(record.x))):
        steps = min(record.x.shape[1], STEPS)
        nth = class_positions(record.y[stream, None])[0]
        for step in range(steps):
            x, row = STEP * (step % in_row), y + 1.75 * (step // in_row)
            good = bool(correct[stream, step])
            sheet.image(x, row, record.x[stream, step], good)
            sheet.write(x + 0.06, row + 0.04, str(nth[step]), 6.5, SOFT, ha="left", va="top")
            true, said = _word(record.y[stream, step]), _word(record.predicted[stream, step])
            sheet.write(x + 0.5, row + 1.05, true, 7, va="top")
            sheet.verdict(x + 0.5, row + 1.33, good, "" if good else said, 7)
        y += 1.75 * (1 + (steps - 1) // in_row) + 0.45
    sub = f"Small: position among its class. Below: its label, and ✓ or ✗ with the prediction. {wrong_of(correct)}."
    return sheet.save(y - 0.45, f"{what}: single streams", sub, path)


def _word(digits: Ints) -> str:
    """A label: its number, or its letters."""
    return str(digits[0]) if len(digits) == 1 else "".join("abcdefghij"[digit % 10] for digit in digits)

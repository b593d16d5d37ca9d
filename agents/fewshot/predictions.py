"""The answers of a few-shot learner that is used as a tool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

QUERIES = 200  # that are answered at once


class Prediction(NamedTuple):
    """The answer to one query.

    Args:
        name: the most probable class.
        probability: of this class, among those remembered.
        probabilities: of every class, the highest first; they add up to 1.
        known: the probability that the query is of a remembered class at all, if every second query is; None where the
            learner wasn't calibrated.
        unknown: whether ``known`` is below the learner's threshold; None where it wasn't calibrated.
    """

    name: str
    probability: float
    probabilities: dict[str, float]
    known: float | None = None
    unknown: bool | None = None


def ranked(names: Sequence[str], logits: Tensor) -> list[Prediction]:
    """Answers with the probabilities of all classes, the highest first.

    Args:
        names: of the classes.
        logits: ``[Q, classes]``
    """
    share = (logits - logits.logsumexp(1, keepdim=True)).exp().cpu()
    order = share.argsort(dim=1, descending=True, stable=True).tolist()
    made = []
    for row, places in zip(share.tolist(), order, strict=True):
        made.append(Prediction(names[places[0]], row[places[0]], {names[place]: row[place] for place in places}))
    return made

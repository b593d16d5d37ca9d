"""Published results on Omniglot to set beside ours, in per cent.

Those of episodes are on the standard split of 28 by 28 images, where the four rotations of a character count as
classes of their own; those of streams are by instance, the position of an example among those of its class. They are
the papers' own figures, where no other source is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Cell = tuple[int, int]  # ways and shots

CELLS: tuple[Cell, ...] = ((5, 1), (5, 5), (20, 1), (20, 5))  # what the papers measure


class Published(NamedTuple):
    """What was published of a learner on episodes, by ways and shots, or on streams, by instance from 1.

    Args:
        name: of a learner of streams.
    """

    source: str
    accuracy: Mapping[Any, float]
    name: str = ""


UNPUBLISHED = Published("", {})


def _cells(source: str, *values: float | None) -> Published:
    return Published(source, {cell: value for cell, value in zip(CELLS, values, strict=True) if value is not None})


BEST = _cells("best read in any paper: Relation Net, T-NAS++, MAML++, SNAIL", 99.6, 99.95, 97.65, 99.4)

_LIFELONG = _cells("Kaiser et al. 2017", 98.4, 99.6, 95.0, 98.6)
_GRAPH = _cells("Garcia & Bruna 2018", 99.2, 99.7, 97.4, 99.0)

LEARNERS: Mapping[str, Published] = {
    "best": BEST,
    "matching": _cells("Vinyals et al. 2016", 98.1, 98.9, 93.8, 98.5),
    "prototypical": _cells("Snell et al. 2017", 98.8, 99.7, 96.0, 98.9),
    "lifelong": _LIFELONG,
    "kaiser": _LIFELONG,
    "graph": _GRAPH,
    "gnn": _GRAPH,
    "snail": _cells("Mishra et al. 2018", 99.07, 99.78, 97.64, 99.36),
    "mann": _cells("Santoro et al. 2016, without convolutions, in Mishra et al. 2018", 82.8, 94.9, None, None),
    "maml": _cells("Finn et al. 2017, transductive", 98.7, 99.9, 95.8, 98.9),
    "fomaml": _cells("first-order MAML in Nichol et al. 2018, transductive", 98.3, 99.2, 89.4, 97.9),
    "reptile": _cells("Nichol et al. 2018", 95.4, 98.9, 88.1, 96.7),
}
"""By the name of a preset or learner, or by its first words: ``matching-full`` is found under ``matching``."""

TRANSDUCTIVE: Mapping[str, Published] = {
    "reptile": _cells("Nichol et al. 2018, transductive", 97.7, 99.5, 89.4, 97.1),
}
"""The same, where queries are answered together."""

_STREAMS: Mapping[str, Published] = {
    "mann": Published("Santoro et al. 2016", {1: 36.4, 2: 82.8, 3: 91.0, 4: 92.6, 5: 94.9, 10: 98.1}, "MANN"),
    "lstm": Published("Santoro et al. 2016", {1: 24.4, 2: 49.5, 3: 55.3, 4: 61.0, 5: 63.6, 10: 62.5}, "LSTM"),
}
"""Of streams of five classes with one-hot labels, by learner."""


def of_learner(*names: str, transductive: bool = False) -> Published | None:
    """What was published of a learner on episodes.

    Args:
        names: of the preset or learner; the first one that is known counts.
        transductive: whether queries are answered together.
    """
    return _found({**LEARNERS, **TRANSDUCTIVE} if transductive else LEARNERS, names)


def of_stream(*names: str, labels: str, ways: int) -> Published | None:
    """What was published of a learner on streams.

    Args:
        names: of the preset or learner; the first one that is known counts.
        labels: ``one_hot`` or ``letters``.
        ways: classes of a stream.
    """
    return _found(_STREAMS, names) if (labels, ways) == ("one_hot", 5) else None


def streams(labels: str, ways: int) -> list[Published]:
    """All that was published on such streams."""
    return list(_STREAMS.values()) if (labels, ways) == ("one_hot", 5) else []


def _found(known: Mapping[str, Published], names: tuple[str, ...]) -> Published | None:
    """What is known by the first name that is, whole or without its last words, which hyphens and underscores end."""
    split = [name.lower().replace("_", "-").split("-") for name in names]
    shortened = ("-".join(words[:count]) for words in split for count in range(len(words), 0, -1))
    return next((known[name] for name in shortened if name in known), None)

"""Few-shot learners of every kind, and episodes for them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from metarl.agents.fewshot.ensemble import Ensemble
from metarl.agents.fewshot.gradient import gradient_learner
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.data.episodes import Episodes
from metarl.data.pictures import Reading
from metarl.fewshot import FewShotClassifier

WAYS, SIDE, BATCH, SUPPORT = 3, 8, 2, 6
NET = {"width": 4, "embedding_size": 8}
MEMORY = {"key_size": 4, "value_size": 4}
CORE = {**MEMORY, "controller": "lstm", "controller_options": {"hidden_size": 4}}
GREY = (SIDE, SIDE)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, SIDE, SIDE), dtype=np.uint8)
"""Of six classes, four each."""
VOTES = {"readout": "votes", "memory": {"access_options": {"empty_slot": False}}}


def classifier(shape: tuple[int, ...] = GREY, **options: Any) -> FewShotClassifier:
    memory = MEMORY if options.get("readout", "linear") == "linear" else {}
    return FewShotClassifier(shape, WAYS, **{"memory": memory, "longest": SUPPORT, "encoder": NET} | options)


def stream(shape: tuple[int, ...] = GREY) -> StreamClassifier:
    return StreamClassifier(shape, WAYS, CORE, longest=SUPPORT, encoder=NET, pairs=True)


def gradient(shape: tuple[int, ...] = GREY, name: str = "maml-each") -> FewShotLearner:
    algorithm, head = name.split("-")
    return gradient_learner(shape, WAYS, {"algorithm": algorithm, "width": 4, "head": head})


LEARNERS: dict[str, Callable[[], Any]] = {
    "classifier": classifier,
    "means": lambda: classifier(readout="mean_votes", rotate_support=True),
    "full context": lambda: classifier(context="full"),
    "slots": lambda: classifier(context="slots", readout="votes"),
    "pixels": lambda: classifier(readout="votes", encoder={"net": "flat", "embedding_size": 0}),
    "ensemble": lambda: Ensemble([classifier(), classifier()]),
    "stream": stream,
    **{
        name: lambda name=name: gradient(name=name)  # type: ignore[misc]  # its own default binds the name
        for name in ("maml-each", "maml-one", "fomaml-prototypes", "anil-each", "reptile-each")
    },
}
every_learner = pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)


def episodes(shape: tuple[int, ...] = GREY) -> Episodes:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(WAYS), (BATCH, 1))
    x, queries = (rng.integers(0, 256, (BATCH, n, *shape), dtype=np.uint8) for n in (SUPPORT, WAYS))
    return Episodes(x, np.tile(labels, 2), queries, labels)


def tool(learner: FewShotLearner | None = None, **options: Any) -> TrainedLearner:
    return TrainedLearner((learner or classifier(**VOTES)).eval(), Reading(SIDE, **options))


def near(one: Any, other: Any) -> bool:
    """Whether two lists of predictions are the same but for rounding."""
    return all(a.probabilities == pytest.approx(b.probabilities, abs=1e-4) for a, b in zip(one, other, strict=True))

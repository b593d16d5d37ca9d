"""A board to draw on: a few-shot learner remembers what is drawn, and says what new drawings are."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import numpy as np

from metarl.agents.fewshot.trained import TrainedLearner
from metarl.config import ConfigError, InputError
from metarl.data.sources import FewShotSource
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.report.png import data_uri
from metarl.seeding import numpy_rng
from metarl.types import Array, Bytes

SIDE = 105  # pixels of a drawing along a side, as in Omniglot
NAME = 40  # characters of a name
TAKEN = 5  # classes that are taken from those of the run
SHOTS = 1
RECALLED = 5  # images that are shown
MOST = 200  # that are remembered


class Board:
    """A learner and what it was shown.

    Args:
        experiment: of the run.
        learner: that it trained.
        seed: of the classes that are taken from the test classes of the run.
    """

    kind = "drawing"

    def __init__(self, experiment: FewShotExperiment, learner: TrainedLearner, seed: int = 0) -> None:
        self.experiment, self.learner = experiment, learner
        self._rng = numpy_rng(seed, "evaluation")
        self._shown: dict[str, list[str]] = {}
        self._source: FewShotSource | None = None

    @property
    def verbs(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """What the page may ask for."""
        return {
            "state": lambda given: self.state(),
            "remember": self.remember,
            "forget": self.forget,
            "take": self.take,
            "ask": self.ask,
        }

    def state(self) -> dict[str, Any]:
        """What is remembered."""
        return {"kind": self.kind, "side": SIDE, "classes": self._shown, "learner": type(self.learner.learner).__name__}

    def remember(self, given: dict[str, Any]) -> dict[str, Any]:
        """Remember a drawing ``image`` of the class ``name``."""
        name = given.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > NAME:
            raise InputError(key="name", given=name, expected=f"a text of 1 to {NAME} characters")
        self._keep(name.strip(), drawing(given.get("image")))
        return self.state()

    def forget(self, given: dict[str, Any]) -> dict[str, Any]:
        """Forget the class ``name``, or all where there is none."""
        names = [given["name"]] if "name" in given else list(self._shown)
        for name in names:
            self.learner.forget(name)
            del self._shown[name]
        return self.state()

    def take(self, given: dict[str, Any]) -> dict[str, Any]:
        """Remember examples of test classes of the run, and give one more of one of them to ask about.

        Raises:
            InputError: the data of the run can't be had.
        """
        if self._source is None:
            self._source = self.experiment.source("test")
        ways = TAKEN if self._source.classes is None else min(TAKEN, self._source.classes)
        images = self._source.draw(self._rng, 1, ways, SHOTS + 1)[0]
        self.forget({})
        for number, examples in enumerate(images):
            for image in examples[:SHOTS]:
                self._keep("ABCDE"[number], np.asarray(image, np.uint8))
        number = int(self._rng.integers(ways))
        query = np.asarray(images[number, SHOTS], np.uint8)
        return self.state() | {"answer": self._answer(query) | {"true": "ABCDE"[number], "image": self._picture(query)}}

    def ask(self, given: dict[str, Any]) -> dict[str, Any]:
        """Say what the drawing ``image`` is, and what is recalled for it."""
        query = drawing(given.get("image"))
        return self.state() | {"answer": self._answer(query) | {"image": self._picture(query)}}

    def close(self) -> None:
        """Nothing is open."""

    def _keep(self, name: str, image: Bytes) -> None:
        if sum(map(len, self._shown.values())) >= MOST:
            raise InputError("no more drawings are remembered", expected=f"at most {MOST}", remedy="forget some")
        self.learner.remember({name: [image]})
        self._shown.setdefault(name, []).append(self._picture(image))

    def _picture(self, image: Array) -> str:
        """An image as the learner sees it, dark on light where it is a drawing."""
        read = self.learner.reading.read(image)
        return data_uri(255 - read if self.learner.reading.drawing else read)

    def _answer(self, query: Bytes) -> dict[str, Any]:
        (found,) = self.learner.predict([query])
        told: dict[str, Any] = {"name": found.name, "probabilities": found.probabilities, "unknown": found.unknown}
        try:
            ranked = self.learner.recalled([query])[:RECALLED]
        except InputError as error:
            return told | {"recalled": None, "why": str(error)}
        rows = [{"name": r.name, "weight": r.weight, "image": self._shown[r.name][r.example]} for r in ranked]
        return told | {"recalled": rows}


def drawing(given: Any) -> Bytes:
    """A drawing ``[105, 105]`` from JSON: its bytes in base64, black on white.

    Raises:
        InputError: it is none, or nothing was drawn.
    """
    expected = f"{SIDE} times {SIDE} bytes in base64"
    try:
        data = b64decode(given, validate=True) if isinstance(given, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != SIDE * SIDE:
        raise InputError("this is no drawing", key="image", expected=expected)
    image = np.frombuffer(data, np.uint8).reshape(SIDE, SIDE)
    if image.min() == image.max():
        raise InputError("nothing was drawn", key="image", remedy="draw a character first")
    return image


def board(run: Any) -> Board:
    """The board of a few-shot run.

    Args:
        run: a :class:`metarl.experiments.run.Run`.

    Raises:
        ConfigError: it is no run of a few-shot learner.
    """
    if not isinstance(run.experiment, FewShotExperiment):
        raise ConfigError(key="RUN", given=f"a {run.experiment.kind} run", expected="one of a few-shot learner")
    return Board(run.experiment, TrainedLearner(run.model, run.experiment.data.reading), run.seed)

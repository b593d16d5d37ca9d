"""Few-shot experiments so small that they take a second, on drawn glyphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metarl.experiments.fewshot.train import train

from metarl.config import apply, load_toml, parse_assignment
from metarl.experiments.fewshot.options import FewShotExperiment, configure, from_config, presets
from metarl.runs.folder import RunFolder

WAYS = 4
CELL = [WAYS, 1]
SMALL: dict[str, Any] = {
    "data": {"source": "glyphs", "rotations": False},
    "train": {"ways": WAYS, "queries": 2, "batch": 2},
    "eval": {"cells": [CELL], "episodes": 6, "queries": 2, "validation": CELL, "validation_episodes": 3},
    "fit": {"updates": 2, "validate_every": 1},
    "threads": 1,
}
MEMORY = {"key_size": 8, "value_size": 8, "controller_options": {"hidden_size": 8}}
ENCODER = {"width": 8, "embedding_size": 8}
LEARNERS: dict[str, dict[str, Any]] = {
    "classifier": {"classifier": {"memory": {**MEMORY, "gate": False}, "encoder": {**ENCODER, "norm": "running"}}},
    "stream": {
        "stream": {"memory": {**MEMORY, "store": "lrua", "access": "native", "controller": "lstm"}, "encoder": ENCODER},
        "train": {"ways": WAYS, "shots": 3, "batch": 2},
        "eval": {**SMALL["eval"], "streams": [WAYS, 3]},
    },
    "gradient": {"gradient": {"width": 8}},
}
"""A learner of each kind."""


def toy(learner: str, *settings: str) -> FewShotExperiment:
    """The experiment of a learner of :data:`LEARNERS`, with some settings changed."""
    config = {"name": learner, **SMALL, **LEARNERS[learner]}
    return from_config(apply(config, [parse_assignment(text) for text in settings]), "toy")


def toy_preset(preset: str, *settings: str) -> FewShotExperiment:
    """The experiment of a preset, whose net, episodes, budget and tests are made small."""
    whole, table = configure(preset), next(name for name in LEARNERS if name in load_toml(presets()[preset]))
    small = [
        *((("train", name), value) for name, value in SMALL["train"].items()),
        *((("data", name), value) for name, value in SMALL["data"].items()),
        *((("eval", name), value) for name, value in SMALL["eval"].items()),
        *((("fit", name), value) for name, value in SMALL["fit"].items()),
        (("threads",), 1),
        (("eval", "cells"), [CELL] if whole.eval.cells else []),
        (("eval", "streams"), [WAYS] if whole.eval.streams else []),
        (("train", "shots"), 3 if table == "stream" else whole.train.shots),
        ((table, "width") if table == "gradient" else (table, "encoder", "width"), 8),
    ]
    return configure(preset, [*small, *(parse_assignment(text) for text in settings)])


def trained(path: Path, experiment: FewShotExperiment, seed: int = 0) -> RunFolder:
    """The run folder of a training."""
    run = RunFolder.create_at(path)
    train(experiment, run, seed=seed, quiet=True)
    return run

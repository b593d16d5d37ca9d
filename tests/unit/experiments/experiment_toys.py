"""Experiments of every kind, so small that one takes a second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metarl.config import apply, load_toml, parse_assignment
from metarl.experiments.base import Experiment
from metarl.experiments.presets import from_config, load_experiment
from metarl.experiments.run import Run, run
from metarl.files import write_json
from metarl.presets.names import preset_kind, preset_path
from metarl.runs.session import Session
from metarl.runs.tracking import Tracker

WAYS, PULLS = 4, 6
CELL = [WAYS, 1]
FEWSHOT: dict[str, Any] = {
    "kind": "fewshot",
    "data": {"source": "glyphs", "rotations": False},
    "train": {"ways": WAYS, "queries": 2, "batch": 2},
    "eval": {"cells": [CELL], "episodes": 6, "queries": 2, "validation": CELL, "validation_episodes": 3},
    "fit": {"updates": 2, "validate_every": 1},
    "threads": 1,
}
SIZES = {"key_size": 8, "value_size": 8}
MEMORY = SIZES | {"controller_options": {"hidden_size": 8}}
ENCODER = {"width": 8, "embedding_size": 8}
LEARNERS: dict[str, dict[str, Any]] = {
    "classifier": {"classifier": {"memory": SIZES, "encoder": {**ENCODER, "norm": "running"}}},
    "stream": {
        "stream": {"memory": {**MEMORY, "store": "lrua", "access": "native", "controller": "lstm"}, "encoder": ENCODER},
        "train": {"ways": WAYS, "shots": 3, "batch": 2, "distortion": {"rotation": 10}},
        "eval": {**FEWSHOT["eval"], "streams": [WAYS, 3]},
    },
    "gradient": {"gradient": {"width": 8}},
}
"""A few-shot learner of each table."""
TOYS: dict[str, dict[str, Any]] = {
    "agent": {
        "kind": "rl2",
        "env": {"id": "metarl/BernoulliBandit-v0", "arms": 3, "pulls": PULLS},
        "memory": MEMORY,
        "train": {"total_timesteps": 96, "n_envs": 4},
        "eval": {"trials": 12, "tuning_trials": 5, "rows": 8},
        "threads": 1,
    },
    **{name: {**FEWSHOT, **tables} for name, tables in LEARNERS.items()},
    "recall": {
        "kind": "recall",
        "sizes": {"pairs": 2, "keys": 4, "values": 2},
        "fit": {"updates": 4, "batch": 4, "parameters": 5000, "key_size": 8, "target": None},
        "sequences": 40,
    },
}
"""An experiment of each kind, as plain data."""
ENDLESS = {"agent": "train.total_timesteps=1000000000"}
"""The setting that makes training long; of all others, that of the updates."""


def toy(name: str, *settings: str) -> Any:
    """The experiment of :data:`TOYS`, with some settings changed; not checked."""
    return from_config(apply({"name": name, **TOYS[name]}, [parse_assignment(text) for text in settings]), "toy")


def ran(path: Path, experiment: Experiment, seed: int = 0) -> Run:
    """The run of an experiment, in a new folder."""
    return run(experiment, path, seed=seed, quiet=True)


def weights(done: Run) -> dict[str, Tensor]:
    """The parameters and buffers of a run's model."""
    module: Any = getattr(done.model, "policy", None) or getattr(done.model, "net", None) or done.model
    return module.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether all parameters and buffers are equal."""
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def at_first_metrics(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Let something happen as the first row of metrics is logged."""
    progress = Session.progress
    waiting = [happen]

    def watched(session: Session, *shown: Any) -> Any:
        log = session.tracker.log

        def first(*given: Any, **options: Any) -> None:
            log(*given, **options)
            if waiting:
                waiting.pop()()

        monkeypatch.setattr(session.tracker, "log", first)
        return progress(session, *shown)

    monkeypatch.setattr(Session, "progress", watched)


PLAIN = {
    "data.source": "glyphs",
    "data.scheme": "standard",
    "data.within_alphabet": False,
    "data.distinct_drawers": False,
    "train.alphabets": None,
}
"""Settings that let a preset for alphabets draw glyphs."""


def for_images(preset: str) -> bool:
    """Whether a preset is of a few-shot learner that can draw glyphs."""
    return preset_kind(preset) == "fewshot" and load_toml(preset_path(preset)).get("data", {}).get("source") != "tables"


def toy_preset(preset: str, *settings: str) -> Any:
    """The experiment of a few-shot preset, whose net, episodes, budget and tests are made small."""
    whole: Any = load_experiment(preset, PLAIN)
    table = next(name for name in LEARNERS if name in load_toml(preset_path(preset)))
    small = {
        f"{part}.{name}": value for part in ("train", "data", "eval", "fit") for name, value in FEWSHOT[part].items()
    }
    small |= PLAIN | {
        "threads": 1,
        "eval.cells": [CELL] if whole.eval.cells else [],
        "eval.streams": [WAYS] if whole.eval.streams else [],
        "train.shots": 3 if table == "stream" else whole.train.shots,
        f"{table}.width" if table == "gradient" else f"{table}.encoder.width": 8,
    }
    small |= {".".join(key): value for key, value in map(parse_assignment, settings)}
    return load_experiment(preset, small)


class Cut(BaseException):
    """What a process that is killed does not do: it leaves as it is."""


def cut_off(monkeypatch: pytest.MonkeyPatch, path: Path, experiment: Any, rows: int) -> None:
    """Begin a run and leave it after some rows of metrics, as if the process was killed."""
    log = Tracker.log

    def cut(tracker: Tracker, *given: Any, **options: Any) -> None:
        log(tracker, *given, **options)
        if tracker.rows == rows:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "log", cut)
        with pytest.raises(Cut):
            ran(path, experiment)
    status = json.loads((path / "status.json").read_text())
    write_json(path / "status.json", {"status": "running", "since": status["since"]})

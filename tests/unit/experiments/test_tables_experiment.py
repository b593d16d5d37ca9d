"""The preset diagnosis at toy size: trained on random tables, tested on patients, and back from its folder."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_toys import same, weights

import metarl
from metarl.agents.fewshot.cases import CaseMemory
from metarl.config import ConfigError
from metarl.data.diseases import DISEASES, TABLES
from metarl.data.random_tables import RandomTables
from metarl.evaluation.records import read_episodes
from metarl.experiments.fewshot.build import class_names, make_source, training_source
from metarl.experiments.presets import load_experiment
from metarl.experiments.run import Run, open_run, run

MISSING = [table.package for table in TABLES if find_spec(table.package) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs the extra apps: {MISSING}")
TOY: dict[str, Any] = {
    "classifier.encoder.width": 8,
    "train.batch": 2,
    "train.queries": 2,
    "train.other_shots": [1],
    "eval.episodes": 4,
    "eval.queries": 2,
    "eval.validation_episodes": 3,
    "fit.updates": 3,
    "fit.validate_every": 3,
    "threads": 1,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(load_experiment("diagnosis", TOY), tmp_path_factory.mktemp("runs") / "it", quiet=True)


def test_it_trains_on_random_tables_and_is_tested_on_diseases(done: Run) -> None:
    experiment: Any = done.experiment
    assert isinstance(training_source(experiment.data, experiment.train), RandomTables)
    assert isinstance(make_source(experiment.data, "validation", rotations=False), RandomTables)
    assert class_names(experiment.data, "test") == DISEASES
    evaluation: Any = done.evaluation
    assert [(cell.ways, cell.shots) for cell in evaluation.cells] == [(2, 1), (2, 5), (2, 10)]
    assert evaluation.data == "tables of patients"
    (row,) = done.folder.metrics()
    assert 0 <= row["validation/accuracy"] <= 1
    kept = read_episodes(done.folder)
    assert kept is not None
    assert kept.episodes is not None
    assert kept.episodes.weights is not None
    assert any("no images" in one for one in done.missing)


def test_it_comes_back_as_a_memory_of_patients(done: Run) -> None:
    assert same(weights(done), weights(open_run(done.folder.path)))
    memory = metarl.load(done.folder.path)
    assert isinstance(memory, CaseMemory)
    rows = np.random.default_rng(0).standard_normal((6, 4))
    memory.remember({"ill": rows[:3], "well": rows[3:5]})
    assert {one.name for one in memory.recalled(rows[5])} == {"ill", "well"}


def test_the_same_seed_gives_the_same_learner(done: Run, tmp_path: Path) -> None:
    again = run(load_experiment("diagnosis", TOY), tmp_path / "again", quiet=True)
    assert same(weights(done), weights(again))
    first: Any = open_run(done.folder.path).evaluate(quiet=True)
    assert first.cells == again.evaluation.cells  # type: ignore[union-attr]  # few-shot


def test_every_number_of_shots_is_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[int] = []
    sample = RandomTables.sample

    def watched(self: RandomTables, rng: Any, n: int, ways: int, shots: int, queries: int) -> Any:
        seen.append(shots)
        return sample(self, rng, n, ways, shots, queries)

    monkeypatch.setattr(RandomTables, "sample", watched)
    experiment = load_experiment("diagnosis", TOY | {"fit.updates": 12, "fit.validate_every": 100})
    run(experiment, tmp_path / "it", quiet=True)
    assert set(seen) == {1, 5}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"classifier.encoder.net": "strided"}, "classifier.encoder.net"),
        ({"data.source": "glyphs"}, "classifier.encoder.net"),
        ({"data.size": 20}, "data.size"),
        ({"data.rotations": False}, "data.rotations"),
        ({"data.trainval": True}, "data.trainval"),
        ({"data.features": 20}, "data.features"),
        ({"train.ways": 3}, "ways"),
        ({"train.distortion": {"rotation": 5}}, "train.distortion"),
        ({"eval.cells": [[2, 30]]}, "shots of eval.cells"),
    ],
)
def test_what_does_not_fit_tables_is_refused(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_experiment("diagnosis", settings)
    assert key in str(refused.value)


def test_columns_are_of_tables_alone() -> None:
    with pytest.raises(ConfigError, match=r"data\.features"):
        load_experiment("key-value", {"data.source": "glyphs", "data.features": 20})


def test_a_learner_of_tables_is_shown_no_images(done: Run) -> None:
    experiment: Any = done.experiment
    with pytest.raises(ConfigError, match="can't be shown images"):
        _ = experiment.data.reading
    support = torch.full((1, 2, 136), torch.nan)
    assert torch.isfinite(done.model(support, torch.tensor([[0, 1]]), support)).all()

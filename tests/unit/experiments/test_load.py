"""One function for every run folder: what it returns, and that it is what was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from experiment_toys import TOYS, ran, same, toy

import metarl
from metarl.agents.fewshot.open_set import OpenSet
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.config import ConfigError
from metarl.evaluation.results import FewShotEvaluation
from metarl.experiments.run import open_run
from metarl.runs.folder import RunError
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize("kind", TOYS)
def test_a_run_of_every_kind_is_loaded(kind: str, tmp_path: Path) -> None:
    done = ran(tmp_path / "run", toy(kind).check())
    loaded = metarl.load(tmp_path / "run", device="cpu")
    if done.experiment.kind == "fewshot":
        assert isinstance(loaded, TrainedLearner)
        assert not loaded.learner.training
        assert same(loaded.learner.state_dict(), done.model.state_dict())
        assert loaded.open_set is not None
        assert loaded.open_set == done.model.open_set, "as calibrated after training"
        assert loaded.reading.shape == done.experiment.data.shape  # type: ignore[attr-defined]  # few-shot
    else:
        assert type(loaded) is type(done.model)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        metarl.load(tmp_path)
    wrong: list[Any] = [None, 5, b"run"]
    for given in wrong:
        with pytest.raises(RunError, match="a path"):
            metarl.load(given)


def test_a_run_is_tested_with_other_ways_where_its_weights_allow_it(tmp_path: Path) -> None:
    for kind in ("gradient", "classifier"):
        ran(tmp_path / kind, toy(kind).check())
    with pytest.raises(ConfigError) as refused:
        open_run(tmp_path / "gradient", {"eval.cells": [[3, 1]]})
    assert refused.value.key == "eval.cells"
    done = open_run(tmp_path / "classifier", {"eval.cells": [[3, 5]], "eval.queries": 1})
    told = done.evaluate(quiet=True)
    assert isinstance(told, FewShotEvaluation)
    assert [(cell.ways, cell.shots, cell.queries) for cell in told.cells] == [(3, 5, 1)]
    with pytest.raises(ConfigError) as refused:
        open_run(tmp_path / "classifier", {"eval.cells": [[5, 1]]})
    assert (refused.value.key, refused.value.given) == ("ways", 5)


@pytest.mark.parametrize("told", [{}, {"threshold": 2}, {"weights": "none"}, {"bias": None}, {"more": 1}])
def test_a_damaged_calibration_is_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    experiment = toy("classifier")
    path = tmp_path / "checkpoint.zip"
    model = experiment.build(0, torch.device("cpu"))
    model.open_set = OpenSet((1.0, 2.0), 0.5, 0.5, 0.9)
    experiment.save(model, path)
    assert experiment.load(path, torch.device("cpu")).open_set == model.open_set
    meta, groups = read_checkpoint(path)
    meta["open_set"] = {**meta["open_set"], **told} if told else []
    write_checkpoint(path, meta, groups)
    with pytest.raises(CheckpointError):
        experiment.load(path, torch.device("cpu"))
    assert toy("classifier", "data.trainval=true")._open_set(model, 0) is None, "no classes are left"

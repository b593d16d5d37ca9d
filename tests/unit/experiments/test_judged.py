"""Validations in training that are judged, as a sweep does, and runs that leave out their evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from experiment_toys import same, toy, weights

from metarl.config import ConfigError
from metarl.experiments.run import resume, run

EVERY = pytest.mark.parametrize("name", ["agent", "classifier", "recall"])
pytestmark = [pytest.mark.usefixtures("undrawn"), pytest.mark.filterwarnings("ignore:.* has fewer")]


@EVERY
def test_a_judge_sees_each_validation_and_may_end_training(name: str, tmp_path: Path) -> None:
    settings = {"agent": ["train.validate_every=24", "eval.validation_trials=4"], "recall": ["fit.updates=110"]}
    experiment = toy(name, *settings.get(name, [])).check().validating()
    whole = run(experiment, tmp_path / "whole", quiet=True, evaluate=False)
    seen: list[tuple[int, float]] = []

    def judge(step: int, row: Mapping[str, Any]) -> bool:
        seen.append((step, row[experiment.validation]))
        return len(seen) == 1

    pruned = run(experiment, tmp_path / "pruned", quiet=True, evaluate=False, judge=judge)
    rows = [row for row in whole.folder.metrics() if experiment.validation in row]
    assert len(rows) > 1
    assert seen == [(rows[0][experiment.axis], rows[0][experiment.validation])]
    assert pruned.signal is None
    status = pruned.folder.status
    assert (status["status"], status["ended"], status["trained"]) == ("interrupted", "pruned", False)
    assert pruned.folder.checkpoint.is_file()
    found = experiment.validation_of(pruned.folder.metrics(), None)
    assert found is not None
    assert found.value == seen[0][1]

    assert (whole.folder.status["status"], whole.evaluation) == ("finished", None)
    assert not whole.folder.evaluation.exists()
    on = resume(pruned.folder.path, quiet=True)  # a pruned run goes on as one that was interrupted
    assert on.folder.status["status"] == "finished"
    assert on.evaluation is not None
    assert same(weights(on), weights(whole))


def test_the_validation_that_counts_is_that_of_the_model_that_is_kept(tmp_path: Path) -> None:
    agent = toy("agent", "train.validate_every=24")
    rows = [
        {"env_steps": step, "validation/return": value, "validation/return_se": 0.1}
        for step, value in ((24, 1.0), (48, 3.0), (72, 2.0))
    ]
    rows.append({"env_steps": 96})
    assert agent.validation_of(rows, None) == (2.0, 0.1)
    assert agent.validation_of(rows, 48) == (3.0, 0.1)
    assert agent.validation_of(rows[3:], None) is None
    recall = toy("recall")
    rates = [
        {"sequences": i, "validation/accuracy": value, "train/learning_rate": rate}
        for i, (value, rate) in enumerate(((0.5, 1e-3), (0.2, 1e-3), (0.1, 1e-2), (0.4, 1e-2)))
    ]
    assert recall.validation_of(rates, None) == (0.4, None)


def test_validations_are_switched_on_where_they_can_be() -> None:
    agent = toy("agent")
    assert agent.validates_every is None
    assert agent.validating().validates_every == 4
    assert toy("agent", "train.keep=best").validating() == toy("agent", "train.keep=best")
    with pytest.raises(ConfigError, match=r"data\.trainval"):
        toy("classifier", "data.trainval=true").validating()

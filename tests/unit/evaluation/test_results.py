import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_fewshot_runs import evaluation as few_shot
from report_fewshot_runs import mann
from report_runs import bandit, barcode

from metarl.config import to_plain
from metarl.evaluation.recall import RecallCell, RecallResult, RecallSettings
from metarl.evaluation.results import Evaluation, RecallEvaluation, read_evaluation, write_evaluation
from metarl.runs.folder import RunError, RunFolder

CELL = RecallCell("associative", "gru", sizes={"pairs": 4})
RECALL = RecallEvaluation(results=(RecallResult(CELL, 0.5, 0.1, 100, 0.1, 0.6, 40_000, 60, 0.003, 200, 1.5),))


@pytest.mark.parametrize("evaluation", [bandit(), barcode(greedy=None), few_shot(first_order=True), mann(), RECALL])
def test_an_evaluation_survives_its_file(tmp_path: Path, evaluation: Evaluation) -> None:
    run = RunFolder(tmp_path)
    assert read_evaluation(run) is None
    write_evaluation(run, evaluation)
    assert read_evaluation(run) == read_evaluation(run.evaluation) == evaluation


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_evaluation(tmp_path / "evaluation.json", bandit(return_mean=float("nan")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("evaluation", "change", "told"),
    [
        (bandit(), {"kind": "trial"}, "kind"),
        (bandit(), {"by_episode": []}, "episodes"),
        (bandit(), {"by_episode": ["x"]}, "by_episode"),
        (bandit(), {"by_episode": [0.5]}, "episodes"),
        (bandit(), {"return_mean": None}, "return_mean"),
        (bandit(), {"references": {"UCB1": {}}}, "references.UCB1"),
        (bandit(), {"ablations": 3}, "ablations"),
        (bandit(), {"unknown": 3}, "unknown"),
        (few_shot(), {"norm": 3}, "norm"),
        (few_shot(), {"cells": [{"ways": 5}]}, "cells"),
        (few_shot(), {"cells": [to_plain(few_shot().cells[0]) | {"interval": [0.1]}]}, "interval"),
        (few_shot(), {"cells": []}, "neither cells nor streams"),
        (mann(), {"streams": [to_plain(mann().streams[0]) | {"labels": "roman"}]}, "labels"),
        (mann(), {"streams": [to_plain(mann().streams[0]) | {"by_instance": [0.1]}]}, "instances"),
        (bandit(), {"return_mean": 1e300}, "return_mean"),
        (bandit(), {"return_interval": [0, -(10**300)]}, "return_interval"),
        (bandit(), {"steps_to_adapt": 0}, "steps_to_adapt"),
        (bandit(), {"trials": 10**300}, "trials"),
        (bandit(), {"seed": -1}, "seed"),
        (bandit(), {"train_seconds": -1.0}, "train_seconds"),
        (bandit(), {"train_steps": 1.5}, "train_steps"),
        (bandit(), {"ceilings": {"best": True}}, "best"),
        (few_shot(), {"cells": [to_plain(few_shot().cells[0]) | {"accuracy": 1.5}]}, "accuracy"),
        (few_shot(), {"parameters": -1}, "parameters"),
        (mann(), {"streams": [to_plain(mann().streams[0]) | {"by_instance": [-1.0]}]}, "by_instance"),
        (RECALL, {"results": [to_plain(RECALL.results[0]) | {"accuracy": 2}]}, "accuracy"),
        (RECALL, {"results": [to_plain(RECALL.results[0]) | {"updates": -1}]}, "updates"),
        (RECALL, {"results": []}, "results"),
        (RECALL, {"results": [to_plain(RECALL.results[0]) | {"cell": {"task": "none", "memory": "gru"}}]}, "none"),
    ],
)
def test_a_damaged_evaluation_is_refused(
    tmp_path: Path, evaluation: Evaluation, change: dict[str, Any], told: str
) -> None:
    run = RunFolder(tmp_path)
    run.evaluation.write_text(json.dumps(to_plain(evaluation) | change))
    with pytest.raises(RunError, match=f"evaluation.json .*{told}"):
        read_evaluation(run)


@pytest.mark.parametrize("content", ["{", "[1]", "{}", "\x00"])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(RunError, match=r"evaluation\.json"):
        read_evaluation(tmp_path / "evaluation.json")


@pytest.mark.parametrize(
    "options", [{"updates": None}, {"learning_rates": ()}, {"updates": 1}, {"updates": None, "learning_rates": ()}]
)
def test_a_recall_budget_without_an_end_or_a_rate_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        RecallSettings(**options)


def test_equal_cells_compare_equal_whatever_was_left_out() -> None:
    assert RecallCell("copy", "gru") == RecallCell("copy", "gru", sizes=dict(RecallCell("copy", "gru").sizes))
    assert replace(CELL, sizes={"pairs": 5}) != CELL

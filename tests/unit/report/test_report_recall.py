from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from report_looks import texts, words

from metarl.data.recall import RECALL_TASKS
from metarl.evaluation.recall import RecallCell, RecallResult, RecallSettings
from metarl.evaluation.results import RecallEvaluation, write_evaluation
from metarl.experiments.recall.candidates import SUITE
from metarl.report.build import build_report
from metarl.report.recall import budget, draw_recall
from metarl.report.tables import evaluation_table
from metarl.runs.folder import RunFolder


def result(task: str, memory: str, accuracy: float, seed: int = 0, **settings: Any) -> RecallResult:
    cell = RecallCell(task, memory, seed, RecallSettings(**settings))
    chance = cell.make_task().chance
    return RecallResult(cell, accuracy, 0.002, 10_000, chance, accuracy, 40_012, 60, 3e-3, 1500, 12.3 + seed)


@pytest.fixture(scope="module")
def suite() -> list[RecallResult]:
    rng = np.random.default_rng(0)
    return [result(task, memory, float(rng.uniform(0.05, 1))) for task in RECALL_TASKS for memory in SUITE]


def test_the_budget_says_what_ends_a_training() -> None:
    assert budget(RecallSettings()).endswith("3,000 updates or until 99.9 % of validation answers are correct")
    assert budget(RecallSettings(updates=None, seconds=300, target=None)).endswith("batches of 64, 300 s")


def test_the_table_has_every_memory_and_chance(suite: list[RecallResult]) -> None:
    again = result("copy", SUITE[0], 1.0, seed=1)
    lines = evaluation_table(RecallEvaluation(results=(*suite[:-1], again))).splitlines()
    assert lines[2].split() == ["memory", *RECALL_TASKS]
    rows = {line.split()[0]: line for line in lines[3:]}
    assert set(SUITE) <= set(rows)
    assert f"{50 * (suite[0].accuracy + 1):.1f} ± 0.3 %" in rows[SUITE[0]], "the mean over seeds"
    assert rows[SUITE[-1]].endswith(" –")
    assert rows["chance"].split()[1:3] == ["6.2", "%"]


def test_the_image_shows_every_number(suite: list[RecallResult], tmp_path: Path, drawn: list[Figure]) -> None:
    run = RunFolder.create_at(tmp_path / "run")
    run.start({"kind": "recall"})
    write_evaluation(run, RecallEvaluation(results=tuple(suite)))
    report = build_report([run])
    assert [path.name for path in report.images] == ["memories.svg"]
    assert "Recall" in report.page.read_text()
    (figure,) = drawn
    assert {*SUITE, "copy\nchance 6.2", "count\nchance 22.5"} <= words(figure)
    numbers = [text for text in texts(figure) if text.get_text().replace(".", "").isdigit()]
    assert len(numbers) == len(SUITE) * len(RECALL_TASKS)
    best = max(one.accuracy for one in suite if one.cell.task == "copy")
    assert f"{100 * best:.1f}" in {text.get_text() for text in numbers if text.get_fontweight() == "bold"}
    assert min(text.get_fontsize() for text in texts(figure)) >= 8


def test_an_image_of_a_part_of_it(suite: list[RecallResult], tmp_path: Path, drawn: list[Figure]) -> None:
    some = [one for one in suite if one.cell.memory in ("gru", "dnc+native") and one.cell.task in ("copy", "two_hop")]
    draw_recall(some[:-1], tmp_path / "recall.png")
    assert "–" in words(drawn[0])

from typing import Any

import pytest
from results.recall import COMMAND, markdown, rows

from metarl.evaluation.recall import RecallCell, RecallResult, RecallSettings


def result(task: str, memory: str, accuracy: float, seed: int = 0, **settings: Any) -> RecallResult:
    cell = RecallCell(task, memory, seed, RecallSettings(**settings))
    chance = cell.make_task().chance
    return RecallResult(cell, accuracy, 0.002, 10_000, chance, accuracy, 40_012, 60, 3e-3, 1500, 12.3 + seed)


def test_rows_are_means_over_seeds() -> None:
    made = rows(
        [result("copy", "gru", 0.4), result("copy", "lstm", 0.9), result("copy", "gru", 0.6, seed=3)],
        "a command",
        "abc",
        "a part",
        {"gru": (0.45, None)},
    )
    gru, lstm = made
    assert (gru.method, lstm.method) == ("gru", "lstm")
    assert gru.ours == pytest.approx(0.5)
    assert gru.se == pytest.approx(0.002 / 2**0.5)
    assert (gru.seeds, gru.goal, lstm.goal) == ((0, 3), (0.45, None), (None, None))
    assert (gru.train_seconds, gru.parameters, gru.n_tasks) == (15.3, 40_012, 10_000)
    assert gru.train_steps == 1500 * 64 * 24
    assert gru.references == {"chance": 0.0625}
    assert (gru.command, gru.commit) == ("a command", "abc")


def test_other_settings_are_other_rows() -> None:
    results = [result("copy", "gru", 0.4, updates=n) for n in (10, 20)]
    assert len({row.key for row in rows(results, COMMAND, "abc")}) == 2


def test_a_part_with_goals_names_those_that_are_short() -> None:
    goals = {"gru": (0.9, None), "lstm": (None, 0.4), "mingru": (None, None)}
    results = [result("copy", "gru", 0.85), result("copy", "lstm", 0.39), result("copy", "mingru", 0.1)]
    page = markdown(rows(results, COMMAND, "abc", "one part", goals))
    assert "**One part**: 40,000 parameters" in page
    assert page.count("Short of the goal: gru.") == 1
    assert "| gru | **85.0 ± 0.4 %** | ≥ 90 % | 12 s | 40,012 |" in page
    assert "| lstm | 39.0 ± 0.4 % | ≤ 40 % | 12 s | 40,012 |" in page
    assert "| mingru | 10.0 ± 0.4 % | – | 12 s | 40,012 |" in page
    assert "All 1 reach their goal." in markdown(rows(results[1:2], COMMAND, "abc", "one part", goals))

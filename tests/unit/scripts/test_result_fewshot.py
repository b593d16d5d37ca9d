from dataclasses import replace
from typing import Any

import pytest
from report_fewshot_runs import evaluation, mann, stream
from results.fewshot import COMMAND, fewshot_rows
from results.rows import Row

from metarl.evaluation.results import FewShotEvaluation


def rows(*evaluations: FewShotEvaluation, **goals: Any) -> list[Row]:
    return fewshot_rows(evaluations, COMMAND, "abc1234", **goals)


def shifted(by: float, **more: Any) -> FewShotEvaluation:
    told = evaluation(**more)
    return replace(told, cells=tuple(replace(cell, accuracy=cell.accuracy + by) for cell in told.cells))


def test_a_row_has_the_number_its_goal_and_its_origin() -> None:
    made = rows(evaluation(), goals={(20, 1): (97.4, None)})
    assert [row.where for row in made] == [
        "Omniglot 5-way 1-shot, upright",
        "Omniglot 5-way 5-shot, upright",
        "Omniglot 20-way 1-shot, upright",
        "Omniglot 20-way 5-shot, upright",
    ]
    row = made[2]
    assert (row.method, row.metric, row.ours) == ("prototypical", "accuracy %", pytest.approx(96.7))
    assert row.se == pytest.approx(0.05)
    assert (row.goal, made[0].goal) == ((97.4, None), (None, None))
    assert row.references == {"published": 96.0, "raw pixels": 26.7}
    assert (row.n_tasks, row.seeds, row.train_seconds, row.train_steps) == (1000, (0,), 731.2, 1800)
    assert (row.parameters, row.flags, row.commit) == (111_936, "not transductive, running norm", "abc1234")


def test_other_data_have_other_names_and_no_published_figures() -> None:
    settings = {
        row.where: row.references
        for row in rows(
            evaluation(rotations=True),
            evaluation(data="drawn glyphs"),
            evaluation(data="Omniglot (lake split)", within_alphabet=True),
        )
    }
    assert settings["Omniglot 5-way 1-shot, rotations as classes"]["published"] == 98.8
    assert settings["drawn glyphs, not Omniglot 5-way 1-shot, upright"] == {}
    assert settings["Omniglot (lake split) 5-way 1-shot, upright, one alphabet an episode"] == {}
    assert len(settings) == 12


def test_seeds_are_pooled_with_the_spread_between_them() -> None:
    spread = rows(*(shifted(by, train_seed=seed, seed=seed) for seed, by in enumerate((-0.006, 0.0, 0.006))))
    assert len(spread) == 4
    assert (spread[0].seeds, spread[0].ours) == ((0, 1, 2), pytest.approx(99.0))
    assert spread[0].se == pytest.approx(0.6 / 3**0.5)
    near = rows(*(shifted(by, train_seed=seed, seed=seed) for seed, by in enumerate((0.0, 1e-6))))
    assert near[0].se == pytest.approx(0.05 / 2**0.5), "never less than what episodes alone leave open"
    shared = rows(*(shifted(by, train_seed=seed) for seed, by in enumerate((0.0, 1e-6))))
    assert shared[0].se == pytest.approx(0.05, rel=1e-3), "the same episodes twice are no more episodes"


def test_methods_and_flags_are_not_pooled() -> None:
    made = rows(
        evaluation(preset="reptile", learner="reptile"),
        evaluation(preset="reptile", learner="reptile", transductive=True, train_seed=1),
    )
    assert len({row.key for row in made}) == 8
    assert [row.references["published"] for row in made[::4]] == [95.4, 97.7]


def test_streams_have_a_row_for_each_published_instance() -> None:
    told = mann(streams=(stream(), stream(15, "letters")))
    made = rows(told, goals={("stream", 1): (30, 46), ("stream", 2): (82.8, None)})
    first, second = made[:2]
    assert (first.where, first.metric) == (
        "Omniglot stream, 5 classes, one-hot labels, upright",
        "accuracy % of instance 1",
    )
    assert (first.goal, second.goal, second.references) == ((30, 46), (82.8, None), {"published": 82.8})
    assert first.se == pytest.approx(1 / 1.96)
    letters = made[6:]
    assert {row.where for row in letters} == {"Omniglot stream, 15 classes, labels of five letters, upright"}
    assert all(row.goal == (None, None) and row.references == {} for row in letters)
    assert [row.metric.rpartition(" ")[2] for row in letters] == ["1", "2", "3", "4", "5", "10"]


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(ValueError, match="is of validation classes; results are of test classes"):
        rows(evaluation(split="validation"))
    with pytest.raises(ValueError, match="prototypical was given twice"):
        rows(evaluation(), evaluation())

import json
from pathlib import Path
from typing import Any

import pytest
from report_fewshot_runs import evaluation, made, mann, stream
from report_runs import made as made_by_rl2

from metarl.report.fewshot import cell_rows, fewshot_table, is_fewshot, read_fewshot, stream_rows
from metarl.report.published import CELLS, LEARNERS, of_learner, of_stream, streams
from metarl.report.tables import WIDTH
from metarl.runs.folder import RunError

LONG = {
    "data": "images of /a/folder/whose/name/is/rather/long/because/it/lies/deep/in/the/tree",
    "rotations": True,
    "within_alphabet": True,
    "distinct_drawers": True,
    "transductive": True,
    "first_order": True,
    "trainval": True,
    "note": "half of the budget " * 9,
}


def lines(told: dict[str, Any], start: str) -> list[str]:
    return [line for line in fewshot_table(told).splitlines() if line.startswith(start)]


def test_the_table_has_ours_with_its_interval_beside_the_published_figure() -> None:
    assert lines(evaluation(), "20-way 1-shot") == [
        "20-way 1-shot  96.70 ± 0.10   96.0  Omniglot, upright, not transductive, running norm"
    ]
    text = fewshot_table(evaluation())
    assert text.startswith("prototypical on Omniglot (standard split), test classes\n")
    assert "paper: Snell et al. 2017; with the rotations of characters as further classes" in text
    assert "trained on 1,800 episodes in 12.2 minutes" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transductive": True}, "transductive"),
        ({"norm": "batch"}, "batch norm"),
        ({"rotations": True}, "rotations as classes"),
        ({"first_order": True}, "first order"),
        ({"first_order": False}, "second order"),
        ({"trainval": True}, "trained on train and validation classes"),
        ({"data": "drawn glyphs, not Omniglot"}, "drawn glyphs, not Omniglot"),
        ({"data": "drawn glyphs"}, "drawn glyphs, not Omniglot"),
    ],
)
def test_every_row_says_what_has_to_be_known(change: dict[str, Any], words: str) -> None:
    for told in (evaluation(**change), mann(**change)):
        rows = cell_rows(told) + [row for one in told["streams"] for row in stream_rows(told, one)]
        assert all(f" {words}" in f" {row[-1]}" for row in rows)
        assert " ".join(fewshot_table(told).split()).count(words) >= len(rows)
    assert not any(words in row[-1].replace("not transductive", "") for row in cell_rows(evaluation()))


@pytest.mark.parametrize(
    "told", [evaluation(**LONG), mann(**LONG, streams=[stream(), stream(15), stream(15, "letters")])]
)
def test_the_table_fits_a_terminal(told: dict[str, Any]) -> None:
    assert max(map(len, fewshot_table(told).splitlines())) <= WIDTH


def test_instances_of_streams_stand_beside_manns() -> None:
    text = fewshot_table(mann(streams=[stream(), stream(15, "letters")]))
    assert "instance 2   82.00 ± 1.00   82.8  Omniglot" in text
    assert text.count("instance 2   82.00 ± 1.00      –  Omniglot") == 1
    assert "streams of 15 classes, labels of five letters\n" in text
    assert "paper, streams of 5 classes, one-hot labels: MANN, Santoro et al. 2016" in text


@pytest.mark.parametrize(
    "change",
    [
        {"data": "drawn glyphs, not Omniglot"},
        {"data": "Omniglot (lake split)"},
        {"within_alphabet": True},
        {"distinct_drawers": True},
    ],
)
def test_published_figures_stand_beside_their_own_protocol_only(change: dict[str, Any]) -> None:
    assert "96.0" not in fewshot_table(evaluation(**change))
    assert "82.8" not in fewshot_table(mann(**change))
    assert "paper:" not in fewshot_table(evaluation(**change))


def test_a_preset_is_found_by_its_first_words() -> None:
    assert of_learner("matching-fce") is LEARNERS["matching"]
    assert of_learner("my-own", "maml_fast") is LEARNERS["maml"]
    assert of_learner("my-own") is None
    assert of_learner("mannequin") is None
    for transductive, accuracy in ((False, 95.4), (True, 97.7)):
        known = of_learner("reptile", transductive=transductive)
        assert known is not None
        assert known.accuracy[5, 1] == accuracy
    assert of_stream("mann", labels="one_hot", ways=5) in streams("one_hot", 5)
    assert of_stream("mann", labels="letters", ways=15) is None


def test_no_learner_is_better_than_the_best() -> None:
    for known in LEARNERS.values():
        for cell, accuracy in known.accuracy.items():
            assert cell in CELLS
            assert 20 < accuracy <= LEARNERS["best"].accuracy[cell]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "trial"}, "it is no few-shot evaluation"),
        ({"norm": 3}, "holds norm of another form"),
        ({"cells": [{"ways": 5}]}, "holds cells of another form"),
        ({"cells": [evaluation()["cells"][0] | {"interval": [0.1]}]}, "holds cells"),
        ({"streams": [stream() | {"labels": "roman"}]}, "holds streams"),
        ({"streams": [stream() | {"by_instance": [0.1]}]}, "holds streams"),
        ({"cells": []}, "neither cells nor streams"),
    ],
)
def test_a_damaged_evaluation_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fewshot_table(evaluation(**change))
    run = made(tmp_path / "a", evaluation(**change))
    with pytest.raises(RunError, match=rf"evaluation.json is damaged .*{message}.*metarl fewshot eval"):
        read_fewshot(run)


def test_a_missing_field_is_named() -> None:
    told = evaluation()
    del told["norm"], told["rotations"]
    with pytest.raises(ValueError, match="lacks norm, rotations; make it again with `metarl fewshot eval RUN`"):
        fewshot_table(told)


def test_kinds_of_runs_are_told_apart(tmp_path: Path) -> None:
    for number, evaluated in enumerate((True, False)):
        assert is_fewshot(made(tmp_path / f"f{number}", evaluated=evaluated))
        assert not is_fewshot(made_by_rl2(tmp_path / f"r{number}", evaluated=evaluated))
    broken = made(tmp_path / "broken")
    broken.evaluation.write_text("{")
    assert is_fewshot(broken)
    assert read_fewshot(made(tmp_path / "none", evaluated=False)) is None
    with pytest.raises(RunError, match="is damaged; remove it and make it again with metarl fewshot eval"):
        read_fewshot(broken)
    broken.evaluation.write_text(json.dumps([1]))
    with pytest.raises(RunError, match="is damaged"):
        read_fewshot(broken)

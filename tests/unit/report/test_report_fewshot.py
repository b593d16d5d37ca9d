from typing import Any

import pytest
from report_fewshot_runs import evaluation, mann, stream

from metarl.evaluation.results import FewShotEvaluation
from metarl.report.published import CELLS, LEARNERS, of_learner, of_stream, streams
from metarl.report.tables import WIDTH, evaluation_table

LONG = {
    "data": "images of /a/folder/whose/name/is/rather/long/because/it/lies/deep/in/the/tree",
    "rotations": True,
    "within_alphabet": True,
    "distinct_drawers": True,
    "transductive": True,
    "first_order": True,
    "trainval": True,
}


def test_the_table_has_ours_with_its_interval_beside_the_published_figure() -> None:
    text = evaluation_table(evaluation())
    assert "\n20-way 1-shot   96.70 ± 0.10    96.0\n" in text
    assert text.startswith("prototypical on Omniglot (standard split), test classes\n")
    assert "paper: Snell et al. 2017" in text
    assert "trained on 1,800 episodes in 12.2 min" in text
    assert "\nOmniglot, upright, not transductive, running norm\n" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transductive": True}, "transductive"),
        ({"norm": "batch"}, "batch norm"),
        ({"rotations": True}, "rotations as classes"),
        ({"first_order": True}, "first order"),
        ({"first_order": False}, "second order"),
        ({"trainval": True}, "trained on train and validation classes"),
        ({"data": "drawn glyphs, not Omniglot", "real": False}, "drawn glyphs, not Omniglot"),
        ({"data": "drawn glyphs"}, "drawn glyphs, not Omniglot"),
    ],
)
def test_the_table_says_what_has_to_be_known(change: dict[str, Any], words: str) -> None:
    for told in (evaluation(**change), mann(**change)):
        assert f" {words}" in " " + " ".join(evaluation_table(told).split())
    plain = evaluation_table(evaluation()).replace("not transductive", "").replace("second", "")
    assert words not in plain


@pytest.mark.parametrize(
    "told", [evaluation(**LONG), mann(**LONG, streams=(stream(), stream(15), stream(15, "letters")))]
)
def test_the_table_fits_a_terminal(told: FewShotEvaluation) -> None:
    assert max(map(len, evaluation_table(told).splitlines())) <= WIDTH


def test_instances_of_streams_stand_beside_manns() -> None:
    text = evaluation_table(mann(streams=(stream(), stream(15, "letters"))))
    assert text.count("instance 2    82.00 ± 1.00    82.8") == 1
    assert text.count("instance 2    82.00 ± 1.00       –") == 1
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
    assert "96.0" not in evaluation_table(evaluation(**change))
    assert "82.8" not in evaluation_table(mann(**change))
    assert "paper:" not in evaluation_table(evaluation(**change))


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

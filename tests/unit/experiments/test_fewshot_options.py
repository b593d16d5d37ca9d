"""What a few-shot run is made from: how presets, files and settings become an experiment, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment_toys import WAYS, toy

from metarl.config import ConfigError
from metarl.experiments.presets import from_config


def test_a_learner_is_made_for_the_most_classes_and_the_longest_support() -> None:
    made = toy("classifier", "eval.cells=[[3,7],[9,2]]", "eval.validation=[11,1]", "train.shots=5")
    assert (made.ways, made.longest) == (11, 3 * 7)
    streams = toy("stream", "eval.validation=[99,9]")
    assert (streams.ways, streams.longest) == (WAYS, WAYS * 3), "streams are validated by streams, and by no cell"
    assert toy("stream", "eval.streams=[6]").longest == 18
    assert toy("gradient", "eval.cells=[[9,1]]").ways == WAYS, "of a head that has as many"


@pytest.mark.parametrize(
    ("learner", "settings", "message"),
    [
        ("classifier", ["gradient.steps=2"], "one learner, but the tables classifier and gradient were given"),
        ("classifier", ["classifier=0"], "classifier is 0, expected a table"),
        ("stream", ["transductive=true"], "transductive = true with a learner of streams"),
        ("classifier", ["eval.streams=[3]"], "with a learner of episodes, which sees no streams"),
        ("gradient", ["train.labels=letters"], "with a learner of episodes, which sees no streams"),
        ("stream", ["train.labels=letters"], "eval.cells with train.labels = 'letters'"),
        ("classifier", ["eval.cells=[]"], "nothing would be tested"),
        ("classifier", ["eval.cells=[[1,1]]"], "eval.cells.0.0 is 1, expected greater than or equal to 2"),
        ("classifier", ["eval.cells=[[5,0]]"], "eval.cells.0.1 is 0, expected greater than or equal to 1"),
        ("classifier", ["eval.cells=[5,1]"], "eval.cells.0 is 5"),
        ("classifier", ["eval.episodes=1"], "eval.episodes is 1, expected greater than or equal to 2"),
        ("classifier", ["train.ways=1"], "train.ways is 1, expected greater"),
        ("classifier", ["train.labels=words"], "train.labels is 'words', expected"),
        (
            "classifier",
            ["train.distortion.rotation=-1"],
            "distortion.rotation is -1, expected greater than or equal to 0",
        ),
        ("classifier", ["data.source=images"], "data.source = 'images' without data.folder"),
        ("classifier", ["data.colour=true"], "data.colour = true with data.source = 'glyphs'"),
        ("classifier", ["data.size=4"], "data.size is 4, expected greater"),
        ("classifier", ["data.scheme=mine"], "data.scheme is 'mine', expected 'standard' or 'lake'"),
        ("classifier", ["fit.average=1.0"], "fit.average is 1.0, expected less than 1"),
        ("gradient", ["gradient.algorithm=mamal"], "gradient.algorithm is 'mamal', expected 'maml'"),
        ("classifier", ["classifier.encoder.net=big"], "classifier.encoder.net is 'big', expected 'strided'"),
        ("classifier", ["classifier.readot=votes"], "unknown key classifier.readot, .* did you mean 'readout'"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(learner: str, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        toy(learner, *settings)
    assert "\n" not in str(error.value)


def test_no_learner_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="give one of classifier, stream, gradient"):
        from_config({"kind": "fewshot", "fit": {"updates": 1}}, "it")


def test_auto_is_omniglot_where_both_archives_are_and_glyphs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("METARL_DATA", str(tmp_path))
    made = toy("classifier", "data.source=auto")
    assert made.check().data.source == "glyphs"
    (tmp_path / "images_background.zip").touch()
    assert made.check().data.source == "glyphs", "one archive is not enough"
    (tmp_path / "images_evaluation.zip").touch()
    with pytest.raises(ConfigError, match="images_"):
        made.check()  # they are empty, but they are taken
    monkeypatch.delenv("METARL_DATA")
    assert made.check().data.source == "glyphs"
    with pytest.raises(ConfigError, match="images_"):
        toy("classifier", "data.source=auto", f"data.folder={tmp_path}").check()


def test_glyphs_lie_in_no_folder() -> None:
    with pytest.raises(ConfigError, match="glyphs"):
        toy("classifier", "data.folder=somewhere")

"""What a few-shot run is made from: how presets, files and settings become an experiment, and what is refused."""

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
    ("learner", "key", "settings"),
    [
        ("classifier", "learner", ["gradient.steps=2"]),
        ("classifier", "classifier", ["classifier=0"]),
        ("stream", "transductive", ["transductive=true"]),
        ("classifier", "eval.streams", ["eval.streams=[3]"]),
        ("gradient", "train.labels", ["train.labels=letters"]),
        ("classifier", "eval.cells", ["eval.cells=[]"]),
        ("classifier", "eval.cells.0.0", ["eval.cells=[[1,1]]"]),
        ("classifier", "eval.cells.0.1", ["eval.cells=[[5,0]]"]),
        ("classifier", "eval.cells.0", ["eval.cells=[5,1]"]),
        ("classifier", "eval.episodes", ["eval.episodes=1"]),
        ("classifier", "train.ways", ["train.ways=1"]),
        ("classifier", "train.distortion.rotation", ["train.distortion.rotation=-1"]),
        ("classifier", "data.folder", ["data.source=images"]),
        ("classifier", "data.colour", ["data.colour=true"]),
        ("classifier", "data.within_alphabet", ["data.within_alphabet=true"]),
        ("classifier", "data.distinct_drawers", ["data.distinct_drawers=true"]),
        ("classifier", "data.size", ["data.size=4"]),
        ("classifier", "data.scheme", ["data.scheme=lake"]),
        ("classifier", "fit.average", ["fit.average=1.0"]),
        ("classifier", "fit.target", ["data.trainval=true", "fit.target=1"]),
        ("classifier", "fit.patience", ["data.trainval=true", "fit.patience=1"]),
        ("classifier", "fit.keep", ["data.trainval=true", "fit.keep=best"]),
        ("gradient", "gradient.algorithm", ["gradient.algorithm=mamal"]),
        ("classifier", "classifier.encoder.net", ["classifier.encoder.net=big"]),
        ("classifier", "classifier.readot", ["classifier.readot=votes"]),
        ("stream", "train.labels", ["train.labels=letters"]),
        ("classifier", "data.folder", ["data.folder=somewhere"]),
    ],
)
def test_options_that_do_not_fit_are_refused(learner: str, key: str, settings: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        toy(learner, *settings)
    assert error.value.key == key


def test_no_learner_at_all_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        from_config({"kind": "fewshot", "fit": {"updates": 1}}, "it")
    assert error.value.key == "learner"


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

"""Training of few-shot learners: what classes it sees, which parameters stay, and what is refused."""

import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from experiment_toys import LEARNERS, WAYS, cut_off, ran, same, toy, weights
from PIL import Image
from torch import Tensor

from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.config import ConfigError
from metarl.data.images import class_names
from metarl.data.pool import Glyphs, Pool
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.run import open_run, resume
from metarl.files import write_json
from metarl.report.tables import evaluation_table
from metarl.types import SPLITS, Array

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits of glyphs that were drawn from, or calibrated by, in order."""
    split_of = {id(Glyphs(split).examples): split for split in SPLITS}
    draw, splits = Pool.draw, list[str]()

    def noted(pool: Pool, *given: Any) -> Array:
        splits.append(split_of[id(pool.examples)])
        return draw(pool, *given)

    def calibrated(learner: Any, pool: Pool, rng: Any) -> None:
        splits.append(split_of[id(pool.examples)])

    monkeypatch.setattr(Pool, "draw", noted)
    monkeypatch.setattr("metarl.experiments.fewshot.experiment.calibrated", calibrated)
    return splits


@pytest.mark.parametrize("learner", LEARNERS)
def test_training_is_stopped_by_validation_classes_and_never_meets_test_classes(
    learner: str, tmp_path: Path, drawn: list[str]
) -> None:
    done = ran(tmp_path / "run", toy(learner, "fit.patience=1", "fit.updates=3", "fit.learning_rate=0"))
    trained = drawn[: drawn.index("test")]
    assert set(trained) == {"validation", "train"}
    assert trained.count("train") == 2, "the third is not reached"
    assert trained[-1] == "validation", "by which unknown classes are told"
    assert set(drawn[len(trained) :]) == {"test"}
    first, second = (row["validation/accuracy"] for row in done.folder.metrics())
    assert first == second, "the same validation episodes each time"


def test_with_trainval_accuracy_is_told_as_one_of_training_and_picks_nothing(tmp_path: Path) -> None:
    done = ran(tmp_path / "run", toy("classifier", "data.trainval=true"))
    assert set(done.folder.metrics()[0]) == {"episodes", "time", "train/loss", "train/accuracy"}
    assert done.evaluate(quiet=True).trainval is True  # type: ignore[union-attr]
    with pytest.raises(ConfigError) as error:
        done.evaluate(split="validation", quiet=True)
    assert (error.value.key, error.value.given) == ("split", "validation")


@pytest.mark.parametrize("settings", [["fit.patience=2", "fit.updates=9"], ["fit.keep=best", "fit.updates=4"]])
def test_the_best_learner_of_validations_is_kept(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies, states = iter([0.2, 0.9, 0.4, 0.5]), list[dict[str, Tensor]]()

    def validate(learner: FewShotClassifier) -> float:
        states.append({name: value.clone() for name, value in learner.state_dict().items()})
        return next(accuracies)

    monkeypatch.setattr("metarl.experiments.fewshot.experiment.validator", lambda *_: validate)
    done = ran(tmp_path / "run", toy("classifier", *settings))
    assert [row["validation/accuracy"] for row in done.folder.metrics()] == [0.2, 0.9, 0.4, 0.5]
    assert done.steps == 8
    assert done.evaluation is not None
    assert done.evaluation.kept_step == 4
    assert "after 4 of 8 episodes" in " ".join(evaluation_table(done.evaluation).split())
    assert same(weights(done), states[1])
    assert not same(weights(done), states[3])


def test_a_classifier_learns_glyphs_and_beats_chance_on_classes_never_met(tmp_path: Path) -> None:
    settings = ["fit.updates=60", "fit.validate_every=60", "fit.learning_rate=5e-3", "eval.episodes=60"]
    votes = [
        "classifier.readout=votes",
        "classifier.memory={ access_options = { empty_slot = false } }",
        "train.batch=4",
    ]
    done: Any = ran(tmp_path / "run", toy("classifier", *settings, *votes))
    (cell,) = done.evaluation.cells
    assert cell.interval[0] > 1 / WAYS + 0.1


@pytest.mark.parametrize(
    ("learner", "setting", "message"),
    [
        ("classifier", "train.ways=201", "the train split: ways is 201, expected at most 200"),
        ("classifier", "eval.validation=[201,1]", "the validation split: ways is 201"),
        ("classifier", "eval.cells=[[5,1],[201,1]]", "the test split: ways is 201"),
        ("classifier", "train.shots=19", r"the train split: train.shots \+ train.queries is 21, expected at most 20"),
        ("classifier", "eval.queries=20", r"the validation split: .* eval.queries is 21"),
        ("classifier", "eval.cells=[[5,19]]", r"the test split: .*eval.cells \+ eval.queries is 21"),
        ("stream", "train.ways=201", "the train split: ways is 201"),
        ("stream", "train.shots=21", "the train split: train.shots is 21"),
        ("stream", "eval.streams=[201]", "the test split: ways is 201"),
        ("gradient", "eval.cells=[[5,1]]", "eval.cells has 5.*train.ways = 4"),
        ("gradient", "eval.validation=[5,1]", "eval.validation has 5.*train.ways = 4"),
    ],
)
def test_episodes_that_cannot_be_drawn_are_refused_before_training(learner: str, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        toy(learner, setting).check()


def test_rotations_are_classes_but_never_two_of_one_in_an_episode() -> None:
    assert toy("classifier", "data.rotations=true", "train.ways=200").check()
    with pytest.raises(ConfigError, match="ways is 201"):
        toy("classifier", "data.rotations=true", "train.ways=201").check()


def test_a_head_that_all_classes_share_takes_episodes_of_any_number_of_them(tmp_path: Path) -> None:
    made = toy("gradient", "gradient.head=one", "eval.cells=[[5,1],[3,2]]", "eval.validation=[6,1]").check()
    done: Any = ran(tmp_path / "run", made)
    assert [(cell.ways, cell.shots) for cell in done.evaluation.cells] == [(5, 1), (3, 2)]


def test_streams_with_labels_of_letters(tmp_path: Path) -> None:
    made = toy("stream", "train.labels=letters", "eval.cells=[]", "eval.streams=[6]").check()
    done: Any = ran(tmp_path / "run", made)
    assert done.evaluation.cells == ()
    (told,) = done.evaluation.streams
    assert (told.ways, told.labels, len(told.by_instance)) == (6, "letters", 3)


def test_data_may_lie_elsewhere_than_in_training(tmp_path: Path) -> None:
    done = ran(tmp_path / "run", toy("classifier"))
    config = json.loads((done.folder.path / "config.json").read_text())
    after = [(("data", "folder"), "after")]
    with pytest.raises(ConfigError, match="glyphs"):
        open_run(done.folder.path, after)
    config["data"] |= {"source": "omniglot", "folder": "before"}
    write_json(done.folder.path / "config.json", config)
    assert open_run(done.folder.path).experiment.data.folder == "before"  # type: ignore[attr-defined]
    assert open_run(done.folder.path, after).experiment.data.folder == "after"  # type: ignore[attr-defined]
    write_json(done.folder.path / "config.json", config | {"data": 5})
    with pytest.raises(ConfigError, match="data is 5"):
        open_run(done.folder.path, after)


def images(folder: Path, classes: int = 16) -> Path:
    for number, drawings in enumerate(Glyphs("train", classes, 4).examples):
        (folder / f"class{number}").mkdir(parents=True)
        for example, drawing in enumerate(drawings):
            Image.fromarray(drawing).save(folder / f"class{number}" / f"{example}.png")
    return folder


def on_images(folder: Path, *more: str) -> FewShotExperiment:
    settings = ["train.ways=2", "eval.cells=[[2,1]]", "eval.validation=[2,1]", "eval.queries=1", "train.queries=1"]
    return toy("classifier", "data.source=images", f"data.folder={folder}", *settings, *more)


def test_classes_that_were_trained_on_are_never_tested_where_a_folder_has_changed(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    experiment = on_images(folder)
    assert "train: 11 classes, 4 images of each" in experiment.describe()
    done = ran(tmp_path / "run", experiment)
    assert len(done.model.met["train"]) == 11
    again = open_run(tmp_path / "run")
    assert again.model.met == done.model.met
    assert again.evaluate(quiet=True) == done.evaluation
    for split in SPLITS[1:]:
        shutil.rmtree(folder / class_names(split, folder)[0])
    with pytest.raises(ConfigError, match=r"classes of the test split were in the (train|validation) split") as refused:
        again.evaluate(quiet=True)
    assert refused.value.key == "data.folder"


def test_a_training_does_not_go_on_where_the_classes_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = images(tmp_path / "images")
    cut_off(monkeypatch, tmp_path / "run", on_images(folder, "checkpoint_seconds=0", "fit.updates=4"), rows=3)
    gone = class_names("train", folder)[0]
    (folder / gone).rename(tmp_path / gone)
    with pytest.raises(ConfigError, match=f"gone: {gone}") as refused:
        resume(tmp_path / "run", quiet=True)
    assert refused.value.key == "data.folder"
    (tmp_path / gone).rename(folder / gone)
    assert resume(tmp_path / "run", quiet=True).evaluation is not None


def test_classes_are_known_again_by_other_spellings_and_below_another_folder(tmp_path: Path) -> None:
    inner = images(tmp_path / "all" / "inner")
    for place in inner.iterdir():
        place.rename(place.with_name(unicodedata.normalize("NFC", f"é{place.name}")))
    ran(tmp_path / "run", on_images(inner))
    learner = open_run(tmp_path / "run").model
    with pytest.warns(UserWarning, match="inner/é"):
        on_images(inner.parent).evaluate(learner, quiet=True)
    for place in inner.iterdir():
        place.rename(place.with_name(unicodedata.normalize("NFD", place.name)))
    shutil.rmtree(inner / class_names("test", inner)[0])
    with pytest.raises(ConfigError, match="when this was trained"):
        on_images(inner).evaluate(learner, quiet=True)


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS refuse names that are no UTF-8")
def test_a_run_on_folders_whose_names_are_no_utf8_can_be_opened_again(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    for number, place in enumerate(sorted(folder.iterdir())):
        os.rename(place, os.fsencode(folder) + b"/caf\xe9%d" % number)
    done = ran(tmp_path / "run", on_images(folder))
    assert open_run(tmp_path / "run").model.met == done.model.met
    assert all(name.startswith("caf\\udce9") for name in done.model.met["train"])


@pytest.mark.parametrize(
    ("learner", "key"),
    [
        ("classifier", "classifier.encoder.precision"),
        ("stream", "stream.encoder.precision"),
        ("gradient", "gradient.precision"),
    ],
)
def test_a_training_says_where_the_processor_lacks_the_precision_that_is_asked_for(
    learner: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for there, asked in ((True, "bfloat16"), (False, "float32"), (False, "bfloat16")):
        monkeypatch.setattr("metarl.nets.precision.computed_here", lambda there=there: there)
        described = toy(learner, f"{key}={asked}", "device=cpu").describe()
        assert ("precision: float32" in described) is (asked == "bfloat16" and not there)

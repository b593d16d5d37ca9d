"""Training of few-shot learners: seeds, what classes it sees, what it leaves behind however it ends, and loading."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_toys import LEARNERS, SMALL, WAYS, toy, trained
from metarl.experiments.fewshot.train import check, load, train
from torch import Tensor

from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.config import ConfigError
from metarl.data.pool import Glyphs, Pool
from metarl.experiments.fewshot.evaluate import evaluate
from metarl.runs.folder import RunError, RunFolder
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from metarl.types import SPLITS, Array, NonFiniteError

EVERY_LEARNER = pytest.mark.parametrize("learner", LEARNERS)


@pytest.fixture(scope="module", params=LEARNERS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("run") / request.param, toy(request.param))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("run") / "classifier", toy("classifier"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits of glyphs that were drawn from, in order."""
    split_of = {id(Glyphs(split).examples): split for split in SPLITS}
    draw, splits = Pool.draw, list[str]()

    def noted(pool: Pool, *given: Any) -> Array:
        splits.append(split_of[id(pool.examples)])
        return draw(pool, *given)

    monkeypatch.setattr(Pool, "draw", noted)
    return splits


def weights(run: RunFolder) -> dict[str, Tensor]:
    return read_checkpoint(run.checkpoint)[1]["learner"]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def evaluated(run: RunFolder) -> dict[str, Any]:
    experiment, learner, seed = load(run)
    return evaluate(learner, experiment, seed=seed, quiet=True)


def test_the_same_seed_gives_the_same_learner_and_evaluation_and_another_another(
    run: RunFolder, tmp_path: Path
) -> None:
    learner = run.config["name"]
    again, other = trained(tmp_path / "again", toy(learner)), trained(tmp_path / "other", toy(learner), seed=1)
    assert same(weights(run), weights(again))
    assert not same(weights(run), weights(other))
    assert evaluated(run) == evaluated(again)
    rows = [[{k: v for k, v in row.items() if k != "time"} for row in one.metrics()] for one in (run, again)]
    assert rows[0] == rows[1]


def test_a_run_leaves_its_config_metrics_and_status(run: RunFolder) -> None:
    made = toy(run.config["name"])
    assert load(run)[0] == made
    assert [row["episodes"] for row in run.metrics()] == [2, 4]
    assert set(run.metrics()[0]) == {"episodes", "time", "train/loss", "validation/accuracy"}
    status = run.status
    assert (status["status"], status["train_episodes"]) == ("finished", 4)
    assert 0 < status["train_seconds"] < 60
    assert run.config["seed"] == 0
    assert read_checkpoint(run.checkpoint)[0] == {"kind": "fewshot"}


@EVERY_LEARNER
def test_no_global_generator_is_touched(learner: str, tmp_path: Path) -> None:
    before = torch.random.get_rng_state(), str(np.random.get_state(legacy=False))  # noqa: NPY002 - that it stays
    evaluated(trained(tmp_path / "run", toy(learner, "train.distortion.rotation=10")))
    after = torch.random.get_rng_state(), str(np.random.get_state(legacy=False))  # noqa: NPY002 - that it stays
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]


@EVERY_LEARNER
def test_traps_22_and_29_training_is_stopped_by_validation_classes_and_never_meets_test_classes(
    learner: str, tmp_path: Path, drawn: list[str]
) -> None:
    run = trained(tmp_path / "run", toy(learner, "fit.patience=1", "fit.updates=3", "fit.learning_rate=0"))
    assert set(drawn) == {"validation", "train"}
    assert drawn.count("train") == 2, "the third is not reached"
    first, second = (row["validation/accuracy"] for row in run.metrics())
    assert first == second, "the same validation episodes each time"


def test_with_trainval_accuracy_is_told_as_one_of_training_and_picks_nothing(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", toy("classifier", "data.trainval=true"))
    assert set(run.metrics()[0]) == {"episodes", "time", "train/loss", "train/accuracy"}
    experiment, learner, _ = load(run)
    assert evaluate(learner, experiment, quiet=True)["trainval"] is True
    with pytest.raises(ValueError, match=r"trained on validation classes as well.*evaluate it on split test"):
        evaluate(learner, experiment, split="validation", quiet=True)
    for name in ("target", "patience"):
        with pytest.raises(ConfigError, match=rf"fit.{name} with data.trainval = true"):
            toy("classifier", "data.trainval=true", f"fit.{name}=1")


def test_the_best_learner_of_validations_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies, states = iter([0.2, 0.9, 0.4, 0.5]), list[dict[str, Tensor]]()

    def validate(learner: FewShotClassifier) -> float:
        states.append({name: value.clone() for name, value in learner.state_dict().items()})
        return next(accuracies)

    monkeypatch.setattr("metarl.experiments.fewshot.train.validator", lambda *_: validate)
    run = trained(tmp_path / "run", toy("classifier", "fit.patience=2", "fit.updates=9"))
    assert [row["validation/accuracy"] for row in run.metrics()] == [0.2, 0.9, 0.4, 0.5]
    assert run.status["train_episodes"] == 8
    assert same(weights(run), states[1])
    assert not same(weights(run), states[3])


def test_a_classifier_learns_glyphs_and_beats_chance_on_classes_never_met(tmp_path: Path) -> None:
    settings = ["fit.updates=60", "fit.validate_every=60", "fit.learning_rate=5e-3", "eval.episodes=60"]
    votes = ["classifier.readout=votes", "classifier.memory.access_options.empty_slot=false", "train.batch=4"]
    run = trained(tmp_path / "run", toy("classifier", *settings, *votes))
    (cell,) = evaluated(run)["cells"]
    assert cell["interval"][0] > 1 / WAYS + 0.1


def during(monkeypatch: pytest.MonkeyPatch, call: int, happen: Callable[[], object]) -> None:
    """Let something happen as the loss is asked for so many times."""
    loss, calls = FewShotClassifier.loss, list[None]()

    def counted(learner: FewShotClassifier, episodes: Any) -> Tensor:
        calls.append(None)
        given = happen() if len(calls) == call else None
        return given if isinstance(given, Tensor) else loss(learner, episodes)

    monkeypatch.setattr(FewShotClassifier, "loss", counted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_after_its_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    during(monkeypatch, 3, lambda: signal.raise_signal(number))
    run, concluded = RunFolder.create_at(tmp_path / "run"), list[Any]()
    result = train(
        toy("classifier", "fit.updates=1000", "fit.validate_every=2"),
        run,
        seed=0,
        quiet=True,
        conclude=lambda *given: concluded.append(given),
    )
    assert (result.signal, result.updates, concluded) == (number, 3, [])
    assert (run.status["status"], run.status["train_episodes"]) == ("interrupted", 6)
    assert [row["episodes"] for row in run.metrics()] == [4, 6]
    assert same(weights(run), result.learner.state_dict())
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_loss_that_is_not_finite_ends_training_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, 2, lambda: torch.tensor(float("nan"), requires_grad=True))
    run = RunFolder.create_at(tmp_path / "run")
    with pytest.raises(NonFiniteError, match="the loss is not finite in training on few-shot episodes at update 1"):
        train(toy("classifier"), run, seed=0, quiet=True)
    assert run.status["status"] == "failed"
    assert len(run.metrics()) == 1
    assert not run.checkpoint.exists()


@pytest.mark.parametrize(
    ("learner", "setting", "message"),
    [
        ("classifier", "train.ways=201", "of the train split, 201 ways were asked of Glyphs, which has 200 classes"),
        ("classifier", "eval.validation=[201,1]", "of the validation split, 201 ways"),
        ("classifier", "eval.cells=[[5,1],[201,1]]", "of the test split, 201 ways"),
        ("classifier", "train.shots=19", "of the train split, 19 shots and 2 queries .* has 20 examples of a class"),
        ("classifier", "eval.queries=20", "of the validation split, 1 shots and 20 queries"),
        ("classifier", "eval.cells=[[5,19]]", "of the test split, 19 shots and 2 queries"),
        ("stream", "train.ways=201", "of the train split, 201 ways"),
        ("stream", "train.shots=21", "of the train split, streams of 21 examples of each class"),
        ("stream", "eval.streams=[201]", "of the test split, 201 ways"),
        ("gradient", "eval.cells=[[5,1]]", "eval.cells asks for 5 ways.*train.ways = 4"),
        ("gradient", "eval.validation=[5,1]", "eval.validation has 5 ways; expected train.ways = 4"),
    ],
)
def test_episodes_that_cannot_be_drawn_are_refused_before_training(learner: str, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        check(toy(learner, setting))
    assert "\n" not in str(error.value)


def test_rotations_are_classes_but_never_two_of_one_in_an_episode() -> None:
    assert check(toy("classifier", "data.rotations=true", "train.ways=200"))
    with pytest.raises(ConfigError, match=r"201 ways .* 800 classes of only 200 kins"):
        check(toy("classifier", "data.rotations=true", "train.ways=201"))


def test_a_head_that_all_classes_share_takes_episodes_of_any_number_of_them(tmp_path: Path) -> None:
    made = check(toy("gradient", "gradient.head=one", "eval.cells=[[5,1],[3,2]]", "eval.validation=[6,1]"))
    cells = evaluated(trained(tmp_path / "run", made))["cells"]
    assert [(cell["ways"], cell["shots"]) for cell in cells] == [(5, 1), (3, 2)]


def test_streams_with_labels_of_letters(tmp_path: Path) -> None:
    made = check(toy("stream", "train.labels=letters", "eval.cells=[]", "eval.streams=[6]"))
    evaluation = evaluated(trained(tmp_path / "run", made))
    assert evaluation["cells"] == []
    (told,) = evaluation["streams"]
    assert (told["ways"], told["labels"], len(told["by_instance"])) == (6, "letters", 3)


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", replaced('"seed"', '"sede"'), "has no seed in its config.json"),
        ("config.json", replaced('"ways"', '"wasy"'), "unknown key train.wasy, .* did you mean 'ways'"),
        ("config.json", replaced('"fit"', '"fti"'), "unknown key fti, .* did you mean 'fit'"),
        ("config.json", replaced('"width": 8', '"width": 16'), "checkpoint does not fit its config.json"),
        ("config.json", lambda content: b'{"env": {}, "seed": 0}', "is a run of an RL² agent.*use metarl eval"),
        ("config.json", lambda content: content[:50], "config.json is damaged"),
        ("checkpoint.zip", lambda content: content[:-200], "checkpoint.zip is damaged"),
        ("checkpoint.zip", lambda content: b"", "checkpoint.zip is damaged"),
    ],
)
def test_a_damaged_run_is_refused(
    folder: RunFolder, tmp_path: Path, name: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    copy = RunFolder.create_at(tmp_path / "run")
    for file in ("config.json", "checkpoint.zip"):
        content = (folder.path / file).read_bytes()
        (copy.path / file).write_bytes(damage(content) if file == name else content)
    with pytest.raises((RunError, ConfigError, CheckpointError), match=message):
        load(copy)


def test_a_checkpoint_of_something_else_is_refused(folder: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder.create_at(tmp_path / "run")
    (copy.path / "config.json").write_bytes((folder.path / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load(copy)
    write_checkpoint(copy.checkpoint, {"kind": "rl2"}, {"policy": {"x": torch.zeros(1)}})
    with pytest.raises(CheckpointError, match="holds no few-shot learner; expected one written by metarl fewshot"):
        load(copy)


def test_data_may_lie_elsewhere_than_in_training(folder: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder.create_at(tmp_path / "run")
    config = json.loads((folder.path / "config.json").read_text())
    with pytest.raises(ConfigError, match="was trained on drawn glyphs, which lie in no folder; leave after out"):
        load(folder, "after")
    there = {**SMALL["data"], "source": "omniglot", "folder": "before"}
    (copy.path / "config.json").write_text(json.dumps(config | {"data": there}))
    (copy.path / "checkpoint.zip").write_bytes(folder.checkpoint.read_bytes())
    assert load(copy)[0].data.folder == "before"
    assert load(copy, "after")[0].data.folder == "after"
    (copy.path / "config.json").write_text(json.dumps(config | {"data": 5}))
    with pytest.raises(ConfigError, match="data is 5, expected a table"):
        load(copy, "after")

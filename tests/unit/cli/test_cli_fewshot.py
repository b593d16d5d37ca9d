"""The commands of the few-shot track, from a preset to pictures, and how they end when something is wrong."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Ran, run
from metarl.experiments.fewshot.train import load
from metarl.report.fewshot_kept import load as load_kept
from PIL import Image

from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.data.omniglot import found
from metarl.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
READER = runpy.run_path(str(ROOT / "tests" / "wandb_reader.py"))
PNG = b"\x89PNG\r\n\x1a\n"
STREAM = """
about = "a stream"
threads = 1
stream.memory = { store = "lrua", access = "native", controller = "lstm", controller_options = { hidden_size = 8 } }
stream.encoder = { width = 8, embedding_size = 8 }
train = { ways = 3, shots = 4, batch = 2 }
eval = { cells = [], streams = [3], episodes = 4, validation_episodes = 2 }
fit = { updates = 2, validate_every = 1 }
data.rotations = false
"""
GRADIENT = """
about = "a gradient"
threads = 1
gradient = { width = 8 }
train = { ways = 3, queries = 2 }
eval = { cells = [[3, 1]], queries = 2, episodes = 4, validation = [3, 1], validation_episodes = 2 }
fit = { updates = 2, validate_every = 1 }
"""
PLAIN = """
about = "a classifier, without distortions"
threads = 1
classifier.readout = "votes"
classifier.encoder = { width = 8, norm = "running" }
classifier.memory.access_options = { empty_slot = false }
train = { ways = 2, queries = 1 }
eval = { cells = [[2, 1]], queries = 1, episodes = 4, validation = [2, 1], validation_episodes = 2 }
fit = { updates = 2, validate_every = 1 }
"""


def settings(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


SMALL = ["train.ways=4", "train.queries=2", "threads=1", "fit.updates=2", "fit.validate_every=1", "eval.episodes=6"]
SMALL += ["eval.cells=[[4,1],[3,2]]", "eval.queries=2", "eval.validation=[4,1]", "eval.validation_episodes=2"]
TRAIN = ["fewshot", "train", "prototypical", *settings(*SMALL, "data.rotations=false", "classifier.encoder.width=8")]
GLYPHS = settings("data.source=glyphs")


@pytest.fixture(scope="module", autouse=True)
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No Omniglot is found, wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("METARL_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Ran]:
    path = tmp_path_factory.mktemp("sets") / "run"
    ran = run(*TRAIN, "--seed", "3", "--out", path)
    return RunFolder(path), ran


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Ran]:
    folder = tmp_path_factory.mktemp("streams")
    (folder / "mine.toml").write_text(STREAM)
    ran = run("fewshot", "train", folder / "mine.toml", *GLYPHS, "--out", folder / "run")
    return RunFolder(folder / "run"), ran


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evaluation(*arguments: str | Path) -> dict[str, Any]:
    ran = run("fewshot", "eval", *arguments, "--json")
    assert (ran.status, ran.err) == (0, "")
    result = json.loads(ran.out)
    assert isinstance(result, dict)
    return result


WRITTEN = {"config.json", "meta.json", "status.json", "metrics.jsonl", "checkpoint.zip", "evaluation.json"}
WRITTEN |= {"episodes.npz"}


def test_training_leaves_a_whole_run_folder_and_says_that_glyphs_are_none_of_omniglot(
    sets: tuple[RunFolder, Ran],
) -> None:
    folder, ran = sets
    assert (ran.status, ran.err) == (0, "")
    pictures = ["drawings", "recall", "learning"]
    assert set(files(folder.path)) == WRITTEN | {f"figures/{name}.png" for name in pictures}
    assert all(path.read_bytes().startswith(PNG) for path in folder.figures.iterdir())
    lines = ran.out.splitlines()
    assert lines[0] == "data: drawn glyphs, not Omniglot"
    assert "Omniglot was not found: metarl data omniglot gets it" in lines[1]
    assert lines[2].startswith("trained 2 updates in ")
    assert any(line.startswith("4-way 1-shot") and "±" in line for line in lines)
    assert any("nothing measured on them can be compared with Omniglot" in line for line in lines)
    assert lines[-4] == f"run folder: {folder.path}"
    assert lines[-3:] == [f"picture:    {folder.figures / name}.png" for name in pictures]
    told = json.loads(folder.evaluation.read_text())
    assert (told["data"], told["real"], told["seed"]) == ("drawn glyphs, not Omniglot", False, 3)
    assert (told["train_seed"], told["train_episodes"]) == (3, 2)
    assert told["train_seconds"] == folder.status["train_seconds"] > 0
    assert (folder.status["status"], folder.config["seed"]) == ("finished", 3)
    assert folder.config["data"]["source"] == "glyphs", "and no longer auto: it says what it was"
    assert [row["episodes"] for row in folder.metrics()] == [1, 2]


def test_a_learner_of_streams_is_shown_by_instance(streams: tuple[RunFolder, Ran]) -> None:
    folder, ran = streams
    assert (ran.status, ran.err) == (0, "")
    assert set(files(folder.path)) == WRITTEN | {f"figures/{name}.png" for name in ("instances", "streams", "learning")}
    assert "not found" not in ran.out, "glyphs were asked for"
    told = json.loads(folder.evaluation.read_text())
    assert (told["cells"], told["learner"]) == ([], "mine")
    assert [len(stream["by_instance"]) for stream in told["streams"]] == [4]
    assert evaluation(folder.path) == told


def test_eval_says_what_training_said_and_changes_nothing(sets: tuple[RunFolder, Ran]) -> None:
    folder, ran = sets
    before = files(folder.path)
    assert evaluation(folder.path) == json.loads(folder.evaluation.read_text())
    shown = run("fewshot", "eval", folder.path)
    assert (shown.status, shown.err) == (0, "")
    assert shown.out in ran.out
    assert files(folder.path) == before


def test_eval_takes_episodes_split_seed_and_rotations(sets: tuple[RunFolder, Ran]) -> None:
    path = sets[0].path
    assert [cell["episodes"] for cell in evaluation(path, "--episodes", "3")["cells"]] == [3, 3]
    assert evaluation(path, "--split", "validation")["split"] == "validation"
    assert evaluation(path, "--seed", "9")["seed"] == 9
    assert evaluation(path, "--rotations")["rotations"] is True
    assert evaluation(path)["rotations"] is False


def test_eval_makes_what_is_missing_of_tests_alone(sets: tuple[RunFolder, Ran], tmp_path: Path) -> None:
    copy = RunFolder(Path(shutil.copytree(sets[0].path, tmp_path / "run")))
    kept = load_kept(copy.path / "episodes.npz")
    for name in ("evaluation.json", "episodes.npz"):
        (copy.path / name).unlink()
    assert run("fewshot", "eval", copy.path, "--split", "validation").status == 0
    assert not copy.evaluation.exists()
    assert not (copy.path / "episodes.npz").exists()
    assert run("fewshot", "eval", copy.path).status == 0
    assert copy.evaluation.read_bytes() == sets[0].evaluation.read_bytes()
    again = load_kept(copy.path / "episodes.npz")
    assert kept.sets is not None
    assert again.sets is not None
    assert np.array_equal(again.sets.query_x, kept.sets.query_x)
    assert np.array_equal(again.sets.predicted, kept.sets.predicted)


def test_a_run_of_the_other_track_is_refused(sets: tuple[RunFolder, Ran], tmp_path: Path) -> None:
    ran = run("eval", sets[0].path)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert f"is a run of a few-shot learner; use metarl fewshot eval {sets[0].path}" in ran.err
    agent = RunFolder.create_at(tmp_path / "agent")
    agent.start({"env": {"id": "metarl/BernoulliBandit-v0"}, "train": {"total_timesteps": 1}, "seed": 0})
    ran = run("fewshot", "eval", agent.path)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert f"is a run of an RL² agent, not of a few-shot learner; use metarl eval {agent.path}" in ran.err


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "config": ("config.json", lambda content: content[:40], "config.json is damaged"),
    "key": ("config.json", lambda content: content.replace(b'"ways"', b'"wasy"'), "unknown key train.wasy"),
    "checkpoint": ("checkpoint.zip", lambda content: content[: len(content) // 2], "checkpoint.zip is damaged"),
    "other net": (
        "config.json",
        lambda content: content.replace(b'"width": 8', b'"width": 16'),
        "is damaged: its checkpoint does not fit its config.json",
    ),
    "status": ("status.json", lambda content: b"{", "status.json is damaged"),
}


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_folder_is_refused(
    sets: tuple[RunFolder, Ran], tmp_path: Path, name: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    copy = Path(shutil.copytree(sets[0].path, tmp_path / "run"))
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(damage(content))
    assert (copy / name).read_bytes() != content
    ran = run("fewshot", "eval", copy)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert message in ran.err


def test_a_run_is_never_overwritten(sets: tuple[RunFolder, Ran]) -> None:
    before = files(sets[0].path)
    ran = run(*TRAIN, "--out", sets[0].path)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "exists and is not empty; choose another folder or remove it first" in ran.err
    assert files(sets[0].path) == before


def trained(*changed: str) -> list[str]:
    return [*TRAIN, *GLYPHS, *settings(*changed)]


WRONG: dict[str, tuple[list[str], str]] = {
    "no action": (["fewshot"], "ACTION"),
    "action": (["fewshot", "trian"], "'trian'.*'train', 'eval'"),
    "no preset": (["fewshot", "train"], "preset"),
    "preset": (["fewshot", "train", "protypical"], "did you mean 'prototypical'"),
    "preset of the other track": (["fewshot", "train", "bandit"], "the preset is 'bandit', .*prototypical"),
    "preset file": (["fewshot", "train", "nowhere.toml"], "cannot read nowhere.toml: No such file"),
    "section": (trained("trian.ways=4"), "unknown key trian, .* did you mean 'train'"),
    "key": (trained("train.way=4"), "unknown key train.way, .* did you mean 'ways'"),
    "value": (trained("train.ways=four"), "train.ways is 'four', expected an integer"),
    "no equals sign": (trained("train.ways"), "'train.ways', expected key=value"),
    "too many ways": (trained("train.ways=201"), "of the train split, 201 ways were asked of Glyphs"),
    "too many ways to test": (trained("eval.cells=[[201,1]]"), "of the test split, 201 ways"),
    "K + Q": (trained("train.shots=15", "train.queries=6"), "15 shots and 6 queries were asked .* has 20 examples"),
    "K + Q of a test": (trained("eval.cells=[[5,19]]"), "of the test split, 19 shots and 2 queries"),
    "streams of too many": (["fewshot", "train", "../stream.toml", *GLYPHS, *settings("train.shots=21")], "of 21 ex"),
    "two learners": (trained("gradient.steps=1"), "tables classifier and gradient were given; give one of"),
    "transductive stream": (
        ["fewshot", "train", "../stream.toml", *settings("transductive=true")],
        "transductive = true with a learner of streams",
    ),
    "transductive for nothing": (trained("transductive=true"), "with encoder.norm = 'running': no query would see"),
    "other ways": (
        ["fewshot", "train", "../gradient.toml", *GLYPHS, *settings("eval.cells=[[5,1]]")],
        "eval.cells asks for 5 ways.* train.ways = 3",
    ),
    "store": (trained("classifier.memory.store=epsodic"), "'epsodic'"),
    "access": (trained("classifier.memory.access=graf"), "memory.access is 'graf', .* did you mean 'graph'"),
    "readout": (trained("classifier.readout=vote"), "classifier.readout is 'vote', expected 'linear'"),
    "nothing to train": (
        trained("classifier.encoder.net=flat", "classifier.encoder.average=false"),
        "nothing to train: its pixels are its embeddings",
    ),
    "no split of its own": (trained("data.scheme=lake"), "data.scheme = 'lake' .*only Omniglot has several splits"),
    "no alphabets": (trained("data.within_alphabet=true"), "only Omniglot knows who drew what"),
    "no data": ([*TRAIN, *settings("data.source=omniglot")], "there is no images_background.zip of Omniglot"),
    "folder without data": ([*TRAIN, "--data", "../empty"], r"looked in \.\./empty, .*get it with `metarl data"),
    "folder without images": ([*TRAIN, "--images", "../empty"], "../empty has no folders; expected one with images"),
    "images without classes": ([*TRAIN, "--images", "../loose"], "../loose has no folders"),
    "classes without images": ([*TRAIN, "--images", "../bare"], "has no images .*add some, or remove the folder"),
    "no images": ([*TRAIN, "--images", "../nowhere"], "there is no folder ../nowhere"),
    "data twice": ([*TRAIN, "--images", "../bare", "--data", "../empty"], "not allowed with argument --images"),
    "seed": ([*TRAIN, "--seed", "-1"], "'-1' is not a whole number of at least 0"),
    "wandb": ([*TRAIN, "--wandb", "maybe"], "'maybe'.*'offline', 'online', 'disabled'"),
    "run": (["fewshot", "eval", "nowhere"], "there is no folder nowhere"),
    "not a run": (["fewshot", "eval", ".."], "is not a run folder: it has no config.json"),
    "evaluated split": (["fewshot", "eval", "nowhere", "--split", "train"], "'train'.*'validation', 'test'"),
    "episodes": (["fewshot", "eval", "nowhere", "--episodes", "1"], "'1' is not a whole number of at least 2"),
    "data set": (["data", "omniglott"], "'omniglott'.*'omniglot'"),
    "data set not there": (
        ["data", "omniglot", "--no-download", "--data", "../empty"],
        r"there is no images_background.zip of Omniglot: looked in \.\./empty, ",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line_before_a_run_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    for name in ("work", "empty", "loose", *(f"bare/class{number}" for number in range(6))):
        (tmp_path / name).mkdir(parents=True)
    Image.new("L", (9, 9)).save(tmp_path / "loose" / "1.png")
    (tmp_path / "stream.toml").write_text(STREAM)
    (tmp_path / "gradient.toml").write_text(GRADIENT)
    monkeypatch.chdir(tmp_path / "work")
    ran = run(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("metarl")
    assert re.search(message, ran.err)
    assert not list((tmp_path / "work").iterdir())
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"about = = 3", "is not valid TOML: "),
        (b"about = 'nothing else'", "fit is missing"),
        (b"about = ''\nfit.updates = 1", "give one of classifier, stream, gradient"),
        (b"about = ''\nclassifier = {}\nfit = {}", "supervised training has no end: give updates, seconds or both"),
    ],
)
def test_a_preset_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_bytes(content)
    ran = run("fewshot", "train", "mine.toml")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "mine" in ran.err
    assert message in ran.err
    assert files(tmp_path) == {"mine.toml": content}


@pytest.mark.parametrize("colour", [False, True])
def test_any_folder_of_class_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour: bool) -> None:
    """Classes are colours, which are alike in grey."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number, hue in enumerate([(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200)]):
        (tmp_path / "pictures" / f"colour{number}").mkdir(parents=True)
        for example in range(3):
            noise = rng.integers(50, size=(12, 10, 3), dtype=np.uint8) + np.array(hue, np.uint8)
            Image.fromarray(noise).save(tmp_path / "pictures" / f"colour{number}" / f"{example}.png")
    (tmp_path / "plain.toml").write_text(PLAIN)
    kept = settings(f"data.colour={str(colour).lower()}", "data.size=16")
    ran = run("fewshot", "train", "plain.toml", "--images", "pictures", *kept, "--out", "run")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "data: images of pictures"
    folder = RunFolder(tmp_path / "run")
    told = json.loads(folder.evaluation.read_text())
    assert (told["data"], told["real"]) == ("images of pictures", True)
    sets = load_kept(folder.path / "episodes.npz").sets
    assert sets is not None
    assert sets.query_x.shape == (8, 2, 16, 16, *([3] if colour else []))
    assert (folder.figures / "drawings.png").read_bytes().startswith(PNG)
    assert evaluation(folder.path)["cells"] == told["cells"]


def during(monkeypatch: pytest.MonkeyPatch, call: int, happen: Callable[[], object]) -> None:
    loss, calls = FewShotClassifier.loss, list[None]()

    def counted(learner: FewShotClassifier, episodes: Any) -> Any:
        calls.append(None)
        given = happen() if len(calls) == call else None
        return given if isinstance(given, torch.Tensor) else loss(learner, episodes)

    monkeypatch.setattr(FewShotClassifier, "loss", counted)


def test_ctrl_c_saves_and_eval_goes_on_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGINT))
    ran = run(*TRAIN, *settings("fit.updates=1000000"), "--out", tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert (ran.status, ran.err) == (130, "")
    assert ran.out.splitlines()[-1] == f"interrupted; what was learned until then is in {folder.checkpoint}"
    assert folder.status["status"] == "interrupted"
    assert set(files(folder.path)) == WRITTEN - {"evaluation.json", "episodes.npz"}
    assert load(folder)[0].fit.updates == 1_000_000
    assert run("fewshot", "eval", folder.path, "--episodes", "2", "--json").status == 0
    assert set(files(folder.path)) == WRITTEN - {"evaluation.json", "episodes.npz"}, (
        "a test of another kind is not kept"
    )
    told = evaluation(folder.path)
    assert (told["train_episodes"], told["train_seed"]) == (3, 0)
    assert set(files(folder.path)) == WRITTEN


def test_ctrl_c_outside_training_is_no_traceback(sets: tuple[RunFolder, Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(FewShotClassifier, "forward", interrupt)
    assert run("fewshot", "eval", sets[0].path) == Ran(130, "", "metarl: interrupted\n")


def test_a_loss_that_is_not_finite_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, 2, lambda: torch.tensor(float("nan"), requires_grad=True))
    ran = run(*TRAIN, "--out", tmp_path / "run")
    assert (ran.status, ran.err.count("\n")) == (1, 1)
    assert ran.err.startswith("metarl: the loss is not finite in training on few-shot episodes at update 1")
    assert RunFolder(tmp_path / "run").status["status"] == "failed"


def test_without_out_each_run_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    during(monkeypatch, 1, lambda: signal.raise_signal(signal.SIGTERM))
    assert run(*TRAIN).status == 143
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("prototypical-")
    assert folder.name.endswith("-s0")


def test_wandb_holds_metrics_over_episodes_and_what_was_made(tmp_path: Path) -> None:
    own = {"HOME": tmp_path, "WANDB_DATA_DIR": tmp_path / "data", "WANDB_CACHE_DIR": tmp_path / "cache"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    folder = RunFolder(tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-m", "metarl", *TRAIN, "--wandb", "offline", "--out", str(folder.path)],
        env={**inherited, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in own.items()}},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.path.glob("wandb/offline-run-*/run-*.wandb")
    records = list(READER["records"](path))
    metrics = [record.metric for record in records if record.HasField("metric")]
    assert ("episodes", "") in [(metric.name, metric.step_metric) for metric in metrics]
    assert ("*", "episodes") in [(metric.glob_name, metric.step_metric) for metric in metrics]
    history = [READER["items"](record.history.item) for record in records if record.HasField("history")]
    rows = [{name: value for name, value in row.items() if not name.startswith("_")} for row in history]
    assert [row for row in rows if "train/loss" in row] == folder.metrics()
    shown = {name.removeprefix("figures/").partition("/")[0] for row in rows for name in row if "figures/" in name}
    assert shown == {"drawings", "recall", "learning"}
    assert {record.run.run_group for record in records if record.HasField("run")} == {"prototypical"}
    summary: dict[str, Any] = {}
    for record in records:
        summary |= READER["items"](record.summary.update)
    assert summary["status"] == "finished"
    assert summary["evaluation"]["cells"] == json.loads(folder.evaluation.read_text())["cells"]


def test_omniglot_is_taken_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = REAL["METARL_DATA"]
    if not data or not found(data):
        pytest.skip("METARL_DATA names no folder with Omniglot's archives")
    monkeypatch.setenv("METARL_DATA", data)
    ran = run(*TRAIN, "--out", tmp_path / "run")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "data: Omniglot (standard split)"
    told = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (told["data"], told["real"]) == ("Omniglot (standard split)", True)


REAL = {"METARL_DATA": os.environ.get("METARL_DATA", "")}
"""What stood in the environment before the tests hid it."""

"""``metarl train`` and ``eval`` of few-shot learners, and how they end when something is wrong."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import CLASSIFIER, Ran, evaluation, files, run, settings
from PIL import Image

from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.data.omniglot import source, split_characters
from metarl.data.omniglot.archives import ARCHIVES
from metarl.data.omniglot.drawings import Drawings
from metarl.evaluation.records import read_episodes
from metarl.files import MANIFEST
from metarl.runs.folder import RunFolder
from metarl.types import SPLITS

PNG = b"\x89PNG\r\n\x1a\n"
STREAM = """
kind = "fewshot"
about = "a stream"
threads = 1
stream.memory = { store = "lrua", access = "native", controller = "lstm", controller_options = { hidden_size = 8 } }
stream.encoder = { width = 8, embedding_size = 8 }
train = { ways = 3, shots = 4, batch = 2 }
eval = { cells = [], streams = [3], episodes = 4, validation_episodes = 2 }
fit = { updates = 2, validate_every = 1 }
data.rotations = false
"""


SMALL = ["train.ways=4", "train.queries=2", "threads=1", "fit.updates=2", "fit.validate_every=1", "eval.episodes=6"]
SMALL += ["eval.cells=[[4,1],[3,2]]", "eval.queries=2", "eval.validation=[4,1]", "eval.validation_episodes=2"]
TRAIN = ["train", "prototypical", *settings(*SMALL, "data.rotations=false", "classifier.encoder.width=8")]
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
    ran = run("train", folder / "mine.toml", *GLYPHS, "--out", folder / "run")
    return RunFolder(folder / "run"), ran


WRITTEN = {"config.json", "meta.json", "status.json", "metrics.jsonl", "checkpoint.zip", "evaluation.json", MANIFEST}
WRITTEN |= {"episodes.npz"}


def test_training_leaves_a_whole_run_folder_and_says_that_glyphs_are_none_of_omniglot(
    sets: tuple[RunFolder, Ran],
) -> None:
    folder, ran = sets
    assert (ran.status, ran.err) == (0, "")
    images = ["learning", "drawings", "confusions", "recall"]
    assert set(files(folder.path)) == WRITTEN | {f"figures/{name}.png" for name in images}
    assert all(path.read_bytes().startswith(PNG) for path in folder.figures.iterdir())
    lines = ran.out.splitlines()
    assert lines[0].startswith("data: drawn glyphs, not Omniglot (for Omniglot: metarl data omniglot")
    assert any(line.startswith("trained 2 episodes in ") for line in lines)
    assert any(line.startswith("4-way 1-shot") and "±" in line for line in lines)
    assert any("nothing measured on them can be compared with Omniglot" in line for line in lines)
    assert lines[-5] == f"run folder: {folder.path}"
    assert lines[-4:] == [f"image:      {folder.figures / name}.png" for name in images]
    told = json.loads(folder.evaluation.read_text())
    assert (told["data"], told["real"], told["seed"]) == ("drawn glyphs, not Omniglot", False, 3)
    assert folder.config["data"]["source"] == "glyphs", "and no longer auto: it says what it was"


def test_a_learner_of_streams_is_shown_by_instance(streams: tuple[RunFolder, Ran]) -> None:
    folder, ran = streams
    assert (ran.status, ran.err) == (0, "")
    assert set(files(folder.path)) == WRITTEN | {f"figures/{name}.png" for name in ("instances", "streams", "learning")}
    told = json.loads(folder.evaluation.read_text())
    assert (told["cells"], told["learner"]) == ([], "mine")
    assert [len(stream["by_instance"]) for stream in told["streams"]] == [4]
    assert evaluation(folder.path) == told


def test_eval_takes_episodes_split_seed_and_rotations(sets: tuple[RunFolder, Ran]) -> None:
    path = sets[0].path
    assert [cell["episodes"] for cell in evaluation(path, "--episodes", "3")["cells"]] == [3, 3]
    assert evaluation(path, "--split", "validation")["split"] == "validation"
    assert evaluation(path, "--seed", "9")["seed"] == 9
    assert evaluation(path, "--rotations")["rotations"] is True
    assert evaluation(path)["rotations"] is False


def test_eval_takes_ways_and_shots_of_its_own(sets: tuple[RunFolder, Ran], streams: tuple[RunFolder, Ran]) -> None:
    told = evaluation(sets[0].path, *settings("eval.cells=[[30,1],[3,4]]", "eval.queries=1"))
    assert [(cell["ways"], cell["shots"], cell["queries"]) for cell in told["cells"]] == [(30, 1, 1), (3, 4, 1)]
    own, again = evaluation(sets[0].path), evaluation(sets[0].path, *settings("eval.cells=[[3,2]]"))
    assert again["cells"] == own["cells"][1:], "the same episodes, whatever else is tested"
    longer = evaluation(streams[0].path, *settings("eval.cells=[[2,9]]", "eval.streams=[2]"))
    assert [len(stream["by_instance"]) for stream in longer["streams"]] == [4]
    for path, setting, named in (
        (streams[0].path, "eval.streams=[5]", "at most 3"),
        (sets[0].path, "eval.cells=[[201,1]]", "ways is 201"),
        (sets[0].path, "eval.cells=[]", "one or more"),
        (sets[0].path, "eval.validation=[2,1]", "eval.validation"),
        (sets[0].path, "train.ways=9", "train.ways"),
        (sets[0].path, "eval.cells", "key=value"),
    ):
        done = run("eval", path, "--set", setting)
        assert (done.status, done.out) == (2, ""), setting
        assert named in done.err
        assert len(done.err.splitlines()) == 1


def trained(*changed: str) -> list[str]:
    return [*TRAIN, *GLYPHS, *settings(*changed)]


WRONG: dict[str, tuple[list[str], str]] = {
    "too many ways": (trained("train.ways=201"), "the train split: ways is 201"),
    "no parameters": (trained("classifier.encoder.net=flat", "classifier.encoder.average=false"), "nothing to train"),
    "no data": ([*TRAIN, *settings("data.source=omniglot")], "there is no images_background.zip of Omniglot"),
    "folder without data": ([*TRAIN, "--data", "../empty"], r"in \.\./empty, .*get it with `metarl data"),
    "folder without images": ([*TRAIN, "--images", "../empty"], "../empty has no folders"),
    "classes without images": ([*TRAIN, "--images", "../bare"], r"has no images.*\.bmp, \.gif.*--skip-bad"),
    "no images": ([*TRAIN, "--images", "../nowhere"], "there is no folder ../nowhere"),
    "data twice": ([*TRAIN, "--images", "../bare", "--data", "../empty"], "not allowed with argument --images"),
    "environment": ([*TRAIN, "--vary", "a=1..2"], "--vary is an option of rl2 .* kind fewshot"),
    "data set": (["data", "omniglott"], "'omniglott'.*'omniglot'"),
    "data set not there": (["data", "omniglot", "--no-download", "--data", "../empty"], r"images_.* in \.\./empty, "),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line_before_a_run_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    for name in ("work", "empty", *(f"bare/class{number}" for number in range(6))):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    ran = run(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("metarl")
    assert re.search(message, ran.err)
    assert not list((tmp_path / "work").iterdir())
    assert not list((tmp_path / "empty").iterdir())


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
    (tmp_path / "plain.toml").write_text(CLASSIFIER)
    kept = settings(f"data.colour={str(colour).lower()}", "data.size=16")
    ran = run("train", "plain.toml", "--images", "pictures", *kept, "--out", "run")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "data: images of pictures"
    folder = RunFolder(tmp_path / "run")
    told = json.loads(folder.evaluation.read_text())
    assert (told["data"], told["real"]) == ("images of pictures", True)
    sets = read_episodes(folder)
    assert sets.episodes.query_x.shape == (8, 2, 16, 16, *([3] if colour else []))
    assert (folder.figures / "drawings.png").read_bytes().startswith(PNG)
    assert evaluation(folder.path)["cells"] == told["cells"]


def test_a_folder_with_bad_images_is_used_without_them_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(24):
        place = tmp_path / "pictures" / "some" / f"class{number // 4}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(9, 9), dtype=np.uint8)).save(place / f"{number}.png")
    bad = [tmp_path / "pictures" / "some" / f"class{number}" / "bad.png" for number in (1, 4)]
    for path in bad:
        path.write_bytes(b"no image")
    (tmp_path / "plain.toml").write_text(CLASSIFIER)
    start = ["train", "plain.toml", "--images", "pictures", *settings("data.size=16")]
    refused = run(*start, "--out", "run")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert all(str(path.relative_to(tmp_path)) in refused.err for path in bad)
    done = run(*start, "--skip-bad", "--out", "run")
    assert (done.status, done.err) == (0, "")
    assert "images that cannot be read (2)" in done.out
    told = evaluation(tmp_path / "run")
    assert evaluation(tmp_path / "run", "--skip-bad")["cells"] == told["cells"], "as the run says itself"
    few = run("eval", "run", *settings("eval.cells=[[2,9]]"))
    assert few.status == 2
    assert "eval.cells" in few.err
    assert "the class some/class" in few.err
    none = run("train", "plain.toml", "--skip-bad", *settings("data.source=glyphs"), "--out", "other")
    assert (none.status, "data.skip_bad" in none.err) == (2, True)


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
    assert ran.out.splitlines()[-1] == f"interrupted; what was learned so far is in {folder.checkpoint}"
    assert folder.status["status"] == "interrupted"
    cut_off = WRITTEN | {"checkpoints/3.zip"}
    assert set(files(folder.path)) == cut_off - {"evaluation.json", "episodes.npz"}
    assert folder.config["fit"]["updates"] == 1_000_000
    assert run("eval", folder.path, "--episodes", "2", "--json").status == 0
    assert set(files(folder.path)) == cut_off - {"evaluation.json", "episodes.npz"}  # another test is not kept
    told = evaluation(folder.path)
    assert (told["train_steps"], told["train_seed"]) == (3, 0)
    assert set(files(folder.path)) == cut_off


def test_omniglot_is_taken_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in place of what is read from the archives."""
    for archive in ARCHIVES:
        (tmp_path / archive.file).touch()
    names = tuple(sorted(name for split in SPLITS for name in split_characters("standard", split)))

    def noise(folder: Path | None, size: int) -> Drawings:
        images = np.random.default_rng(0).integers(256, size=(len(names), 20, size, size), dtype=np.uint8)
        return Drawings(images, names)

    monkeypatch.setattr(source, "load_drawings", noise)
    monkeypatch.setenv("METARL_DATA", str(tmp_path))
    ran = run(*TRAIN, "--out", tmp_path / "run")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "data: Omniglot (standard split)"
    told = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (told["data"], told["real"]) == ("Omniglot (standard split)", True)

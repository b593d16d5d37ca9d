"""``metarl classify``: from a run folder and images to classes, and what it refuses."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import CLASSIFIER, run, settings
from PIL import Image

import metarl
from metarl.data.pool import Glyphs

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run beside a folder with a folder of drawings, black on white, for each of three classes."""
    place = tmp_path_factory.mktemp("classify")
    (place / "mine.toml").write_text(CLASSIFIER)
    glyphs = settings("data.source=glyphs", "data.rotations=false")
    assert run("train", place / "mine.toml", *glyphs, "--out", place / "run").status == 0
    for number, drawings in enumerate(Glyphs("test", 3, 4).examples):
        (place / "support" / "abc"[number]).mkdir(parents=True)
        for example, drawing in enumerate(drawings):
            folder = place if example == 3 else place / "support" / "abc"[number]
            Image.fromarray(255 - drawing).save(folder / f"{'abc'[number]}{example}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield place


def test_images_are_classified_by_a_folder_of_examples(trained: Path) -> None:
    done = run("classify", "run", "--support", "support", "--query", "a3.png", "support/b/b1.png", "--json")
    assert (done.status, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["classes"] == {"a": 3, "b": 3, "c": 3}
    assert [row["query"] for row in told["queries"]] == ["a3.png", "support/b/b1.png"]
    learner = metarl.load("run")
    learner.remember({name: sorted(Path("support", name).iterdir()) for name in "abc"})
    for row in told["queries"]:
        (answer,) = learner.predict(row["query"])
        assert row["probabilities"] == pytest.approx(answer.probabilities, rel=1e-4)
        assert set(row["probabilities"]) == set("abc")
        assert 0 <= row["known"] <= 1
        assert isinstance(row["unknown"], bool)
        assert row["probability"] == max(row["probabilities"].values()) == row["probabilities"][row["class"]]
    shown = run("classify", "run", "--support", "support", "--query", "a3.png", "support/b/b1.png")
    lines = shown.out.splitlines()
    assert lines[0].split() == ["query", "class", "probability", "next", "known"]
    assert [line.split()[:2] for line in lines[1:]] == [[row["query"], row["class"]] for row in told["queries"]]


def test_what_is_recalled_is_named_by_its_file(trained: Path) -> None:
    query = "support/b/b1.png"
    done = run("classify", "run", "--support", "support", "--query", query, "--recalled", "2", "--json")
    (row,) = json.loads(done.out)["queries"]
    assert [set(one) for one in row["recalled"]] == [{"image", "weight"}] * 2
    assert row["recalled"][0]["image"] == query, "the image itself"
    shown = run("classify", "run", "--support", "support", "--query", query, "--recalled", "2")
    assert f"{query} " in shown.out.splitlines()[1]


def test_what_is_remembered_is_saved_and_added_to(trained: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory.zip"
    assert run("classify", "run", "--support", "support", "--save", memory).status == 0
    again = run("classify", "run", "--memory", memory, "--query", "a3.png", "--json")
    first = run("classify", "run", "--support", "support", "--query", "a3.png", "--json")
    assert json.loads(again.out)["queries"][0]["class"] == json.loads(first.out)["queries"][0]["class"]
    (tmp_path / "more" / "d").mkdir(parents=True)
    Image.fromarray(Glyphs("test", 4, 4).examples[3, 0]).save(tmp_path / "more" / "d" / "d.png")
    both = run("classify", "run", "--memory", memory, "--support", tmp_path / "more", "--query", "a3.png", "--json")
    assert json.loads(both.out)["classes"] == {"a": 3, "b": 3, "c": 3, "d": 1}


def test_a_calibration_comes_with_the_memory_and_is_saved_on(trained: Path, tmp_path: Path) -> None:
    learner = metarl.load("run")
    learner.open_set = replace(learner.open_set, threshold=1.0)  # by which nothing is known
    calibrated = learner.save_memory(tmp_path / "calibrated.zip")
    asked = ["--memory", calibrated, "--support", "support", "--query", "a3.png", "--json"]
    assert run("classify", "run", *asked, "--save", tmp_path / "both.zip").status == 0
    again = run("classify", "run", "--memory", tmp_path / "both.zip", "--query", "a3.png", "--json")
    first = run("classify", "run", *asked)
    assert json.loads(again.out) == json.loads(first.out)
    assert json.loads(again.out)["queries"][0]["unknown"] is True


def test_a_folder_of_other_classes_calibrates_as_the_same_images_do_in_python(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "others"
    for number, drawings in enumerate(Glyphs("validation", 12, 7).examples):
        (folder / f"other{number}").mkdir(parents=True)
        for example, drawing in enumerate(drawings):
            Image.fromarray(255 - drawing).save(folder / f"other{number}" / f"{example}.png")
    memory = tmp_path / "memory.zip"
    done = run("classify", "run", "--support", "support", "--calibrate", folder, "--save", memory)
    assert (done.status, done.err) == (0, "")
    learner = metarl.load("run")
    before = learner.open_set
    learner.calibrate({place.name: sorted(place.iterdir()) for place in sorted(folder.iterdir())})
    again = metarl.load("run")
    again.load_memory(memory)
    assert again.open_set == learner.open_set != before


def test_a_calibration_by_classes_of_the_training_warns(trained: Path) -> None:
    learner = metarl.load("run")
    images = {f"class {number}": list(some) for number, some in enumerate(Glyphs("validation", 12, 7).examples)}
    learner.learner.met = {"train": ("class 3", "another")}
    with pytest.warns(UserWarning, match="class 3"):
        learner.calibrate(images)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--query", "a3.png"], "--support"),
        (["--support", "support", "--query", "a3.png", "--calibrate", "nowhere"], "nowhere"),
        (["--support", "support", "--query", "a3.png", "--calibrate", "support/a"], "support/a"),
        (["--support", "support"], "--query"),
        (["--support", "support", "--save", "x.zip", "--recalled", "1"], "--recalled"),
        (["--support", "nowhere", "--query", "a3.png"], "nowhere"),
        (["--support", "support", "--query", "nowhere.png", "mine.toml"], "2 images can't be used"),
        (["--memory", "mine.toml", "--query", "a3.png"], "mine.toml"),
        (["--support", "support", "--query", "a3.png", "--recalled", "0"], "at least 1"),
    ],
)
def test_what_does_not_fit_ends_in_one_line(trained: Path, arguments: list[str], told: str) -> None:
    done = run("classify", "run", *arguments)
    assert (done.status, done.out) == (2, "")
    assert told in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("x.zip").exists()


@pytest.mark.parametrize(
    "place", ["support", "a3.png/memory.zip", "a3.png/deep/memory.zip", "/proc/memory.zip", "x" * 300]
)
def test_where_nothing_can_be_saved_is_told_in_one_line_before_the_work(trained: Path, place: str) -> None:
    work = ["--support", "support", "--query", "a3.png"]
    done = run("classify", "run" if place.startswith("/proc") else "no run", *work, "--save", place)
    assert (done.status, done.out) == (2, "")
    assert place in done.err
    assert len(done.err.splitlines()) == 1


def test_a_device_or_a_pipe_is_not_replaced(trained: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = run("classify", "no run", "--support", "support", "--save", pipe)
    assert (done.status, done.out) == (2, "")
    assert str(pipe) in done.err
    assert pipe.is_fifo()


def test_a_folder_that_is_missing_is_made_to_save_in(trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "new" / "deep" / "memory.zip"
    assert run("classify", "run", "--support", "support", "--save", place).status == 0
    assert place.is_file()


def test_an_agent_has_no_classes(trained: Path, tmp_path: Path) -> None:
    small = ["train.total_timesteps=40", "train.n_envs=4", "eval.trials=8", "eval.tuning_trials=2", "threads=1"]
    small += ["env.pulls=5", "memory.key_size=6", "memory.value_size=6", "memory.controller_options.hidden_size=4"]
    assert run("train", "bandit", *settings(*small), "--out", tmp_path / "agent").status == 0
    done = run("classify", tmp_path / "agent", "--support", "support", "--query", "a3.png")
    assert done.status == 2
    assert "few-shot" in done.err


def test_bad_images_of_a_folder_are_listed_or_left_out(trained: Path, tmp_path: Path) -> None:
    for path in (trained / "support").glob("*/*.png"):
        place = tmp_path / "all" / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / path.name).write_bytes(path.read_bytes())
    (tmp_path / "all" / "a" / "bad.png").write_bytes(b"no image")
    (tmp_path / "all" / "bare").mkdir()
    asked = ["classify", "run", "--support", tmp_path / "all", "--query", "a3.png", "--json"]
    refused = run(*asked)
    assert refused.status == 2
    assert "bad.png" in refused.err
    assert "bare" in refused.err
    done = run(*asked, "--skip-bad")
    assert done.status == 0
    assert json.loads(done.out)["classes"] == {"a": 3, "b": 3, "c": 3}
    assert "(1)" in done.err

"""What every kind of experiment does: from a preset to a run folder, back from it, and how it ends."""

import json
import shutil
import signal
import threading
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_toys import ENDLESS, LEARNERS, TOYS, at_first_metrics, ran, same, toy, weights
from second_device import pretend

import metarl
from metarl.config import ConfigError, InputError
from metarl.experiments.base import pick_device
from metarl.experiments.run import Run, open_run
from metarl.files import MANIFEST, replacing
from metarl.report.draw import Drawn
from metarl.runs.folder import RunFolder

WRITTEN = {"config.json", "meta.json", "status.json", "metrics.jsonl", "checkpoint.zip", "evaluation.json", MANIFEST}
RECORDS = {"agent": {"trials.npz"}, "recall": set[str](), **{name: {"episodes.npz"} for name in LEARNERS}}
STEPS = {"agent": [24, 48, 72, 96], "recall": [8, 16], **{name: [2, 4] for name in LEARNERS}}
"""The x-axis of the rows of metrics."""
EVERY = pytest.mark.parametrize("name", TOYS)


@pytest.fixture(scope="module", params=TOYS)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ran(tmp_path_factory.mktemp("run") / request.param, toy(request.param))


def rows(done: Run) -> list[dict[str, Any]]:
    """The metrics without times."""
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in done.folder.metrics()]


def test_a_run_leaves_a_whole_folder(done: Run) -> None:
    name = done.experiment.name
    files = {p.name for p in done.folder.path.iterdir() if p.is_file()}
    assert files == WRITTEN | RECORDS[name]
    assert {p.stem for p in done.folder.figures.iterdir()} == set(done.images)
    assert done.images
    assert done.missing == []
    config, status = done.folder.config, done.folder.status
    assert (config["kind"], config["seed"]) == (done.experiment.kind, 0)
    assert (status["status"], status["train_steps"], status["device"]) == ("finished", STEPS[name][-1], "cpu")
    assert [row[done.experiment.axis] for row in done.folder.metrics()] == STEPS[name]
    assert done.steps == STEPS[name][-1]
    assert 0 < done.seconds < 60
    told = json.loads(done.folder.evaluation.read_text())
    assert told["kind"] == done.experiment.kind
    assert (told["train_steps"], told["train_seed"]) == (done.steps, 0)
    assert told["train_seconds"] == done.seconds


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this test end without images; module-wide, those above would, too."""
    monkeypatch.setattr(metarl.experiments.run, "draw_run", lambda folder: Drawn({}, []))


def global_state() -> list[Any]:
    return [torch.random.get_rng_state().tolist(), str(np.random.get_state(legacy=False)), torch.get_num_threads()]  # noqa: NPY002 (looked at, not drawn from)


@pytest.mark.usefixtures("done", "unseen")
def test_the_same_seed_gives_the_same_and_another_seed_another_model(done: Run, tmp_path: Path) -> None:
    name = done.experiment.name
    before = global_state()
    again, other = ran(tmp_path / "again", toy(name)), ran(tmp_path / "other", toy(name), seed=1)
    assert global_state() == before
    assert same(weights(done), weights(again))
    assert not same(weights(done), weights(other))
    assert rows(done) == rows(again)
    assert again.evaluate(quiet=True, n=5) == again.evaluate(quiet=True, n=5)


def test_a_run_comes_back_from_its_folder(done: Run) -> None:
    back = open_run(done.folder.path)
    assert (back.experiment, back.seed) == (done.experiment, 0)
    assert same(weights(done), weights(back))
    assert back.evaluation == done.evaluation
    assert back.evaluate(quiet=True) == done.evaluation
    assert back.evaluate(quiet=True, seed=1) != done.evaluation
    assert back.evaluate(quiet=True, split="validation") != done.evaluation
    with pytest.raises(ValueError, match="train"):
        done.evaluate(split="train", quiet=True)


@pytest.mark.parametrize(("name", "number"), list(zip(TOYS, cycle([signal.SIGINT, signal.SIGTERM]), strict=False)))
def test_a_signal_ends_training_early_and_keeps_what_was_learned(
    name: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    at_first_metrics(monkeypatch, lambda: signal.raise_signal(number))
    stopped = ran(tmp_path / "run", toy(name, ENDLESS.get(name, "fit.updates=1000000")))
    assert (stopped.signal, stopped.evaluation) == (number, None)
    assert stopped.folder.status["status"] == "interrupted"
    assert not stopped.folder.evaluation.exists()
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    back = open_run(stopped.folder.path)
    assert same(weights(back), weights(stopped))
    assert back.steps == stopped.steps > 0
    evaluation = back.evaluate(quiet=True)
    back.complete(evaluation)
    assert open_run(stopped.folder.path).evaluation == evaluation


def test_a_thread_can_train(tmp_path: Path) -> None:
    made: list[Run] = []
    thread = threading.Thread(target=lambda: made.append(ran(tmp_path / "run", toy("recall"))))
    thread.start()
    thread.join()
    assert made[0].evaluation is not None


@EVERY
def test_an_error_in_training_leaves_the_status_failed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("the disk is full")

    at_first_metrics(monkeypatch, broken)
    with pytest.raises(RuntimeError, match="the disk is full"):
        ran(tmp_path / "run", toy(name))
    folder = RunFolder.open(tmp_path / "run")
    assert folder.status["status"] == "failed"
    assert not folder.checkpoint.exists()


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "cut config": ("config.json", lambda content: content[:40], "config.json is damaged"),
    "no object": ("config.json", lambda content: b"[]", "config.json is damaged"),
    "no seed": ("config.json", lambda content: content.replace(b'"seed"', b'"sede"'), "has no seed"),
    "no kind": ("config.json", lambda content: content.replace(b'"kind"', b'"kynd"'), "has no kind"),
    "unknown kind": ("config.json", lambda content: content.replace(b'"kind": "', b'"kind": "x'), "kind"),
    "unknown key": ("config.json", lambda content: content.replace(b'"about"', b'"abut"'), "unknown key abut"),
    "empty checkpoint": ("checkpoint.zip", lambda content: b"", "checkpoint.zip is damaged"),
    "cut checkpoint": ("checkpoint.zip", lambda content: content[: len(content) // 2], "checkpoint.zip is damaged"),
}


@pytest.mark.parametrize(("file", "damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_refused(
    done: Run, tmp_path: Path, file: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    copy = Path(shutil.copytree(done.folder.path, tmp_path / "run"))
    content = damage((copy / file).read_bytes())
    with replacing(copy / file) as temporary:  # as if the run itself had written it
        temporary.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_run(copy)


def test_a_checkpoint_of_another_model_is_refused(done: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(done.folder.path, tmp_path / "run"))
    checkpoint = copy / "checkpoint.zip"
    other = "recall" if done.experiment.kind != "recall" else "classifier"
    toy(other).save(toy(other).build(0, torch.device("cpu")), checkpoint)
    with pytest.raises(InputError, match=r"checkpoint.zip holds"):
        open_run(copy)
    checkpoint.unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        open_run(copy)
    larger = {"agent": "env.arms=4", "gradient": "gradient.width=16", "recall": "fit.parameters=9000"}
    setting = larger.get(done.experiment.name, f"{done.experiment.name}.encoder.width=16")
    changed = toy(done.experiment.name, setting)
    changed.save(changed.build(0, torch.device("cpu")), checkpoint)
    with pytest.raises(InputError, match=r"checkpoint.zip (is damaged|holds an agent)"):
        open_run(copy)


def test_train_takes_a_preset_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"fit.updates": 2, "fit.parameters": 5000, "fit.key_size": 8, "sequences": 20}
    monkeypatch.chdir(tmp_path)
    done = metarl.train("recall", seed=2, settings=small, device="cpu", quiet=True)
    assert done.folder.path.parent == Path("runs")
    assert done.folder.path.name.startswith("recall-")
    assert done.folder.path.name.endswith("-s2")
    assert done.folder.config["device"] == "cpu"
    assert metarl.open_run(done.folder.path).evaluation == done.evaluation


def test_auto_is_what_there_is_and_a_missing_device_is_refused() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:99", "gpu"):
        with pytest.raises(ConfigError) as error:
            pick_device(name)
        assert error.value.given == name


@EVERY
@pytest.mark.usefixtures("unseen")
def test_everything_stays_on_a_second_device(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend(monkeypatch) as second:
        done = ran(tmp_path / "run", toy(name, "device=cuda:0"))
        assert all(one in second for one in weights(done).values() if one.numel())
        back = open_run(tmp_path / "run", device="cuda:0")
        assert all(one in second for one in weights(back).values() if one.numel())
        assert back.evaluate(quiet=True) == done.evaluation
    assert done.folder.status["device"] == "cuda:0"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@EVERY
def test_every_kind_trains_and_evaluates_on_a_gpu(name: str, tmp_path: Path) -> None:
    done = ran(tmp_path / "run", toy(name, "device=cuda"))
    assert done.folder.status["device"] == "cuda"
    assert {one.device.type for one in weights(done).values()} == {"cuda"}
    assert open_run(tmp_path / "run", device="cuda").evaluate(quiet=True) == done.evaluation
    assert open_run(tmp_path / "run", device="cpu").evaluate(quiet=True)

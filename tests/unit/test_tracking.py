import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import wandb_reader

from metarl.config import ConfigError, InputError
from metarl.runs import tracking
from metarl.runs.folder import RunFolder
from metarl.runs.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
SECRET = "0123456789abcdef" * 2 + "fakefake"
CONFIG = {"env": {"arms": 7, "prior": [1.0, 2.0]}, "train": {"rate": 0.001, "compile": False}, "limit": None}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_jsonl_writes_a_line_at_once(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.log({"loss": 0.5, "none": None}, step=0)
    tracker.log({"loss": np.float32(0.25), "count": np.int64(3)}, step=10)
    tracker.log({"a": float("nan"), "b": float("inf"), "c": np.float32("-inf"), "d": 1e300, "e": -(10**400)}, step=10)
    written = rows(tmp_path / "metrics.jsonl")
    times = [row.pop("time") for row in written]
    assert 0 <= times[0] <= times[1] <= times[2] < 60
    assert written == [
        {"env_steps": 0, "loss": 0.5, "none": None},
        {"env_steps": 10, "loss": 0.25, "count": 3},
        {"env_steps": 10, **dict.fromkeys("abcde")},
    ]
    tracker.finish("finished")
    assert RunFolder(tmp_path).metrics() == rows(tmp_path / "metrics.jsonl")


def test_jsonl_refuses_what_makes_no_row(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.log({"a": 1}, step=10)
    tracker.log({"a": 2}, step=10)
    with pytest.raises(InputError) as caught:
        tracker.log({"a": 3}, step=9)
    assert (caught.value.key, caught.value.given) == ("env_steps", 9)
    with pytest.raises(InputError, match="x-axis"):
        tracker.log({"env_steps": 3}, step=11)
    for value in ([1], "train"):
        with pytest.raises(TypeError, match="'a' is a"):
            tracker.log({"a": value}, step=11)  # type: ignore[dict-item]  # the trap
    tracker.finish("finished")
    assert [row["a"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2]
    with pytest.raises(FileExistsError, match="another run"):
        Tracker(tmp_path)


def test_the_axis_is_called_as_a_run_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun()
    fake_wandb(monkeypatch, lambda **_: run)
    tracker = Tracker(tmp_path, "offline", CONFIG, axis="episodes")
    tracker.log({"loss": 0.5, "env_steps": 3}, step=60)
    for metrics, step in (({"episodes": 3}, 61), ({"loss": 0.4}, 59)):
        with pytest.raises(InputError) as caught:
            tracker.log(metrics, step=step)
        assert caught.value.key == "episodes"
    tracker.finish("finished")
    (row,) = rows(tmp_path / "metrics.jsonl")
    assert row == {"episodes": 60, "time": row["time"], "loss": 0.5, "env_steps": 3}
    assert run.rows == [row]
    assert run.metrics == [(("episodes",), {}), (("*",), {"step_metric": "episodes"})]


def test_a_run_without_wandb_never_imports_it(tmp_path: Path) -> None:
    code = (
        "import sys; from metarl.runs.tracking import Tracker\n"
        "tracker = Tracker(sys.argv[1]); tracker.log({'a': 1}, step=1)\n"
        "tracker.finish('finished')\n"
        "assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT, timeout=60)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    with pytest.raises(ConfigError) as caught:
        Tracker(tmp_path, "auto", {})  # type: ignore[arg-type]  # wrong on purpose
    assert (caught.value.given, caught.value.expected) == ("auto", "one of disabled, offline, online")


class FakeRun:
    """A run whose ``fail`` method raises; it keeps the rows logged before."""

    def __init__(self, fail: str = ""):
        self.fail, self.rows, self.metrics, self.summary = fail, [], [], {}  # type: ignore[var-annotated]  # lists of anything

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> None:
            if name == self.fail:
                raise RuntimeError("broken pipe\nwith a long story")
            self.rows += args if name == "log" else ()
            self.metrics += [(args, options)] if name == "define_metric" else []

        return call


def fake_wandb(monkeypatch: pytest.MonkeyPatch, init: Any) -> None:
    module = SimpleNamespace(init=init, setup=lambda **_: None, Settings=SimpleNamespace)
    monkeypatch.setattr(tracking, "_import_wandb", lambda: module)


@pytest.mark.parametrize("fail", ["import", "define_metric", "log", "finish"])
def test_wandb_failing_is_said_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fail: str
) -> None:
    fake_wandb(monkeypatch, lambda **_: FakeRun(fail))
    if fail == "import":
        monkeypatch.setattr(tracking, "_import_wandb", FakeRun("import_").import_)
    tracker = Tracker(tmp_path, "offline", CONFIG)
    for step in range(3):
        tracker.log({"a": step}, step=step)
    tracker.log_artifact(tmp_path / "metrics.jsonl", "metrics", "log")
    tracker.finish("finished")
    assert capfd.readouterr().err == "metarl: Weights & Biases failed (broken pipe); going on without it\n"
    assert [row["a"] for row in rows(tmp_path / "metrics.jsonl")] == [0, 1, 2]


class Hanging(FakeRun):
    """A run whose ``hang`` method does not return before ``go``; ``hung`` says that it was called."""

    def __init__(self, hang: str) -> None:
        super().__init__()
        self.hang, self.hung, self.go = hang, threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        if name == self.hang:
            self.hung.set()
            self.go.wait(20)
        return super().__getattr__(name)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the process of W&B was to be killed, each time it was given up."""
    found: list[bool] = []
    monkeypatch.setattr(tracking, "_drop_core", lambda _, kill: found.append(kill))
    return found


@pytest.mark.parametrize("hang", ["define_metric", "log", "log_artifact", "finish"])
def test_wandb_hanging_is_said_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], killed: list[bool], hang: str
) -> None:
    run = Hanging(hang)
    fake_wandb(monkeypatch, lambda **_: run)
    monkeypatch.setattr(tracking, "CALL_SECONDS", 0.1)
    tracker = Tracker(tmp_path, "offline", CONFIG)
    for step in range(3):
        tracker.log({"a": step}, step=step)
        tracker.log_artifact(tmp_path / "metrics.jsonl", "metrics", "log")
    tracker.finish("finished")
    run.go.set()
    assert run.hung.is_set()
    assert killed == [True]
    assert capfd.readouterr().err == "metarl: Weights & Biases failed (no answer for 0.1 s); going on without it\n"
    assert [row["a"] for row in rows(tmp_path / "metrics.jsonl")] == [0, 1, 2]


def test_a_call_that_hangs_is_noticed_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: list[bool]
) -> None:
    run = Hanging("log")
    fake_wandb(monkeypatch, lambda **_: run)
    tracker = Tracker(tmp_path, "offline", CONFIG)
    tracker.log({"a": 0}, step=0)
    assert run.hung.wait(20)
    monkeypatch.setattr(tracking, "CALL_SECONDS", 0.0)
    tracker.log({"a": 1}, step=1)
    assert killed == [True]
    run.go.set()
    tracker.finish("finished")
    assert len(rows(tmp_path / "metrics.jsonl")) == 2


def test_rows_that_wandb_is_too_slow_for_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Hanging("log")
    fake_wandb(monkeypatch, lambda **_: run)
    monkeypatch.setattr(tracking, "ROOM", 5)
    tracker = Tracker(tmp_path, "offline", CONFIG)
    tracker.log({"a": 0}, step=0)
    assert run.hung.wait(20)
    for step in range(1, 10):
        tracker.log({"a": step}, step=step)
    run.go.set()
    tracker.finish("finished")
    assert [row["a"] for row in run.rows] == list(range(6))
    assert "too slow for 4 " in capfd.readouterr().err
    assert len(rows(tmp_path / "metrics.jsonl")) == 10


def test_init_always_gets_a_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def init(*, mode: str, **_: Any) -> FakeRun:
        modes.append(mode)
        if mode == "online":
            raise TimeoutError("no answer")
        return FakeRun()

    fake_wandb(monkeypatch, init)
    for name in ("online", "offline"):
        Tracker(RunFolder.create_at(tmp_path / name).path, name, CONFIG).finish("finished")  # type: ignore[arg-type]  # a plain str
    assert modes == ["online", "offline", "offline"]


TRAIN = """
import sys
from pathlib import Path
from metarl.files import write_text
from metarl.runs.folder import RunFolder
from metarl.runs import tracking
path, mode, config = sys.argv[1], sys.argv[2], CONFIG
folder = RunFolder.create_at(path)
folder.start(config)
tracking.TIMEOUT = 2.0
tracker = tracking.Tracker(folder.path, mode, config, group="a-group")
for update in range(400):
    tracker.log(
        {"train/loss": 1 / (update + 3), "train/updates": update, "eval/none": float("nan")},
        step=update * 100,
    )
write_text(folder.checkpoint, "weights")
tracker.log_artifact(folder.checkpoint, "checkpoint", "model")
figure = folder.figures / "curve.png"
from PIL import Image
Image.new("RGB", (8, 8)).save(figure)
tracker.log_image(figure, "adaptation")
Image.new("RGB", (8, 8)).save(folder.film)
tracker.log_video(folder.film, "trial")
tracker.log_summary({"evaluation": {"return_mean": 1.5}})
tracker.finish("finished")
folder.set_status("finished")
"""


def train(base: Path, mode: str, **environment: str) -> tuple[RunFolder, subprocess.CompletedProcess[str]]:
    """Track a run in a process of its own, so that what wandb starts and sets ends with it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN.replace("CONFIG", repr(CONFIG)), str(base / "run"), mode, "--token", SECRET],
        env=inherited | wandb_reader.at_home(base) | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return RunFolder.open(base / "run"), done


def test_an_offline_run_has_our_step_checkpoint_picture_and_status_and_no_secret(tmp_path: Path) -> None:
    folder, done = train(tmp_path, "offline", WANDB_API_KEY=SECRET, A_TOKEN="token-" + SECRET)
    assert done.stdout + done.stderr == ""
    metrics = wandb_reader.logged(folder.path, "metric")
    assert ("env_steps", "") in [(metric.name, metric.step_metric) for metric in metrics]
    assert ("*", "env_steps") in [(metric.glob_name, metric.step_metric) for metric in metrics]
    assert not [path for path in folder.path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    (artifact,) = wandb_reader.artifacts(folder.path)
    assert (artifact.name, artifact.type) == ("checkpoint", "model")
    (entry,) = artifact.manifest.contents
    assert (entry.path, entry.size) == ("checkpoint.zip", len(b"weights"))
    (picture,) = [row for row in wandb_reader.history(folder.path) if "adaptation/path" in row or "adaptation" in row]
    assert picture["env_steps"] == 39900
    (film,) = [row for row in wandb_reader.history(folder.path) if "trial/path" in row or "trial" in row]
    assert film["env_steps"] == 39900
    assert list(folder.path.glob("wandb/offline-run-*/files/media/videos/*.gif"))
    summary = wandb_reader.summary(folder.path)
    assert (summary["status"], summary["evaluation"]) == ("finished", {"return_mean": 1.5})


@pytest.mark.parametrize("key", [None, SECRET])
def test_an_online_run_out_of_reach_goes_on_offline(tmp_path: Path, key: str | None) -> None:
    closed = {"WANDB_BASE_URL": "http://127.0.0.1:9"}  # nothing listens on the discard port
    folder, done = train(tmp_path, "online", **closed, **({} if key is None else {"WANDB_API_KEY": key}))
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("metarl: Weights & Biases is out of reach (")
    assert line.endswith(f"; logging offline to {folder.path}/wandb")
    assert len(folder.metrics()) == 400
    assert [row for row in wandb_reader.history(folder.path) if "train/loss" in row] == folder.metrics()
    assert folder.status["status"] == "finished"

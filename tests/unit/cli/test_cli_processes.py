"""``metarl`` as a process: help, signals, a closed pipe, and what Weights & Biases is told."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import wandb_reader
from command_line import AGENT, Ran, files, run, settings
from killing import members

from metarl.agents.rl2 import RL2PPO
from metarl.experiments.presets import from_config
from metarl.runs.folder import RunFolder
from metarl.runs.tracking import Tracker

SECRET = "0123456789abcdef" * 2 + "fakefake"
IMAGES = {"adaptation", "learning", "memory", "episodes", "trial"}
BANDIT = settings(*AGENT, "env.arms=3", "env.pulls=6", "train.total_timesteps=96")
ENDLESS = settings(*AGENT, "env.arms=3", "env.pulls=10", "train.total_timesteps=1000000000")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "metarl", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**inherited, "OMP_NUM_THREADS": "1", **more}


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)  # what `metarl ... | head -1` comes to once head has gone
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(command("list", "envs"), stdout=out, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def launch(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    """As if ``torchrun`` had started this process."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "TORCHELASTIC_RUN_ID": "x"}
    for name, value in (told | {"TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_MAX_RESTARTS": 0}).items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    "given",
    [("eval", "missing"), ("report", "missing"), ("bench", "train"), ("list", "envs")],
    ids=lambda given: given[0],
)
def test_only_training_takes_several_processes(given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch, 0, 2)
    first = run(*given)
    launch(monkeypatch, 1, 2)
    other = run(*given)
    assert (first.status, first.out) == (2, "")
    assert f"metarl {given[0]} works in one process, and torchrun started 2" in first.err
    assert len(first.err.splitlines()) == 1
    assert other == Ran(0, "", ""), "the first has told it, and its status ends the job"
    assert "torchrun started" not in run("train", "missing").err


def test_a_single_process_of_torchrun_takes_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch, 0, 1)
    assert run("list", "envs").status == 0


def interrupt(folder: Path, *options: str, **env: str) -> tuple[Ran, list[int]]:
    """Train without end, Ctrl-C for the whole process group as in a terminal; the processes that are left."""
    process = subprocess.Popen(
        command("train", "bandit", *ENDLESS, *options, "--out", folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**env),
        start_new_session=True,
    )
    try:
        metrics = folder / "metrics.jsonl"
        while not (metrics.is_file() and metrics.read_bytes().count(b"\n") >= 5):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        return Ran(process.returncode, out, err), members(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


def test_sigterm_saves_and_ends_cleanly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, log = RunFolder(tmp_path / "run"), Tracker.log

    def logged(tracker: Tracker, *given: Any, **options: Any) -> None:
        log(tracker, *given, **options)
        if tracker.rows == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Tracker, "log", logged)
    ran = run("train", "bandit", *ENDLESS, "--out", folder.path)
    assert (ran.status, ran.err) == (143, "")
    assert ran.out.splitlines()[-1] == f"interrupted; what was learned so far is in {folder.checkpoint}"
    assert folder.status["status"] == "interrupted"
    assert not (folder.path / "evaluation.json").exists()
    agent = RL2PPO.load(folder.checkpoint)
    assert agent.num_timesteps >= folder.metrics()[-1]["env_steps"] > 0
    assert run("eval", folder.path, "-n", "2").status == 0


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Ran, list[int]]:
    """A run with W&B offline, secrets in the environment, ended by Ctrl-C."""
    base = tmp_path_factory.mktemp("wandb")
    env = wandb_reader.at_home(base) | {"WANDB_API_KEY": SECRET, "A_TOKEN": f"token-{SECRET}"}
    return RunFolder(base / "run"), *interrupt(base / "run", "--wandb", "offline", **env)


@needs_proc
def test_ctrl_c_saves_and_ends_cleanly(tracked: tuple[RunFolder, Ran, list[int]]) -> None:
    folder, ran, left = tracked
    assert (ran.status, ran.err, left) == (130, "", [])
    assert folder.status["status"] == "interrupted"
    assert RL2PPO.load(folder.checkpoint).num_timesteps > 0


@needs_proc
def test_no_secret_of_the_environment_is_kept(tracked: tuple[RunFolder, Ran, list[int]]) -> None:
    kept = files(tracked[0].path)
    assert any(name.endswith(".wandb") for name in kept)
    assert [name for name, content in kept.items() if SECRET.encode() in content] == []
    assert not [name for name in kept if name.endswith(("requirements.txt", "wandb-metadata.json"))]


def test_wandb_holds_the_evaluation_and_the_pictures_of_a_run_that_finished(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    done = subprocess.run(
        command("train", "bandit", *BANDIT, "--wandb", "offline", "--out", folder.path),
        env=environment(**wandb_reader.at_home(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told, kept = wandb_reader.summary(folder.path)["evaluation"], json.loads(folder.evaluation.read_text())
    assert (told["return_mean"], told["ablations"]) == (kept["return_mean"], kept["ablations"])
    history = wandb_reader.history(folder.path)
    shown = {name.removeprefix("figures/").partition("/")[0] for row in history for name in row if "figures/" in name}
    assert shown == IMAGES
    runs = wandb_reader.logged(folder.path, "run")
    kept_config = {key: value for key, value in folder.config.items() if key != "seed"}
    assert {record.run_group for record in runs} == {from_config(kept_config, "run").group}
    config = {name: value for record in runs for name, value in wandb_reader.items(record.config.update).items()}
    assert wandb_reader.own(config) == folder.config
    assert [row for row in history if "train/learning_rate" in row] == folder.metrics()
    assert [(one.name, one.type) for one in wandb_reader.artifacts(folder.path)] == [
        (f"bandit-{folder.path.name}", "model")
    ]

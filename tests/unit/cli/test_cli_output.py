"""What is printed: whatever a path is called, wherever it goes, and warnings in one line each."""

import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from command_line import run
from report_runs import made

from metarl.cli.main import main
from metarl.cli.table import print_table

ROOT = Path(__file__).resolve().parents[3]


def test_a_path_that_is_no_utf_8_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path / os.fsdecode(b"\xff"), evaluated=False, played=False)
    printed = BytesIO()
    out = TextIOWrapper(printed, "utf-8", "strict")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["report", str(run.path)]) == 0
    assert rf"{os.sep}\udcff".encode() in printed.getvalue()
    assert out.errors == "strict"


@pytest.mark.parametrize(("where", "status", "lines"), [(">&-", 0, 0), (">&- 2>&-", 0, 0), ("> /dev/full", 1, 1)])
def test_output_that_is_closed_or_full(where: str, status: int, lines: int) -> None:
    if "full" in where and not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    shell = ["sh", "-c", f'"$0" -m metarl list envs {where}', sys.executable]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", lines)


FAILING = """
import gymnasium as gym

class Env(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)
    played = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        Env.played += 1
        return (None if Env.played == 30 else 1), 0.0, False, False, {}

gym.register("Failing-v0", Env)
"""


PLAY = """
import numpy as np
from metarl import from_env
from metarl.cli.terminal import short_warnings
from metarl.tasks.vector.env import TrialVectorEnv

if __name__ == "__main__":
    with short_warnings():
        env = TrialVectorEnv(from_env("failing:Failing-v0", levels=range(30), steps=8), 4, workers=WORKERS)
        env.reset(seed=0)
        for _ in range(8):
            env.advance(np.zeros(4, int))
        env.close()
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_void_trial_is_told_in_one_line(tmp_path: Path, workers: int) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    (tmp_path / "play.py").write_text(PLAY.replace("WORKERS", str(workers)))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "play.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ran.returncode == 0, ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith("metarl: ")
    assert "expected numbers of the space Discrete(3)" in line
    assert "restart 1 of" in line
    assert ".py" not in line


@pytest.mark.parametrize(
    "command", [["export", "zoo:bandit", "--out", "file"], ["watch", "zoo:bandit", "--out", "file/trial.gif"]]
)
def test_a_place_that_cannot_be_written_to_is_told_in_one_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    done = run(*command)
    assert (done.status, done.out) == (2, "")
    assert "file is no folder" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_name_cannot_break_a_table_or_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"query": "a\nb\x1b[31m", "class": "ß", "settings": {"k": "\x07"}}])
    head, line = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert (head.split(), line.split()) == (["query", "class", "settings"], [r"a\nb\x1b[31m", "ß", r"k=\x07"])

"""What there is: help, settings, runs; without importing torch, and in tables that fit."""

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from report_runs import made

import metarl
from metarl.cli.listed import listed, of_preset
from metarl.cli.main import parser
from metarl.cli.table import print_table
from metarl.config import load_toml
from metarl.files import MANIFEST, write_json
from metarl.presets.names import presets
from metarl.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "stable_baselines3", "scipy", "matplotlib", "wandb")


def commands(one: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield one
    for action in one._actions:  # argparse has no public list
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from commands(below)


def test_the_bare_command_is_help_and_the_version_is_told() -> None:
    assert run() == run("--help")
    assert run("--version") == (0, f"metarl {metarl.__version__}\n", "")


def test_each_command_has_a_description_and_examples_that_parse() -> None:
    below = list(commands(parser()))[1:]
    assert len(below) > 10
    for command in below:
        assert command.description
        head, *lines = (command.epilog or "").splitlines()
        assert head == "examples:"
        assert lines
        for line in lines:
            if line.strip().startswith("metarl"):
                words = shlex.split(line.partition("|")[0], comments=True)
                assert parser().parse_args(words[1:]).command == words[1]


def test_what_lists_or_refuses_never_imports_torch(tmp_path: Path) -> None:
    made(tmp_path / "runs" / "a", played=False)
    asked = [["--help"], ["train", "--help"], ["list", "presets"], ["list", "envs"], ["list", "memories"], ["settings"]]
    asked += [["settings", "bandit"], ["runs"], ["train", "bandti"], ["report", "nowhere"], ["eval", "nowhere"]]
    code = f"""
import contextlib, sys
from metarl.cli.main import main
for words in {asked}:
    with contextlib.suppress(SystemExit):
        main(words)
    print("LOADED", words, [name for name in {HEAVY} if name in sys.modules])
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env, check=True
    )
    loaded = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert len(loaded) == len(asked)
    assert [line for line in loaded if not line.endswith("[]")] == []


@pytest.mark.parametrize("preset", presets())
def test_every_key_of_a_preset_is_among_its_settings(preset: str) -> None:
    rows = of_preset(preset)
    assert all(one["about"] and one["range"] for one in rows)
    told = {one["key"]: one["value"] for one in rows}
    assert len(told) == len(rows), "a key has one meaning"
    tables = {one["key"] for one in rows if one["range"] == "table" or "list or table" in one["range"]}

    def check(table: dict[str, Any], prefix: str) -> None:
        for name, value in table.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and key not in tables:
                check(value, f"{key}.")
            else:
                assert told[key] == value

    check({key: value for key, value in load_toml(presets()[preset]).items() if key != "kind"}, "")


def test_settings_tell_default_range_and_meaning() -> None:
    rows = {one["key"]: one for one in json.loads(run("settings", "bandit", "--json").out)}
    assert (rows["env.arms"]["default"], rows["env.arms"]["range"]) == (10, "integer ≥ 2")
    assert rows["train.total_timesteps"]["required"]
    assert rows["train.n_envs"]["value"] != rows["train.n_envs"]["default"] == 256
    assert "memory.store_options.capacity" in rows
    assert not any(key.startswith(("env.contexts", "env.vary", "memory.controller_options.window")) for key in rows)
    line = next(line for line in run("settings", "bandit").out.splitlines() if line.startswith("ppo.clip_range "))
    assert "number > 0" in line
    assert "Schulman" in line
    assert len(run("settings").out.splitlines()) == 1 + len(listed()["settings"])


def kept(path: Path, began: datetime, status: str, **facts: Any) -> Path:
    """A run that was begun then, with this status."""
    folder = made(path, played=False, evaluated=status == "finished")
    (path / MANIFEST).unlink()  # else its files were changed
    meta = json.loads((path / "meta.json").read_text())
    write_json(path / "meta.json", meta | {"started": began.isoformat()})
    folder.set_status(status, **facts)  # type: ignore[arg-type]  # one of the four
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    now = datetime.now().astimezone()
    kept(tmp_path / "runs" / "old", now - timedelta(days=3), "finished", trained=True, train_steps=640_000)
    kept(tmp_path / "runs" / "new", now - timedelta(minutes=5), "running")
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "config.json").write_text("{")
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path


def test_runs_are_listed_the_newest_first(runs: Path) -> None:
    rows = json.loads(run("runs", "--json").out)
    assert [(one["name"], one["status"], one["steps"]) for one in rows] == [
        ("new", "cut off", 1000),
        ("old", "finished", 640_000),
        ("damaged", "damaged", None),
    ]
    assert rows[0]["result"] == "return 5 in training"
    assert re.fullmatch(r"return [\d.]+ ± [\d.]+", rows[1]["result"])
    with RunFolder(runs / "runs" / "new").locked():  # a process trains
        assert json.loads(run("runs", "--json").out)[0]["status"] == "running"
    lines = run("runs").out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "new", "old", "damaged"]
    assert (lines[1].split()[-2:], lines[2].split()[-2:]) == (["5", "min"], ["3", "d"])
    assert run("runs", "elsewhere").status == 0


def test_latest_is_the_run_begun_last(runs: Path) -> None:
    with pytest.warns(UserWarning, match="no manifest"):
        ran = run("report", "latest")
    assert (ran.status, ran.out.splitlines()[0]) == (0, f"run folder: {Path('runs', 'new')}")
    assert (runs / "runs" / "new" / "report.html").is_file()


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_tables_fit_the_terminal_and_obey_no_color(
    monkeypatch: pytest.MonkeyPatch, no_color: str | None, coloured: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    screen = Screen()
    with contextlib.redirect_stdout(screen):
        print_table([{"name": "a", "about": "[bold] " + "word " * 40}, {"name": "b", "about": "short"}])
        print_table([{"name": "a" * 20, "result": "some words " * 4}, {"name": "b", "result": "short"}])
    text = screen.getvalue()
    assert ("\x1b[36m" in text) == coloured
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= 60
    assert "[bold]" in plain, "what looks like markup is text"


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("metarl train band", {"bandit "}),
        ("metarl train bandit --set env.ar", {"env.arms="}),
        ("metarl eval ", {"latest", "runs/old"}),
    ],
)
def test_the_shell_completes(runs: Path, line: str, some: set[str]) -> None:
    answer = runs / "answer"
    code = "import os; fd = os.open('answer', os.O_CREAT | os.O_WRONLY); os.dup2(fd, 8)\n"
    code += "from metarl.cli.main import main; main([])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "_ARGCOMPLETE": "1"}
    env |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n", "_ARC_DEBUG": ""}
    subprocess.run([sys.executable, "-c", code], cwd=runs, env=env, timeout=60, capture_output=True, check=False)
    assert some <= set(answer.read_text().split("\n"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_shell_gets_its_code(shell: str) -> None:
    ran = run("completion", shell)
    assert ran.status == 0
    assert "metarl" in ran.out

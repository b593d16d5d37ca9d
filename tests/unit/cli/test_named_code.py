"""Code that is named: by whoever runs a command it is used, by a run folder only where it is allowed."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import pytest
from command_line import AGENT, run, settings

from metarl.config import ConfigError
from metarl.experiments.run import open_run
from metarl.files import write_json
from metarl.tasks.family.code import not_allowed

pytestmark = pytest.mark.usefixtures("undrawn")
TINY = settings(*AGENT, "train.total_timesteps=64", "train.n_steps=8", "eval.rows=20")
EVIL = """
import pathlib
pathlib.Path({mark!r}).write_text("imported")
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

def make(length=0.5):
    env = CartPoleEnv()
    env.length = length
    return gym.wrappers.TimeLimit(env, 10)

def change(env, values):
    env.unwrapped.masspole = 0.2

class Wrapper(gym.Wrapper):
    pass

gym.register("evil/CartPole-v0", entry_point=make)
"""
BASE: dict[str, Any] = {"id": "CartPole-v1", "vary": {"length": "0.3..1.0"}, "steps": 8}
PLACES: dict[str, dict[str, Any]] = {
    "an id": {"id": "evil:evil/CartPole-v0"},
    "a function": {"id": "evil:make"},
    "one of several ids": {"id": ["CartPole-v1", "evil:make"]},
    "import": {"import": "evil"},
    "import, a list": {"import": ["json", "evil"]},
    "import, a table": {"import": {"evil": 1}},
    "a wrapper": {"wrap": "evil:Wrapper"},
    "one of several wrappers": {"wrap": ["gymnasium.wrappers:TimeAwareObservation", "evil:Wrapper"]},
    "apply": {"apply": "evil:change"},
    "an argument": {"kwargs": {"maker": "evil:make"}},
    "a path in an argument": {"kwargs": {"config": {"type": ["evil.make"]}}},
    "a family of this package": {"id": ["metarl/BernoulliBandit-v0", "CartPole-v1"], "kwargs": {"family": "evil:make"}},
    "a choice": {"vary": {"render_mode": ["evil:make", "x"]}},
    "a choice as text": {"vary": {"render_mode": "evil.make,x"}},
    "test": {"test": {"id": "evil:make"}},
    "import of a split": {"validation": {"import": "evil"}},
}


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with patch.dict(gym.registry), patch.dict(sys.modules):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named") / "run"
    options = ["--vary", "length=0.3..1.0", "--steps", "8"]
    assert run("train", "--env", "CartPole-v1", *options, *TINY, "--out", folder).status == 0
    return folder


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the module ``evil`` writes when it is imported, which lies on the search path."""
    mark = tmp_path / "mark"
    (tmp_path / "evil.py").write_text(EVIL.format(mark=str(mark)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return mark


def renamed(trained: Path, env: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((trained / "config.json").read_text())
    write_json(trained / "config.json", config | {"env": {**BASE, **env}})
    return config


@pytest.mark.parametrize("env", PLACES.values(), ids=PLACES)
def test_what_a_run_folder_names_is_not_imported(trained: Path, mark: Path, env: dict[str, Any]) -> None:
    before = renamed(trained, env)
    try:
        ran = run("eval", trained)
        assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert "--import evil" in ran.err
        with pytest.raises(ConfigError) as error:
            open_run(trained)
        assert error.value.key == "imports"
        assert "evil" in error.value.given
        with pytest.raises(ConfigError) as error:  # what is imported is allowed, and no more than that
            open_run(trained, imports=["json"])
        assert "evil" in error.value.given
        assert not mark.exists()
    finally:
        write_json(trained / "config.json", before)


def test_a_report_imports_nothing_that_a_run_folder_names(trained: Path, mark: Path) -> None:
    own = {"id": "evil:make", "import": "evil", "wrap": "evil:Wrapper", "apply": "evil:change"}
    before = renamed(trained, own | {"test": {"import": "evil"}})
    try:
        assert run("report", trained).status == 0
        assert not mark.exists()
    finally:
        write_json(trained / "config.json", before)


def test_what_is_allowed_is_used(trained: Path, mark: Path) -> None:
    before = renamed(trained, {"id": "evil:make", "wrap": "evil:Wrapper", "apply": "evil:change"})
    try:
        assert run("eval", trained, "--import", "evil", "-n", "20").status == 0
        assert mark.exists()
        with pytest.raises(ConfigError):  # being imported is not being allowed
            open_run(trained)
        open_run(trained, imports=["evil"])
    finally:
        write_json(trained / "config.json", before)


@pytest.mark.parametrize(
    "table",
    [{"id": "subprocess:run", "kwargs": {"args": ["touch", "mark"]}}, {"wrap": "os:system"}, {"apply": "os:system"}],
)
def test_code_of_pythons_own_is_not_used_either(trained: Path, mark: Path, table: dict[str, Any]) -> None:
    before = renamed(trained, table)
    try:
        with pytest.raises(ConfigError) as error:
            open_run(trained)
        assert error.value.key == "imports"
        assert not mark.exists()
    finally:
        write_json(trained / "config.json", before)


def test_ordinary_text_is_no_code() -> None:
    table = {"kwargs": {"xml_file": "ant.xml", "map": "4x4", "url": "http://a.b/c"}, "vary": {"x": "log:0.1..1"}}
    assert not_allowed({"id": "CartPole-v1", "levels": "0..9", **table}) == []


def test_train_uses_what_is_typed_and_records_it_as_text(mark: Path, tmp_path: Path) -> None:
    code = ["--env", "evil:make", "--wrap", "evil:Wrapper", "--wrap", "gymnasium.wrappers:TimeAwareObservation"]
    code += ["--apply", "evil:change", "--vary", "length=0.3..1.0", "--steps", "8"]
    ran = run("train", *code, *TINY, "--out", tmp_path / "run")
    assert (ran.status, ran.err) == (0, "")
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["env"]
    wrappers = ["evil:Wrapper", "gymnasium.wrappers:TimeAwareObservation"]
    assert recorded["id"] == "evil:make"
    assert (recorded["wrap"], recorded["apply"]) == (wrappers, "evil:change")
    experiment: Any = open_run(tmp_path / "run", imports=["evil", "gymnasium.wrappers"]).experiment
    family = experiment.make_distribution("test")
    env = family.make(family.probe())
    assert env.unwrapped.masspole == 0.2
    assert env.observation_space.shape == (5,)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--env", "evil:nothing", "--levels", "0..9"], "evil registers no id 'nothing' and has no function"),
        (["--env", "CartPole-v1", "--vary", "length=1..2", "--wrap", "evil:nothing"], "wrap is 'evil:nothing'"),
        (["--env", "CartPole-v1", "--vary", "length=1..2", "--apply", "change"], "apply is 'change'"),
        (["--env", "CartPole-v1", "--vary", "length=1..2", "--kwargs", "a.b=1"], "--kwargs is 'a.b=1'"),
        (["--env", "CartPole-v1", "--vary", "length=1..2", "--kwargs", "a=1", "--kwargs", "a=2"], "given twice"),
        (["--env", "CartPole-v1", "--vary", "length=0.5"], "--kwargs NAME=VALUE"),
        (["--env", "CartPole-v1"], "--episodes 1"),
    ],
)
def test_what_names_nothing_is_one_line(mark: Path, options: list[str], named: str) -> None:
    ran = run("train", *options)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert named in ran.err


def test_arguments_of_the_constructor(mark: Path) -> None:
    ran = run(
        "check-env",
        "FrozenLake-v1",
        "--kwargs",
        "is_slippery=false",
        "--kwargs",
        "map_name=4x4",
        "--episodes",
        "1",
        "--json",
    )
    assert ran.status == 0, ran.out
    wrong = run("check-env", "FrozenLake-v1", "--kwargs", "is_slipery=false", "--episodes", "1")
    assert wrong.status == 2
    assert "is_slipery" in wrong.err


def test_a_task_may_be_an_episode(tmp_path: Path) -> None:
    ran = run("train", "--env", "CartPole-v1", "--episodes", "1", *TINY, "--out", tmp_path / "run")
    assert (ran.status, ran.err) == (0, "")
    told = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (told["in_distribution"], len(told["by_episode"])) == (False, 1)


def test_eval_changes_no_more_of_the_runs_own_test_tasks_than_is_said(trained: Path) -> None:
    before = renamed(trained, {"test": "1000..1024"})
    try:
        told = json.loads(run("eval", trained, "--steps", "5", "-n", "20", "--json").out)
        assert told["env_options"]["test"] == {"levels": "1000..1024", "steps": 5}
    finally:
        write_json(trained / "config.json", before)


def test_eval_on_other_tasks(trained: Path) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    ran = run("eval", trained, "--vary", "length=2.0..3.0", "-n", "20")
    assert (ran.status, ran.err) == (0, "")
    assert "2.0..3.0" in ran.out.split("---")[0]
    told = json.loads(run("eval", trained, "--levels", "1000..1024", "-n", "40", "--json").out)
    assert told["env_options"]["test"] == {"levels": "1000..1024"}
    assert told["in_distribution"] is False
    assert {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()} == before
    again = json.loads(run("eval", trained, "--steps", "5", "-n", "20", "--json").out)
    assert (again["steps_per_trial"], again["env_options"]["test"]) == (5, {"steps": 5})
    other = run("eval", trained, "--env", "Acrobot-v1", "--levels", "0..9")
    assert (other.status, other.err.count("\n")) == (2, 1)

"""``metarl train --env`` and ``metarl check-env``: environments that are no preset's."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import pytest
from command_line import NET, run, settings

from metarl.cli.env import env_settings
from metarl.cli.main import parser
from metarl.config import apply
from metarl.envs.table import FAMILIES
from metarl.experiments.presets import load_experiment
from metarl.experiments.rl.experiment import make_family
from metarl.experiments.run import open_run
from metarl.runs.folder import RunFolder
from metarl.tasks.check.check_env import RULES
from metarl.tasks.family.env_family import EnvFamily

MODULE = """
import gymnasium as gym

class Doors(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(1), gym.spaces.Discrete(3)

    def __init__(self, prize=0):
        self.prize, self.pay = prize, 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, float(self.pay * (action == self.prize)), True, False, {}

class Loud(Doors):
    def step(self, action):
        return 7, *super().step(action)[1:]

class Grows(Doors):
    def reset(self, *, seed=None, options=None):
        return ([0, 0] if self.pay > 0.75 else 0), {}

for made in (Doors, Loud, Grows):
    gym.register(f"NAME{made.__name__}-v0", entry_point=f"NAME:{made.__name__}", max_episode_steps=1)
gym.register("NAMENeeds-v0", entry_point="nowhere.at_all:Needs")
"""
pytestmark = pytest.mark.usefixtures("undrawn")
TINY = ["train.total_timesteps=64", "train.n_envs=4", "train.n_steps=8", "eval.trials=20", "eval.rows=20"]
SET = settings(*NET, *TINY)


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ids, families and the search path are as before afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    with patch.dict(FAMILIES), patch.dict(gym.registry):
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module in the current folder, with a name of its own for each test; its environments have it in their ids."""
    name = "doors_" + re.sub(r"\W", "_", request.node.name)[:40]
    (tmp_path / f"{name}.py").write_text(MODULE.replace("NAME", name))
    monkeypatch.chdir(tmp_path)
    return name


def test_an_environment_of_the_folder_is_trained_and_evaluated(here: str, tmp_path: Path) -> None:
    env_id = f"{here}:{here}Doors-v0"
    ran = run("train", "--env", env_id, "--vary", "prize=int:0..2", "--vary", "pay=0.5..1.0", "--episodes", "4", *SET)
    assert (ran.status, ran.err) == (0, "")
    assert "20 trials of test tasks" in ran.out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith(f"{here}Doors-v0-")
    env = {"id": env_id, "vary": {"prize": "int:0..2", "pay": "0.5..1.0"}, "episodes": 4}
    assert json.loads((folder / "config.json").read_text())["env"] == env
    told = json.loads((folder / "evaluation.json").read_text())
    assert (told["env"], told["in_distribution"], len(told["by_episode"])) == (env_id, False, 4)
    again = run("eval", folder, "--json")
    assert again.status == 0
    assert json.loads(again.out)["return_mean"] == told["return_mean"]
    experiment: Any = open_run(folder).experiment
    assert experiment.make_distribution("test").trial_episodes == 4


def test_an_observation_that_leaves_its_space_in_training_is_one_line(here: str) -> None:
    ran = run("train", "--env", f"{here}:{here}Grows-v0", "--vary", "pay=0.0..1.0", "--steps", "5", *SET)
    assert ran.status == 2
    assert re.search(r"^metarl: the observation has the shape \(2,\), .* in row \d, task .*\n$", ran.err)


def test_few_tasks_are_said_to_be_in_distribution(here: str, tmp_path: Path) -> None:
    ran = run("train", "--env", f"{here}:{here}Doors-v0", "--vary", "prize=int:0..2", "--steps", "5", *SET)
    assert ran.status == 0, ran.err
    assert "20 trials in distribution (no tasks are held out)" in " ".join(ran.out.split())
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "evaluation.json").read_text())["in_distribution"] is True


def test_a_preset_may_name_any_environment(here: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        f'about = "mine"\nkind = "rl2"\n[env]\nid = "{here}Doors-v0"\nimport = "{here}"\nepisodes = 3\ntime = false\n'
        'vary = { prize = [0, 2], pay = "log:0.1..1" }\n[train]\ntotal_timesteps = 8\n'
    )
    sys.path.append(str(tmp_path))
    experiment: Any = load_experiment("mine.toml")
    family = experiment.make_distribution("validation")
    assert isinstance(family, EnvFamily)
    assert (family.split, family.trial_steps) == ("validation", 3)
    assert set(experiment.make_env("train", 2).single_observation_space.spaces) == {
        *("obs", "prev_action", "prev_reward", "prev_done")
    }


def env_options(*arguments: str) -> Any:
    made: Any = load_experiment("general", env_settings(parser().parse_args(["train", *arguments])))
    return made.env


def test_options_become_settings_of_the_section_env() -> None:
    assert env_options()["id"] == "CartPole-v1"
    assert env_options("--steps", "300")["steps"] == 300
    made = env_options("--env", "CartPole-v1", "--levels", "0..99", "--episodes", "3", "--import", "json")
    assert made == {"id": "CartPole-v1", "levels": "0..99", "episodes": 3, "import": ["json"]}
    both = ["--env", "A-v0", "--env", "B-v0", "--vary", "length=1..2", "--vary", "gravity=9,10"]
    made = apply({}, env_settings(parser().parse_args(["train", *both])))["env"]
    assert made == {"id": ["A-v0", "B-v0"], "vary": {"length": "1..2", "gravity": "9,10"}}


def test_a_family_of_a_module_is_found_by_its_id(here: str) -> None:
    FAMILIES[f"{here}/Bandit-v0"] = "metarl.envs.bernoulli_bandit:BernoulliBandit"
    assert make_family({"id": f"json:{here}/Bandit-v0", "arms": 3}, "test").options()["arms"] == 3


def test_eval_looks_for_modules_of_a_run_only_where_it_is_told_to(here: str, tmp_path: Path) -> None:
    """A run folder may come from somebody else, and so may what lies beside it."""
    env = {"id": "A-v0", "import": [here], "levels": "0..9"}
    config = {"kind": "rl2", "env": env, "train": {"total_timesteps": 8}, "seed": 0}
    RunFolder.create_at(tmp_path / "run").start(config)
    ran = run("eval", "run")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert f"--import {here}" in ran.err
    assert here not in sys.modules
    ran = run("eval", "run", "--import", here)
    assert ran.status == 2
    assert here in sys.modules
    assert "no checkpoint.zip" in ran.err  # the next thing that is wrong


VARY = ["--vary", "length=0.3..1.0"]
WRONG = {
    "neither": (["train"], "train needs a preset .*or an environment: --env ID"),
    "unknown id": (["train", "--env", "CartPol-v1", *VARY], "env: unknown environment id .* did you mean"),
    "family id": (["train", "--env", "metarl/BernouliBandit-v0"], "env.id is .*did you mean 'metarl/BernoulliBandit"),
    "import": (["train", "--env", "CartPole-v1", *VARY, "--import", "nowhere"], "cannot import 'nowhere'"),
    "nothing varies": (["train", "--env", "CartPole-v1"], "nothing varies.*--vary name=low..high"),
    "name": (["train", "--env", "CartPole-v1", "--vary", "lenght=1..2"], "'lenght', .*gravity.* did you mean 'length'"),
    "twice": (["train", "--env", "CartPole-v1", *VARY, *VARY], "--vary length is given twice"),
    "levels": (["train", "--env", "CartPole-v1", "--levels", "9..0"], "levels is '9..0', expected"),
    "episodes": (["train", "--env", "CartPole-v1", *VARY, "--episodes", "0"], "'0' is not a whole number of at least"),
    "no time limit": (["train", "--env", "Blackjack-v1", "--levels", "0..9"], "env: Blackjack-v1 has no time limit"),
    "a bandit does not vary": (["train", "bandit", *VARY], "BernoulliBandit has no option 'vary'"),
    "split": (["train", "--env", "CartPole-v1", *VARY, "--set", "env.split=test"], "env.split can't be set"),
    "checked id": (["check-env", "CartPol-v1"], "unknown environment id 'CartPol-v1', .* did you mean"),
    "checked module": (["check-env", "nowhere:A-v0"], "cannot import 'nowhere'"),
    "no id": (["check-env"], "arguments are required: ID"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("metarl")
    assert re.search(message, ran.err), ran.err
    assert not list(tmp_path.iterdir())


def test_check_env_is_content(here: str) -> None:
    ran = run("check-env", f"{here}:{here}Doors-v0", "--vary", "prize=int:0..2")
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["rule", "kept", "found"]
    assert len(lines) == 1 + len(RULES) + 1, "and training"
    assert all(re.search(r"  yes( |$)", one) for one in lines[1:])
    assert run("check-env", "metarl/BernoulliBandit-v0").status == 0


@pytest.mark.parametrize(("env", "named"), [("CartPole-v1", "nothing varies"), ("NAME:NAMENeeds-v0", "nowhere")])
def test_what_training_refuses_the_check_refuses(here: str, env: str, named: str) -> None:
    for command in (["check-env"], ["train", "--env"]):
        ran = run(*command, env.replace("NAME", here))
        assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert named in ran.err


def test_check_env_tells_advice_from_what_is_broken(here: str) -> None:
    ran = run("check-env", "Pendulum-v1", "--vary", "g=5..15", "--json")
    rows = {row["name"]: row for row in json.loads(ran.out)}
    assert (ran.status, all(row["ok"] for row in rows.values())) == (0, True)
    assert rows["Gymnasium's check_env"]["level"] == "advice"
    assert rows["training"]["level"] == "kept"


def test_check_env_says_what_is_wrong(here: str) -> None:
    ran = run("check-env", f"{here}:{here}Loud-v0", "--vary", "prize=int:0..2")
    assert (ran.status, ran.err) == (1, "")
    assert re.search(r"^spaces +NO +the observation 7 .*does not lie in its space Discrete\(1\); change", ran.out, re.M)
    told = run("check-env", "FrozenLake-v1", "--vary", "map_name=4x4,8x8", "--json")
    assert told.status == 1
    (row,) = json.loads(told.out)
    assert (row["name"], row["level"], row["ok"]) == ("spaces", "broken", False)
    assert "changes between tasks" in row["message"]


def test_the_command_finds_a_module_in_the_current_folder(here: str, tmp_path: Path) -> None:
    """The installed script's own folder is not the current one."""
    script = Path(sys.executable).parent / "metarl"
    ran = subprocess.run(
        [script, "check-env", f"{here}:{here}Needs-v0", "--vary", "prize=int:0..2"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "nowhere" in ran.stderr, "the module was found, and what its environment needs was not"

"""What is seen of an environment, on the command line: symbols, parts left out, numbers of info, own encoders."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import minigrid  # noqa: F401  (registers its ids, before a test puts the registry back)
import pytest
from command_line import AGENT, run, settings

from metarl.config import ConfigError
from metarl.experiments.run import open_run

ROOMS = ["MiniGrid-Empty-5x5-v0", "--levels", "0..29", "--steps", "8"]
pytestmark = pytest.mark.usefixtures("undrawn")
TINY = settings(*AGENT, "train.total_timesteps=64", "train.n_steps=8", "eval.rows=20")
NET = """
from torch import nn

def net(space):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
"""


def advice(*options: str) -> str:
    ran = run("check-env", *ROOMS, *options, "--json")
    assert ran.status == 0, ran.out
    (found,) = [finding for finding in json.loads(ran.out) if finding["name"] == "observations"]
    return str(found["message"]) if found["level"] == "advice" else ""


def test_symbols_are_advised_and_declared() -> None:
    assert "--observe image=symbols" in advice()
    assert advice("--observe", "image=symbols", "--drop", "mission") == ""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--observe", "image"], "--observe is 'image'"),
        (["--observe", "image=symbols", "--drop", "image"], "--observe image is given twice"),
        (["--observe", "image=colours"], "observe.image is 'colours'"),
        (["--drop", "picture"], "observe is 'picture'"),
        (["--encoder", "nowhere:net"], "cannot import 'nowhere'"),
        (["--info", "r"], "infos"),
    ],
)
def test_what_does_not_fit_is_one_line(options: list[str], named: str) -> None:
    ran = run("train", "--env", *ROOMS, *options, *TINY)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert named in ran.err


@pytest.mark.filterwarnings("ignore:info never had the key")
def test_an_encoder_is_recorded_by_name_and_used_where_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--levels", "0..29", "--steps", "8", "--encoder", "own_net:net", "--info", "success"]
    assert run("train", "--env", "CartPole-v1", *options, *TINY, "--out", "run").status == 0
    config: Any = json.loads(Path("run/config.json").read_text())
    assert (config["policy"]["encoder"], config["env"]["infos"]) == ("own_net:net", ["success"])
    with pytest.raises(ConfigError) as error:
        open_run("run")
    assert error.value.given == ["own_net"]
    assert open_run("run", imports=["own_net"]).model.policy.encoder.now_size == 5
    assert run("eval", "run", "-n", "20").status == 2
    assert run("eval", "run", "-n", "20", "--import", "own_net").status == 0


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*given: Any) -> None:  # as Python does where nobody collects warnings
        sys.stderr.write(warnings.formatwarning(*given[:4]))

    monkeypatch.setattr(warnings, "showwarning", show)
    own = ["--env", f"minigrid:{ROOMS[0]}", *ROOMS[1:], "--drop", "mission"]
    ran = run("train", *own, *TINY, "--out", tmp_path / "run")
    assert ran.status == 0
    (line,) = [line for line in ran.err.splitlines() if "symbols" in line]
    assert line.startswith("metarl: the picture image has no number above")

"""``metarl bench train``."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import AGENT, run, settings
from killing import left

TOY = settings(*AGENT, "env.pulls=5", "memory.store_options.merge=false", "memory.access_options.heads=2")


def test_the_command_measures_prints_and_writes(tmp_path: Path) -> None:
    file = tmp_path / "cost.json"
    ran = run("bench", "train", "bandit", *TOY, "--quick", "--json", file)
    assert ran.status == 0, ran.err
    told = json.loads(file.read_text())
    cost = told["cost"]
    assert (cost["n_envs"], cost["n_steps"], cost["threads"], cost["rollouts"]) == (4, 5, 1, 1)
    assert told["operations"]["update"] > 2 * told["operations"]["collect"] > 0  # four passes, backward too
    assert 0 < cost["update_bytes"] < 1e8
    assert told["steps_per_second"] == pytest.approx(20 / (cost["collect_seconds"] + cost["update_seconds"]))
    assert 0 < told["share_of_limit"] < 1
    grown = {row["what"]: row["cost"] for row in told["growth"]}
    assert grown["trial length"]["n_steps"] == 10
    assert grown["trial length"]["update_bytes"] > cost["update_bytes"]
    assert grown["environments"]["n_envs"] == 8
    assert grown["slots"]["parameters"] == cost["parameters"] < grown["width"]["parameters"]
    for name in ("collecting", "updating", "training", *grown):
        assert re.search(rf"^{name} ", ran.out, re.MULTILINE), name
    if cost["peak_bytes"] is not None:
        assert cost["peak_bytes"] > cost["start_bytes"] > 1e7


def test_growth_can_be_left_out_and_any_memory_measured(tmp_path: Path) -> None:
    file = tmp_path / "cost.json"
    small = settings("env.delay=1", "threads=1", "memory.controller=lstm")
    ran = run("bench", "train", "cue", *small, "--quick", "--grow", "--json", file)
    assert ran.status == 0, ran.err
    assert "growth" not in ran.out
    assert json.loads(file.read_text())["operations"]["collect"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bandid"], "did you mean 'bandit'?"),
        (["matching"], "the preset is 'matching (kind fewshot)', expected one of an agent"),
        (["--set", "env.pull=5"], "did you mean 'pulls'?"),
        (["--set", "memory.store=dnq"], "did you mean 'dnc'?"),
        (["--grow", "1"], "'1' is not a whole number of at least 2"),
        (["--json", "nowhere/cost.json"], "--json is 'nowhere/cost.json', expected a file in a folder that is there"),
        (["--import", "nothing_like_this"], "cannot import 'nothing_like_this'"),
        (["--device", "cuda:99"], "device is 'cuda:99'"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_measured(arguments: list[str], message: str) -> None:
    ran = run("bench", "train", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


def test_the_command_can_be_interrupted() -> None:
    given = [sys.executable, "-m", "metarl", "bench", "train", "--rollouts", "100000", "--grow"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(given, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True, **pipes) as ran:
        assert ran.stdout is not None
        assert ran.stdout.readline().startswith("environment: ")  # it is told when the training process begins
        ran.send_signal(signal.SIGTERM)
        out, err = ran.communicate(timeout=100)
    assert ran.returncode == 128 + signal.SIGTERM, err
    assert left(ran.pid) == []
    assert "interrupted" in out
    assert err == ""

"""The file for sweeps of Weights & Biases: its command is one of ours, with the parameters that an agent gives it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import AGENT, run, settings
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from metarl.runs.folder import RunFolder

FILE = Path(__file__).parents[3] / "scripts" / "sweep.yaml"


def command(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """What an agent of Weights & Biases starts."""
    given = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    words: list[str] = []
    for part in map(str, sweep["command"]):
        words += given[part[2:-1]] if part.startswith("${") else [part]
    return words


@pytest.mark.usefixtures("undrawn")
def test_its_command_trains_with_the_values_that_it_is_given(tmp_path: Path) -> None:
    sweep = yaml.safe_load(FILE.read_text())
    values = {
        name: one["values"][-1] if "values" in one else (one["min"] + one["max"]) / 2
        for name, one in sweep["parameters"].items()
    }
    metarl, *words = command(sweep, values)
    assert metarl == "metarl"
    words[words.index("online")] = "disabled"  # there is no server here
    small = settings(*AGENT, "env.arms=2", "env.pulls=4", "train.total_timesteps=32", "train.validate_every=16")
    ran = run(*words, *small, *settings("eval.validation_trials=4"), "--quiet", "--out", tmp_path / "run")
    assert (ran.status, ran.err) == (0, "")
    folder = RunFolder.open(tmp_path / "run")
    for name, value in values.items():
        section, _, key = name.partition(".")
        assert folder.config[section][key] == value
    assert folder.metrics()[-1][sweep["metric"]["name"]] is not None

"""Sweeps whose trainings take an instant."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command_line import Ran, run, settings

from metarl.cli.main import parser
from metarl.cli.sweep import sweep_of
from metarl.sweeps.sweep import Sweep

RECALL = ["recall", *settings("memory=gru", "fit.parameters=3000", "sequences=10", "fit.updates=2", "fit.key_size=8")]
NET = ["env.arms=3", "env.pulls=6", "memory.key_size=12", "memory.value_size=12", "threads=1", "train.n_envs=4"]
BANDIT = [
    "bandit",
    *settings(*NET, "memory.controller_options.hidden_size=8", "train.total_timesteps=96", "eval.validation_trials=4"),
    *settings("ppo.n_epochs=1", "eval.trials=4", "eval.tuning_trials=4"),
]


def sweep(*words: str | Path) -> Ran:
    return run("sweep", *words)


def of(words: Sequence[str | Path]) -> Sweep:
    """The sweep of a command."""
    return sweep_of(parser().parse_args(["sweep", *map(str, words)]))


def table(*words: str | Path) -> dict[str, Any]:
    """What ``metarl sweep --json`` prints."""
    ran = sweep(*words, "--json")
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert isinstance(told, dict)
    return told

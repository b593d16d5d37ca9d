"""What importing costs, and what it names."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import metarl

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("torch", "wandb", "matplotlib", "stable_baselines3", "scipy", "pydantic", "pandas", "rich")


def loaded_after(code: str) -> set[str]:
    """The top-level names of all modules that a fresh interpreter has loaded after ``code``."""
    show = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    run = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import metarl",
        "import metarl.envs; metarl.envs.distribution('metarl/BernoulliBandit-v0').sample_batch",
        "import metarl.agents",
        "import metarl; dir(metarl); metarl.TrialEnv; metarl.TaskDistribution; metarl.TrialVectorEnv",
        "import metarl, gymnasium; gymnasium.make_vec('metarl/BarcodeBandit-v0', num_envs=2).reset(seed=0)",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    loaded = loaded_after(code)
    assert {"metarl", "gymnasium"} <= loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_ids_are_registered_by_the_import() -> None:
    code = "import metarl, gymnasium as gym; assert gym.make('metarl/BernoulliBandit-v0').reset(seed=0)"
    assert "metarl" in loaded_after(code)


def test_the_public_names() -> None:
    for name in metarl.__all__:
        assert getattr(metarl, name).__name__ == name
        assert name in dir(metarl)
    assert metarl.RL2PPO is metarl.agents.RL2PPO
    with pytest.raises(AttributeError, match=r"'metarl' has no attribute 'RL3PPO'; its public names are .*RL2PPO"):
        _ = metarl.RL3PPO
    with pytest.raises(AttributeError, match=r"'metarl\.agents' has no attribute 'SAC'"):
        _ = metarl.agents.SAC


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metarl.__version__ == project["version"]

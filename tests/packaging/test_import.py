"""What importing costs, and what it names."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

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


FACES = ("metarl", "metarl.agents", "metarl.fewshot", "metarl.functional", "metarl.memory", "metarl.nets")
FACES += ("metarl.tasks", "metarl.training")


@pytest.mark.parametrize("face", FACES)
def test_public_names_can_be_imported_and_are_documented(face: str) -> None:
    module = import_module(face)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        public = getattr(module, name)
        assert public.__name__ in (name, "EnvFamily")  # from_env is the name of a class
        assert public.__doc__
    with pytest.raises(AttributeError, match="RL3PPO"):
        _ = module.RL3PPO


def test_a_name_means_the_same_everywhere() -> None:
    homes: dict[str, Any] = {}
    for module in map(import_module, FACES):
        for name in module.__all__:
            assert homes.setdefault(name, getattr(module, name)) is getattr(module, name)

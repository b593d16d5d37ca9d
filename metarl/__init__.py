"""Memory-based meta-learning: RL² agents with episodic memory, trained across task distributions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from metarl.envs.table import register_all

if TYPE_CHECKING:
    from metarl.agents.fewshot import FewShotClassifier
    from metarl.agents.rl2 import RL2PPO
    from metarl.experiments.rl.evaluate import evaluate
    from metarl.experiments.run import open_run, train
    from metarl.memory.options import MemoryOptions
    from metarl.tasks.family.distribution import TaskDistribution
    from metarl.tasks.family.env_family import from_env
    from metarl.tasks.family.ranges import Choice, Integers, LogUniform, Normal, Uniform
    from metarl.tasks.trial.env import TrialEnv
    from metarl.tasks.vector.env import TrialVectorEnv
    from metarl.training.ppo import PPOOptions

__all__ = [
    "RL2PPO",
    "Choice",
    "FewShotClassifier",
    "Integers",
    "LogUniform",
    "MemoryOptions",
    "Normal",
    "PPOOptions",
    "TaskDistribution",
    "TrialEnv",
    "TrialVectorEnv",
    "Uniform",
    "evaluate",
    "from_env",
    "open_run",
    "train",
]

__version__ = "0.1.0"

# Imported when first used, so that `import metarl` costs no more than registering the ids.
_HOMES = {
    **dict.fromkeys(("Choice", "Integers", "LogUniform", "Normal", "Uniform"), "metarl.tasks.family.ranges"),
    "FewShotClassifier": "metarl.agents.fewshot",
    "MemoryOptions": "metarl.memory.options",
    "PPOOptions": "metarl.training.ppo",
    "RL2PPO": "metarl.agents.rl2",
    "TaskDistribution": "metarl.tasks.family.distribution",
    "TrialEnv": "metarl.tasks.trial.env",
    "TrialVectorEnv": "metarl.tasks.vector.env",
    "evaluate": "metarl.experiments.rl.evaluate",
    "from_env": "metarl.tasks.family.env_family",
    "open_run": "metarl.experiments.run",
    "train": "metarl.experiments.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'metarl' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_all()

"""Scripts as modules, and evaluations of agents that nobody trained, for rows to be made of."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metarl.evaluation.results import ActorResult, AgentEvaluation, Difference, ReferenceResult

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
REPRODUCE = SCRIPTS / "reproduce"


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script as a module, under its own name, with its folder importable as when Python runs it."""
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def evaluation(mean: float, references: dict[str, float], error: float = 0.1) -> AgentEvaluation:
    """As ``metarl train`` writes it, as far as rows are made from it; memory off halves the mean."""

    def entry(value: float) -> dict[str, Any]:
        by_episode = {"by_episode": (value,), "by_episode_se": (error,), "by_exposure": (value,) * 10}
        return {"return_mean": value, "return_se": error, "return_interval": (value, value), **by_episode}

    def minus(value: float) -> Difference:
        return Difference(mean - value, (mean - value - 1.96 * error, mean - value + 1.96 * error))

    return AgentEvaluation(
        **entry(mean),
        env="toy",
        split="test",
        trials=20,
        seed=0,
        steps_per_trial=100,
        train_seconds=10 * mean,
        train_steps=400,
        references={name: ReferenceResult(**entry(one), agent_minus=minus(one)) for name, one in references.items()},
        ablations={"off": ActorResult(**entry(mean / 2)), "shuffled": ActorResult(**entry(mean / 4))},
    )

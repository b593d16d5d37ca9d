"""What is enlarged to see how training grows."""

from pathlib import Path
from typing import Any

import pytest

from metarl.config import InputError
from metarl.experiments.presets import load_experiment
from metarl.experiments.rl import growth as module
from metarl.experiments.rl.growth import GROWTH, NotHere, alone, growth

SMALL = {"train.n_envs": 4}


def enlarged(preset: str, what: str, factor: int = 2, **settings: Any) -> tuple[Any, dict[str, int]]:
    experiment: Any = load_experiment(preset, {**SMALL, **{k.replace("__", "."): v for k, v in settings.items()}})
    grown, changed = GROWTH[what](experiment, factor)
    return grown.check(), changed


@pytest.mark.parametrize("preset", ["bandit", "barcode", "mdp", "cartpole", "pendulum", "cue", "general"])
def test_trials_of_every_family_can_be_longer(preset: str) -> None:
    before: Any = load_experiment(preset, SMALL)
    grown, changed = enlarged(preset, "trial length", 3)
    assert grown.make_distribution("train").trial_steps == 3 * before.make_distribution("train").trial_steps
    assert grown.train.n_steps == (before.train.n_steps and 3 * before.train.n_steps)
    assert all(name.startswith(("env.", "train.n_steps")) for name in changed)


def test_slots() -> None:
    grown, changed = enlarged("mdp", "slots", 4, memory__store_options={})
    assert grown.memory.store_options == {"capacity": 400}  # by default a slot for each of 100 steps
    assert changed == {"memory.store_options.capacity": 400}
    grown, _ = enlarged("general", "slots")
    assert grown.memory.store_options["capacity"] == 1000
    grown, _ = enlarged("general", "slots", memory__store="dnc", memory__access="native")
    assert grown.memory.store_options == {"slots": 64}
    for preset, settings in (
        ("cartpole", {}),
        ("bandit", {}),
        ("general", {"memory__store": "delta", "memory__access": "native"}),
    ):
        with pytest.raises(NotHere):
            enlarged(preset, "slots", **settings)


def test_width() -> None:
    grown, _ = enlarged("bandit", "width")
    memory = grown.memory
    sizes = memory.key_size, memory.value_size, memory.action_size, memory.controller_options["hidden_size"]
    assert sizes == (192, 24, 64, 64)
    grown, changed = enlarged("cartpole", "width")
    assert changed == {"memory.controller_options.hidden_size": 128}
    grown, _ = enlarged("barcode-episodic", "width")
    assert grown.memory.value_size is None  # that of the cell
    before: Any = load_experiment("mdp", SMALL)
    after = enlarged("mdp", "width")[0]
    policies = (experiment.build(0, "cpu").policy for experiment in (before, after))
    small, large = (sum(p.numel() for p in policy.parameters()) for policy in policies)
    assert large > 1.5 * small


def test_environments() -> None:
    grown, changed = enlarged("bandit", "environments", 4)
    assert (grown.train.n_envs, changed) == (16, {"train.n_envs": 16})


def test_each_is_measured_with_each_factor_and_reasons_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fake(experiment: Any, rollouts: int, imports: Any) -> Any:
        if experiment.train.n_envs == 16:
            raise InputError("too large")
        seen.append(experiment)
        return len(seen)

    monkeypatch.setattr(module, "alone", fake)
    experiment: Any = load_experiment("cartpole", SMALL)
    made = [(g.what, g.factor, g.cost, g.reason) for g in growth(experiment, (2, 4), 1)]
    assert made == [
        ("trial length", 2, 1, ""),
        ("trial length", 4, 2, ""),
        ("environments", 2, 3, ""),
        ("environments", 4, None, "too large"),
        ("slots", 2, None, "there is no store"),
        ("width", 2, 4, ""),
        ("width", 4, 5, ""),
    ]


def test_errors_of_the_other_process_arrive_and_its_death_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    experiment: Any = load_experiment("bandit", {**SMALL, "env.pulls": 5})
    with pytest.raises(ModuleNotFoundError):
        alone(experiment, 1, ("nothing_like_this",))
    (tmp_path / "deadly.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="was killed"):
        alone(experiment, 1, ("deadly",))

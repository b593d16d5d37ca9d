"""scripts/reproduce/beyond.py: physics beyond those of training."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from results.rows import Row
from script_toys import REPRODUCE, load

from metarl.envs.cartpole_physics import CartPolePhysics


def test_either_end_goes_half_as_far_again(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(REPRODUCE / "beyond.py", monkeypatch)
    family = CartPolePhysics(length=(0.3, 1.0), masspole=(0.06, 2.0))
    assert module.beyond(family, ("length", "masspole"), "low") == {
        "length": pytest.approx((0.2, 0.3)),
        "masspole": pytest.approx((0.04, 0.06)),
    }
    assert module.beyond(family, ("length",), "high") == {"length": (1.0, 1.5)}
    for names, end in module.BEYOND.values():
        ranges = module.beyond(CartPolePhysics(), names, end)
        assert CartPolePhysics(**ranges).trial_steps == CartPolePhysics().trial_steps


def test_the_last_episode_is_compared_with_that_on_the_physics_of_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = load(REPRODUCE / "beyond.py", monkeypatch)
    rows: list[Row] = []
    asked: list[Any] = []

    def opened(run: Path, settings: Any) -> Any:
        asked.append({key[1]: ends for key, ends in settings})
        last = 100.0 if settings else 200.0
        played = SimpleNamespace(by_episode=(10.0, last), by_episode_se=(1.0, 2.0))
        return SimpleNamespace(
            experiment=SimpleNamespace(evaluate=lambda *_, **__: played), model=None, seed=int(run.name[-1])
        )

    trained = [SimpleNamespace(trials=20, train_seconds=3.0, train_steps=40)] * 2
    for name, fake in {"train": lambda *_: trained, "open_run": opened, "trained_at": lambda *_: "c"}.items():
        monkeypatch.setattr(module, name, fake)
    monkeypatch.setattr(sys.modules["common"], "save", lambda _, *made: rows.extend(made))
    monkeypatch.setattr(sys, "argv", ["beyond.py", "--seeds", "0", "1", "--out", str(tmp_path)])
    module.main()
    assert len(rows) == len(module.BEYOND)
    assert {row.ours for row in rows} == {0.5}
    assert rows[0].references == {"there, of 200": 100.0, "on the physics of training": 200.0}
    assert rows[0].se == pytest.approx(0.5 * (0.01**2 + 0.02**2) ** 0.5 / 2**0.5)
    assert asked[0] == {}
    assert asked[2] == {"length": [pytest.approx(0.2), 0.3]}

"""The page on the outer loop tells of every number that training logs, and of no other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import pytest

import metarl

pytestmark = pytest.mark.usefixtures("undrawn")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outer-loop.md"
SMALL = {
    "memory.store": "none",
    "memory.access": "none",
    "memory.controller_options.hidden_size": 8,
    "threads": 1,
    "train.n_envs": 4,
    "train.n_steps": 6,
    "train.total_timesteps": 48,
    "train.validate_every": 24,
    "eval.validation_trials": 3,
    "eval.trials": 4,
}


class Tells(gym.Env[Any, Any]):
    """An episode of two steps that tells whether it succeeded, and a score."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, pays: float = 0.5) -> None:
        self.pays = pays

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.left = 2
        return self.observation_space.sample() * 0, {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        told = {"success": bool(action), "score": 3.0}
        return self.observation_space.sample() * 0, self.pays * float(action), self.left == 0, False, told


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with patch.dict(gym.registry):
        gym.register("Tells-v0", Tells)
        yield


def documented() -> set[str]:
    """The names in the first column of the page's table."""
    return set(re.findall(r"^\| `([a-z]+/\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_logged_number_is_on_the_page_and_no_other() -> None:
    env = {"id": "Tells-v0", "vary": {"pays": "0.5..1"}, "episodes": 3, "steps": 6, "infos": ["score"]}
    run = metarl.train("general", settings={**{f"env.{name}": value for name, value in env.items()}, **SMALL})
    rows = [json.loads(line) for line in (run.folder.path / "metrics.jsonl").read_text().splitlines()]
    logged = {name for row in rows for name in row}
    text = PAGE.read_text(encoding="utf-8")
    for name in ("env_steps", "time"):  # of each row
        assert name in logged
        assert f"`{name}`" in text
    logged -= {"env_steps", "time"}
    assert "rollout/score_mean" in logged
    assert {"rollout/NAME_mean" if name == "rollout/score_mean" else name for name in logged} == documented()

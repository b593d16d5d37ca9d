"""What varies must change something."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from metarl import from_env
from metarl.envs import distribution
from metarl.tasks.check.check_env import check_env
from metarl.tasks.check.effect import without_effect


class Windy(gym.Env):
    """Walks along a line; the wind blows where it is switched on."""

    observation_space, action_space = spaces.Box(-np.inf, np.inf, (1,)), spaces.Discrete(2)

    def __init__(self, wind: float = 0.0, windy: bool = False, pay: float = 1.0) -> None:
        self.wind, self.windy, self.pay = wind, windy, pay

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.steps = float(self.np_random.standard_normal()), 0
        return np.array([self.at], np.float32), {}

    def step(self, action):
        self.at += action - 0.5 + self.wind * self.windy
        self.steps += 1
        return np.array([self.at], np.float32), self.pay * self.at, False, self.steps == 10, {}


VARIED: dict[str, Any] = {"wind": "0..1", "pay": "1..2"}


@pytest.mark.parametrize(("windy", "idle"), [(False, ["wind"]), (True, [])])
def test_a_value_that_changes_nothing_is_found(windy: bool, idle: list[str]) -> None:
    family = from_env(Windy, VARIED, kwargs={"windy": windy}, steps=20)
    assert without_effect(family) == idle
    (finding,) = (one for one in check_env(family) if one.name == "what varies")
    assert finding.level == ("advice" if idle else "kept"), "training warns, and goes on"
    assert "wind" in finding.message
    assert ("changes nothing" in finding.message) is bool(idle)


def test_choices_are_compared_by_their_ends_and_own_families_not_at_all() -> None:
    assert without_effect(from_env(Windy, {"windy": [False, True]}, steps=20)) == ["windy"], "without any wind"
    assert without_effect(from_env("CartPole-v1", {"length": "0.3..1.0"})) == []
    assert without_effect(from_env("CartPole-v1", levels=range(30))) == []
    assert without_effect(distribution("metarl/CartPolePhysics-v0")) == []

"""Actions of several parts and of real numbers are learned, in seconds: each must match what was just seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from metarl import RL2PPO
from metarl.evaluation.play import rollout_trials
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import Array, Bools, Ints

PARTS = spaces.MultiDiscrete([4, 3], start=[1, 0])
BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([4.0, 10.0], np.float32))
STEPS = 8


class Matching(BatchedEnv):
    """Shows a target for each part of the action, new at every step, and pays for coming close."""

    def __init__(self, space: Any, n: int) -> None:
        self.space, self.n = space, n

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        return self.show(rng)

    def show(self, rng: np.random.Generator) -> Array:
        if self.space is PARTS:
            self.target = rng.integers(PARTS.nvec, size=(self.n, 2))
        else:
            self.target = rng.uniform(-1, 1, (self.n, 2)).astype(np.float32)
        return self.target

    def step(self, actions: Array, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        if self.space is PARTS:
            pay = (actions - PARTS.start == self.target).mean(1)
        else:
            pay = -np.abs((actions - BOX.low) / (BOX.high - BOX.low) * 2 - 1 - self.target).mean(1)
        return self.show(rng), pay, np.zeros(self.n, np.bool_)


@dataclass(frozen=True, kw_only=True)
class MatchingFamily(TaskDistribution):
    """One task: to match what is shown, with one action or another."""

    real: bool
    family: ClassVar[str] = "Matching"

    trial_steps = STEPS
    task_space = spaces.Dict({"none": spaces.Discrete(1)})

    @property
    def observation_space(self) -> spaces.Space[Any]:
        return spaces.Box(-1.0, 1.0, (2,), np.float32) if self.real else spaces.MultiDiscrete(PARTS.nvec)

    @property
    def action_space(self) -> spaces.Space[Any]:
        return BOX if self.real else PARTS

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return {"none": np.zeros(n, np.int64)}

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        raise NotImplementedError("stepped as arrays alone")

    def batched(self, n: int) -> Matching:
        return Matching(self.action_space, n)


@pytest.mark.parametrize(
    ("real", "steps", "untrained", "least"),
    [(False, 15_000, 7 / 24, 0.9), (True, 20_000, -0.5, -0.1)],
    ids=["MultiDiscrete", "Box"],
)
def test_actions_that_must_match_are_learned(real: bool, steps: int, untrained: float, least: float) -> None:
    """Mean pay of a step: chance is (1/4 + 1/3) / 2 = 7/24; always the middle of the box gives -0.5."""
    family = MatchingFamily(real=real)
    memory = {"controller_options": {"hidden_size": 32}, "key_size": 8, "value_size": 8}
    agent = RL2PPO(
        "MemoryPolicy", TrialVectorEnv(family, 64), memory=memory, learning_rate=3e-3, n_minibatches=4, gamma=0.0
    )

    def score() -> float:
        env = lambda n: TrialVectorEnv(family.with_split("validation"), n)  # noqa: E731
        return float(rollout_trials(agent.actor(deterministic=real), env, 500).rewards.mean())

    assert score() == pytest.approx(untrained, abs=0.03)
    agent.learn(steps)
    assert score() >= least

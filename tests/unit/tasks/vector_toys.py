"""Families for the tests of vectors and workers: episodes of random lengths, and environments that fail."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from metarl.tasks.family.distribution import TaskBatch, TaskDistribution
from metarl.types import Array


class WalkEnv(gym.Env[Array, Any]):
    """A random walk that the action and the task push; an episode ends at a random step, or on leaving the range."""

    def __init__(self, push: float) -> None:
        self.push = push
        self.observation_space, self.action_space = WALK_SPACE, spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=2)
        return self.x.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.x = self.x + self.push * (2 * int(action) - 1) + self.np_random.normal(size=2)
        left, cut = bool(np.abs(self.x).max() > 5), bool(self.np_random.random() < 0.2)
        return self.x.astype(np.float32), float(self.x[0]), left, cut, {}


WALK_SPACE = spaces.Box(-100, 100, (2,), np.float32)


@dataclass(frozen=True, kw_only=True)
class Walk(TaskDistribution):
    """Trials of ``episodes`` walks, at most ``steps`` steps."""

    episodes: int = 3
    steps: int = 25
    family: ClassVar[str] = "Walk"

    observation_space = WALK_SPACE
    action_space = spaces.Discrete(2)
    task_space = spaces.Dict({"push": spaces.Box(0.0, 1.0, (), np.float64)})

    @property
    def trial_steps(self) -> int:
        return self.steps

    @property
    def trial_episodes(self) -> int:
        return self.episodes

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return {"push": rng.random(n)}

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        return WalkEnv(float(task["push"]))


class FailingEnv(WalkEnv):
    """Fails at the seventh step after its first reset, in the given way, where the task pushes little."""

    def __init__(self, push: float, how: str) -> None:
        super().__init__(push)
        self.how, self.steps = how, 0

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps == 7 and self.push < 0.3:
            if self.how == "raise":
                raise RuntimeError("the wheel came off at 100%")
            if self.how == "hang":
                print("hangs", flush=True)  # for whoever waits for it
                time.sleep(600)
            os._exit(3)
        return super().step(action)


@dataclass(frozen=True, kw_only=True)
class Failing(Walk):
    """Walks that fail in the way of ``how``: "raise", "hang" or "die"; trials are long enough for it."""

    how: str = "raise"
    episodes: int = 100
    steps: int = 10
    family: ClassVar[str] = "Failing"

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        return FailingEnv(float(task["push"]), self.how)


class FailingAtOnce(Walk):
    """Cannot be made."""

    family: ClassVar[str] = "FailingAtOnce"

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        raise FileNotFoundError("no such simulator")


@dataclass(frozen=True, kw_only=True)
class Fragile(Walk):
    """Trials of three steps; cannot be made where the task pushes little."""

    episodes: int = 100
    steps: int = 3
    family: ClassVar[str] = "Fragile"

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        if task["push"] < 0.3:
            raise FileNotFoundError("the simulator is gone")
        return super().make(task)


class Furnished(Walk):
    """Walks seen as a Dict."""

    family: ClassVar[str] = "Furnished"

    observation_space = spaces.Dict({"place": WALK_SPACE, "room": spaces.Discrete(4)})

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        def seen(x: Any) -> dict[str, Any]:
            return {"place": x, "room": int(abs(x[0])) % 4}

        return gym.wrappers.TransformObservation(super().make(task), seen, self.observation_space)


class Registered(Walk):
    """Walks made through an id of this module, as a user's own are."""

    family: ClassVar[str] = "Registered"

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        return gym.make(f"{__name__}:ToyWalk-v0", push=float(task["push"]), disable_env_checker=True)


gym.register("ToyWalk-v0", entry_point=f"{__name__}:WalkEnv")


class Constant:
    """A policy that always takes the first action."""

    def predict(self, obs: Any, state: None = None, **_: object) -> tuple[np.ndarray, None]:
        return np.zeros(len(obs["obs"]), int), None


def same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return set(a) == set(b) and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)

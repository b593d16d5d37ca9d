"""Trials are rendered as their inner environments are."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from metarl import TrialEnv, TrialVectorEnv, from_env
from metarl.config import InputError
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.tasks.vector.sb3 import as_vec_env


class Shown(gym.Env[Any, Any]):
    """A frame is as bright as the task says, plus the steps taken."""

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 7}  # noqa: RUF012 (Gymnasium's own declaration)
    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def __init__(self, goal: int = 0, render_mode: str | None = None) -> None:
        self.goal, self.render_mode, self.drawn = goal, render_mode, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.zeros(1, np.float32), 1.0, self.t == 3, False, {}

    def render(self) -> Any:
        return np.full((4, 5, 3), 100 * self.goal + self.t, np.uint8) if self.render_mode == "rgb_array" else None


def family(mode: str | None = "rgb_array", env: Any = Shown) -> Any:
    return from_env(env, {"goal": [0, 1]}, episodes=2, steps=6, kwargs={} if mode is None else {"render_mode": mode})


def test_a_trial_gives_the_frames_of_its_inner_environment() -> None:
    env = TrialEnv(family())
    assert env.render_mode == "rgb_array"
    assert (env.metadata["render_modes"], env.metadata["render_fps"]) == (["rgb_array", "human"], 7)
    with pytest.raises(gym.error.ResetNeeded):
        env.render()
    _, info = env.reset(seed=0)
    env.step(0)
    assert (env.render() == 100 * info["task"]["goal"] + 1).all()
    seen = gym.wrappers.AddRenderObservation(env, render_only=True)
    assert seen.reset(seed=0)[0].shape == (4, 5, 3)
    human = TrialEnv(family("human"))
    human.reset()
    assert (human.render_mode, human.render()) == ("human", None)


@pytest.mark.parametrize("kind", ["native", "sync", "SB3"])
def test_vectors_give_a_frame_for_each_row(kind: str) -> None:
    make = lambda: TrialEnv(family())  # noqa: E731
    vector: Any = {
        "native": lambda: TrialVectorEnv(family(), 3),
        "sync": lambda: SyncVectorEnv([make] * 3, autoreset_mode=AutoresetMode.SAME_STEP),
        "SB3": lambda: DummyVecEnv([make] * 3),
    }[kind]()
    env: Any = as_vec_env(vector)
    assert env.render_mode == "rgb_array"
    env.reset()
    env.step(np.zeros(3, int))
    frames = env.get_images()
    assert [frame.shape for frame in frames] == [(4, 5, 3)] * 3
    assert env.render().shape == (8, 10, 3), "one picture of all"
    if kind != "SB3":
        assert env.metadata["render_fps"] == 7
        assert isinstance(vector.render(), tuple)


def test_a_list_of_test_tasks_of_ones_own_is_rendered_too() -> None:
    kwargs = {"render_mode": "rgb_array"}
    env = TrialVectorEnv(from_env(Shown, levels=range(30), test=range(100, 120), episodes=2, steps=6, kwargs=kwargs), 2)
    env.reset()
    assert (env.render_mode, len(env.render())) == ("rgb_array", 2)


def test_without_a_render_mode_it_is_said_how_to_give_one() -> None:
    for env in (TrialEnv(family(None)), TrialVectorEnv(family(None), 2), TrialVectorEnv(BernoulliBandit(), 2)):
        assert env.render_mode is None
        env.reset()
        with pytest.raises(InputError) as error:
            env.render()
        assert error.value.key == "render_mode"


def test_rows_in_other_processes_cannot_be_rendered() -> None:
    env = TrialVectorEnv(family(), 2, workers=1)
    with pytest.raises(InputError) as error:
        env.render()
    assert error.value.key == "render_mode"
    env.close()

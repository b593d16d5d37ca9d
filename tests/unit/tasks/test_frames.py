"""Every family of this package draws its trials."""

import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecVideoRecorder

from metarl import TrialEnv, TrialVectorEnv, as_vec_env
from metarl.config import InputError
from metarl.envs import distribution, ids
from metarl.envs.single import SingleEnv
from metarl.types import Bytes

BANDIT = "metarl/BernoulliBandit-v0"


def frames(id: str, truth: bool = True, steps: int = 5) -> list[Bytes]:
    """A frame at the start and after each step of a trial with random actions."""
    env = TrialEnv(distribution(id), render_mode="rgb_array")
    env.reset(seed=1)
    assert isinstance(env.inner, SingleEnv)
    env.inner.truth = truth
    env.action_space.seed(0)
    found = [env.render()]
    for _ in range(steps):
        env.step(env.action_space.sample())
        found.append(env.render())
    return found


@pytest.mark.parametrize("id", ids())
def test_a_family_draws_each_step_the_same_way_every_time(id: str) -> None:
    shown = frames(id)
    assert {(frame.shape, frame.dtype) for frame in shown} == {((360, 480, 3), np.dtype("uint8"))}
    assert all((a != b).any() for a, b in pairwise(shown)), "each step can be seen"
    assert (np.stack(shown) == np.stack(frames(id))).all()
    assert (shown[-1] != frames(id, truth=False)[-1]).any(), "what the agent is not told can be hidden"


def test_another_trial_begins_with_no_pulls() -> None:
    env = TrialEnv(distribution(BANDIT, pulls=4), render_mode="rgb_array")
    env.reset(seed=1)
    first = env.render()
    for _ in range(4):
        env.step(2)
    assert (env.render() != first).any()
    env.reset(seed=1)
    assert (env.render() == first).all()


def test_gymnasium_makes_frames_and_lists_of_them() -> None:
    env = gym.make(BANDIT, pulls=3, render_mode="rgb_array")
    assert (env.render_mode, env.metadata["render_fps"]) == ("rgb_array", 10)
    env.reset(seed=0)
    assert np.asarray(env.render()).shape == (360, 480, 3)
    several = gym.make(BANDIT, pulls=3, render_mode="rgb_array_list")
    several.reset(seed=0)
    several.step(1)
    assert len(several.render() or ()) == 2


def test_a_window_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.warns(UserWarning, match="HumanRendering"):
        env = gym.make(BANDIT, pulls=3, render_mode="human")
    env.reset(seed=0)
    env.step(1)
    assert env.render_mode == "human"
    env.close()


def test_gymnasium_and_sb3_record_videos_of_trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: list[Any] = []

    class Clip:
        def __init__(self, images: Any, fps: float) -> None:
            written.append((len(images), fps))

        def write_videofile(self, path: str, **options: Any) -> None:
            written.append(Path(path).name)

    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["moviepy.video.io.ImageSequenceClip"], "ImageSequenceClip", Clip, raising=False)
    made = gym.make(BANDIT, pulls=3, render_mode="rgb_array")
    env = gym.wrappers.RecordVideo(made, str(tmp_path / "videos"), episode_trigger=lambda number: True)
    env.reset(seed=0)
    for _ in range(3):
        env.step(0)
    env.close()
    assert written == [(4, 10), "rl-video-episode-0.mp4"]
    written.clear()
    rows = as_vec_env(TrialVectorEnv(distribution(BANDIT, pulls=3).rendered("rgb_array"), 2))
    recorded = VecVideoRecorder(rows, str(tmp_path / "rows"), lambda step: step == 0, 2)
    recorded.reset()
    for _ in range(4):
        recorded.step(np.zeros(2, int))
    recorded.close()
    assert written == [(3, 10), "rl-video-step-0-to-step-2.mp4"]


def test_rows_of_trials_are_drawn_too() -> None:
    env = TrialVectorEnv(distribution(BANDIT, pulls=3).rendered("rgb_array"), 2)
    env.reset(seed=0)
    a, b = env.render()
    assert a.shape == (360, 480, 3)
    assert (a != b).any(), "different tasks"


def test_modes_that_no_frame_has_are_refused() -> None:
    for mode in ("human", "ansi", 3):
        with pytest.raises(InputError, match="expected rgb_array"):
            TrialEnv(distribution(BANDIT), render_mode=mode)  # type: ignore[arg-type]  # wrong on purpose
    assert distribution(BANDIT).rendered("rgb_array").with_split("test").render_mode == "rgb_array"

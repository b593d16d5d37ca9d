"""Learning that goes on: in pieces, after loading, in longer trials, and under wrappers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rl2_toys import FAMILY, ROLLOUT, ROWS, make, parameters, same, vector
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from metarl import RL2PPO, TrialVectorEnv
from metarl.config import InputError
from metarl.tasks.vector.sb3 import as_vec_env


def moved(agent: RL2PPO, **options: Any) -> float:
    """How far a call of ``learn`` moves the weights."""
    before = parameters(agent)
    agent.learn(2 * ROLLOUT, reset_num_timesteps=False, **options)
    return max(float((p - q).abs().max()) for p, q in zip(parameters(agent), before, strict=True))


def test_learning_in_pieces_and_after_loading_goes_on(tmp_path: Path) -> None:
    agent = make()
    assert min(moved(agent) for _ in range(4)) > 1e-3
    agent.save(tmp_path / "agent.zip")
    again = RL2PPO.load(tmp_path / "agent.zip", vector())
    assert moved(again) > 1e-3
    assert again.num_timesteps == 10 * ROLLOUT


def test_a_schedule_of_ones_own_that_has_ended_is_said() -> None:
    agent = make(schedule_steps=2 * ROLLOUT)
    agent.learn(2 * ROLLOUT)
    with pytest.warns(UserWarning, match="schedule_steps"):
        assert moved(agent) < 1e-6
    lasting = make(schedule_steps=2 * ROLLOUT, learning_rate_end=1e-3)
    lasting.learn(2 * ROLLOUT)
    assert moved(lasting) > 1e-4


@pytest.mark.parametrize("how", ["set_env", "load"])
def test_longer_trials_are_taken_up(how: str, tmp_path: Path) -> None:
    agent, longer = make(), TrialVectorEnv(replace(FAMILY, repeats=5), ROWS)
    agent.learn(ROLLOUT)
    learned = parameters(agent)
    if how == "set_env":
        agent.set_env(longer)
    else:
        agent.save(tmp_path / "agent.zip")
        agent = RL2PPO.load(tmp_path / "agent.zip", longer)
    steps = longer.trial_steps
    memory: Any = agent.policy.core.memory
    assert (agent.trial_steps, memory.store.capacity) == (steps, steps)
    assert same(parameters(agent), learned)
    agent.learn(ROWS * steps, log_interval=None, reset_num_timesteps=False)
    assert agent.num_timesteps == ROLLOUT + ROWS * steps
    assert dict(agent.logger.name_to_value)["train/ratio_error"] < 1e-5


def test_flags_and_masks_are_not_normalised() -> None:
    vectors = as_vec_env(vector())
    with pytest.raises(InputError) as caught:
        make(VecNormalize(vectors))
    assert caught.value.key == "norm_obs_keys"
    assert "prev_done" in caught.value.given
    assert moved(make(VecNormalize(vectors, norm_obs_keys=["obs"]))) > 1e-3


class Scaled(VecEnvWrapper):
    """Changes one part of all observations."""

    def __init__(self, venv: VecEnv, key: str, by: float, shift: float) -> None:
        super().__init__(venv)
        self.key, self.by, self.shift = key, by, shift

    def reset(self) -> Any:
        return self.seen(self.venv.reset())

    def step_wait(self) -> Any:
        obs, *rest = self.venv.step_wait()
        return self.seen(obs), *rest

    def seen(self, obs: Any) -> Any:
        return {**obs, self.key: obs[self.key] * np.float32(self.by) + np.float32(self.shift)}


@pytest.mark.parametrize(
    ("key", "by", "shift"), [("prev_done", 0.5, 0), ("prev_done", 1, 0.1), ("prev_action", 1, 0.1), ("time", 1, 1)]
)
def test_a_wrapper_of_any_kind_that_changes_flags_is_refused(key: str, by: float, shift: float) -> None:
    with pytest.raises(InputError) as error:
        make(Scaled(as_vec_env(vector()), key, by, shift)).learn(2 * ROLLOUT)
    assert error.value.key == key
    make(Scaled(as_vec_env(vector()), "obs", 2.0, 1.0)).learn(ROLLOUT)

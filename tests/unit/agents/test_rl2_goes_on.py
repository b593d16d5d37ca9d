"""Learning that goes on: in pieces, after loading, in longer trials, and under wrappers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rl2_toys import FAMILY, ROLLOUT, ROWS, make, parameters, same, vector
from stable_baselines3.common.vec_env import VecNormalize

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
    agent.learn(ROWS * steps, reset_num_timesteps=False)
    assert agent.num_timesteps == ROLLOUT + ROWS * steps
    assert agent.logger.name_to_value["train/ratio_error"] < 1e-5


def test_flags_and_masks_are_not_normalised() -> None:
    vectors = as_vec_env(vector())
    with pytest.raises(InputError) as caught:
        make(VecNormalize(vectors))
    assert caught.value.key == "norm_obs_keys"
    assert "prev_done" in caught.value.given
    assert moved(make(VecNormalize(vectors, norm_obs_keys=["obs"]))) > 1e-3

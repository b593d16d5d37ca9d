"""RL2PPO in files, and training that goes on from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rl2_toys import ALONE, MEMORY, ROLLOUT, ROWS, STEPS, make, parameters, same, trials, vector

from metarl.agents.rl2 import RL2PPO
from metarl.envs import distribution
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.checkpoint import CheckpointError, optimizer_to_tensors, write_checkpoint


def test_a_loaded_agent_predicts_the_same(tmp_path: Path) -> None:
    agent = make().learn(2 * ROLLOUT)
    agent.save(tmp_path / "agent")
    assert (tmp_path / "agent.zip").is_file()
    loaded = RL2PPO.load(tmp_path / "agent.zip", device="cpu")
    assert loaded.env is None
    for deterministic in (True, False):
        states: list[Any] = [None, None]
        for obs in trials(4):
            left, states[0] = agent.predict(obs, states[0], deterministic=deterministic)
            right, states[1] = loaded.predict(obs, states[1], deterministic=deterministic)
            assert np.array_equal(left, right)
    with pytest.raises(ValueError, match=r"no environment to learn in; call set_env\(env\) first"):
        loaded.learn(ROLLOUT)
    before = parameters(agent)
    loaded.set_env(vector())
    loaded.learn(ROLLOUT)
    assert same(parameters(agent), before)
    assert not same(parameters(loaded), before)


@pytest.mark.parametrize("memory", [MEMORY, ALONE], ids=["episodic", "alone"])
@pytest.mark.parametrize("n_steps", [None, 5], ids=["whole trials", "mid-trial"])
def test_training_resumed_is_training_never_interrupted(tmp_path: Path, memory: Any, n_steps: int | None) -> None:
    rollouts = 3
    half = rollouts * ROWS * (n_steps or STEPS)
    options = {"memory": memory, "n_steps": n_steps, "schedule_steps": 2 * half, "seed": 3}
    whole = make(**options).learn(2 * half)
    make(**options).learn(half).save(tmp_path / "half")
    resumed = RL2PPO.load(tmp_path / "half", env=vector(), device="cpu")
    assert resumed.num_timesteps == half
    resumed.learn(half, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps == 2 * half
    assert same(parameters(resumed), parameters(whole))
    left, right = (optimizer_to_tensors(agent.optimizer) for agent in (whole, resumed))
    assert set(left) == set(right)
    assert all(torch.equal(tensor, right[name]) for name, tensor in left.items())
    for name, generator in whole.generators.items():
        assert torch.equal(generator.get_state(), resumed.generators[name].get_state())
    states: list[Any] = [agent.env.state_dict()["env"] for agent in (whole, resumed)]  # type: ignore[union-attr]
    assert states[0]["tasks_rng"] == states[1]["tasks_rng"]
    assert states[0]["env_rng"] == states[1]["env_rng"]
    assert np.array_equal(states[0]["steps"], states[1]["steps"])


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        RL2PPO.load(tmp_path / "none")
    write_checkpoint(tmp_path / "other.zip", {"kind": "classifier"}, {})
    with pytest.raises(CheckpointError, match="holds a 'classifier', not an agent of RL2PPO"):
        RL2PPO.load(tmp_path / "other")
    make().save(tmp_path / "agent")
    RL2PPO.load(tmp_path / "agent", env=vector(), device="cpu").learn(ROLLOUT)
    wider = TrialVectorEnv(distribution("metarl/BernoulliBandit-v0", arms=4, pulls=5), ROWS)
    with pytest.raises(ValueError, match=r"the environment has spaces .* was trained on .*same options"):
        RL2PPO.load(tmp_path / "agent", env=wider, device="cpu")
    with pytest.raises(ValueError, match="a checkpoint is always whole"):
        make().save(tmp_path / "part", exclude=["policy"])
    assert not (tmp_path / "part.zip").exists()


def test_another_environment(tmp_path: Path) -> None:
    agent = make().learn(ROLLOUT)
    agent.set_env(vector("validation"))
    agent.learn(ROLLOUT, reset_num_timesteps=False)
    with pytest.raises(ValueError, match=r"has 3 rows, the agent 4; load\(path, env\) changes that number"):
        agent.set_env(vector(n=3))
    with pytest.raises(ValueError, match="spaces do not match"):
        agent.set_env(vector(time=False))
    agent.save(tmp_path / "agent")
    more = RL2PPO.load(tmp_path / "agent", env=vector(n=7), device="cpu")
    assert more.n_envs == 7
    assert more.learn(7 * STEPS, reset_num_timesteps=False).num_timesteps == 2 * ROLLOUT + 7 * STEPS

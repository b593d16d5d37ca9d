"""Agents that imitate an expert in training: they learn, go on exactly, and need nobody at test."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from rl2_toys import parameters, same
from stable_baselines3.common.vec_env import VecNormalize

from metarl import RL2PPO, TrialEnv, TrialVectorEnv, from_env, rollout_trials
from metarl.agents.rl2_expert import imitations
from metarl.config import ConfigError, InputError
from metarl.envs import distribution
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.vector.sb3 import as_vec_env
from metarl.training.checkpoint import CheckpointError
from metarl.types import Boundary

ROWS = 6
BANDIT = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=8)
MDP = distribution("metarl/TabularMDP-v0", states=3, actions=3, horizon=3, episodes=3)
MEMORY = {"controller": "gru", "store": "none", "access": "none", "controller_options": {"hidden_size": 8}}
PSRL = {"expert": "PSRL", "until": 0.8}


def make(family: Any = BANDIT, imitation: Any = None, **options: Any) -> RL2PPO:
    options = {"memory": MEMORY, "n_minibatches": 2, "n_epochs": 2, "device": "cpu", "seed": 1, **options}
    return RL2PPO("MemoryPolicy", TrialVectorEnv(family, ROWS), imitation=imitation, **options)


def logged(agent: RL2PPO, name: str) -> float:
    """What the last update reported; to be asked after learning with ``log_interval=None``."""
    return float(dict(agent.logger.name_to_value)[f"train/{name}"])


@pytest.mark.parametrize("steps", [None, 7], ids=["whole trials", "parts of trials"])
def test_training_goes_on_exactly_with_its_expert(steps: int | None, tmp_path: Path) -> None:
    half = 4 * ROWS * (steps or MDP.trial_steps)
    options = {"imitation": PSRL, "n_steps": steps, "schedule_steps": 2 * half}
    whole = make(MDP, **options).learn(2 * half)
    make(MDP, **options).learn(half).save(tmp_path / "half")
    resumed = RL2PPO.load(tmp_path / "half", env=TrialVectorEnv(MDP, ROWS), device="cpu")
    assert resumed.imitation == whole.imitation
    resumed.learn(half, reset_num_timesteps=False)
    assert same(parameters(resumed), parameters(whole))
    again = make(MDP, **options).learn(2 * half)
    assert same(parameters(again), parameters(whole))


def test_an_expert_changes_what_is_learned() -> None:
    plain, told = (make(BANDIT, given).learn(2 * ROWS * 8, log_interval=None) for given in (None, {"expert": "greedy"}))
    learned = [[p.detach().clone() for p in agent.policy.core.parameters()] for agent in (plain, told)]
    assert not same(*learned)
    assert logged(told, "ratio_error") < 1e-5


def test_an_agent_plays_without_its_expert(tmp_path: Path) -> None:
    agent = make(BANDIT, {"expert": "Gittins"}).learn(2 * ROWS * 8)
    agent.save(tmp_path / "agent")
    loaded = RL2PPO.load(tmp_path / "agent", device="cpu")
    played = [
        rollout_trials(one.actor(), lambda n: TrialVectorEnv(BANDIT.with_split("test"), n), 20, rows=10)
        for one in (agent, loaded)
    ]
    assert np.array_equal(played[0].rewards, played[1].rewards)
    env = TrialEnv(BANDIT.with_split("test"))
    action, _ = loaded.predict(env.reset(seed=0)[0], episode_start=np.ones(1, bool))
    assert action in range(3)


def test_an_expert_is_imitated_until_its_time_is_over() -> None:
    """Almost all that is learned at first is what Gittins does."""
    rollout, seen = 64 * 8, []

    def note(local: dict[str, Any], _: Any) -> bool:
        seen.append(dict(local["self"].logger.name_to_value))
        return True

    env = TrialVectorEnv(BANDIT, 64)
    imitation = {"expert": "Gittins", "until": 0.5, "weight": 10.0}
    options: dict[str, Any] = {"memory": MEMORY, "imitation": imitation, "learning_rate": 1e-2, "device": "cpu"}
    agent = RL2PPO("MemoryPolicy", env, **options, learning_rate_end=1e-2, n_minibatches=4, seed=0)
    agent.learn(16 * rollout, callback=note, log_interval=None)
    updates = [row for row in seen if "train/imitation_loss" in row]
    losses, weights = ([row[f"train/imitation_{name}"] for row in updates] for name in ("loss", "weight"))
    assert losses[0] == pytest.approx(np.log(3), abs=0.1)
    assert min(losses) < 0.75 * np.log(3)
    assert weights[0] == pytest.approx(10)
    assert min(weights) == pytest.approx(10 / 8)


def informed(tmp_path: Path, **options: Any) -> Path:
    family = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=8, reveal=True)
    make(family, **options).learn(3 * ROWS * 8).save(tmp_path / "informed.zip")
    return tmp_path / "informed.zip"


def test_an_informed_agent_is_told_the_task_and_imitated(tmp_path: Path) -> None:
    path = informed(tmp_path)
    agent = make(BANDIT, {"expert": str(path)})
    agent.learn(ROWS * 8, log_interval=None)
    assert logged(agent, "imitation_loss") > 0
    env: Any = agent.env
    obs = env.reset()
    told = imitations(agent, 10**6)()
    begin = np.full(ROWS, Boundary.TRIAL)
    told.look(obs, begin, agent.policy.head, agent.device)
    assert told.expert is not None
    revealed = env.trials.layout.with_task(obs, env.trials.told_tasks)
    actor = RL2PPO.load(path, device="cpu").actor(deterministic=True)
    actor.reset(ROWS, np.random.default_rng(0))
    assert told._actions[0].tolist() == actor.act(revealed, begin).tolist()


def test_a_training_that_has_left_its_expert_behind_needs_no_file(tmp_path: Path) -> None:
    path = informed(tmp_path)
    options: dict[str, Any] = {"expert": str(path), "until": 0.1}
    make(BANDIT, options, schedule_steps=8 * ROWS * 8).learn(2 * ROWS * 8).save(tmp_path / "half")
    path.unlink()
    agent = RL2PPO.load(tmp_path / "half", env=TrialVectorEnv(BANDIT, ROWS), device="cpu")
    agent.learn(ROWS * 8, reset_num_timesteps=False)
    with pytest.raises(CheckpointError):
        make(BANDIT, options).learn(ROWS * 8)


def test_an_expert_that_sees_other_things_is_refused(tmp_path: Path) -> None:
    make(BANDIT).save(tmp_path / "uninformed.zip")
    with pytest.raises(InputError) as caught:
        make(BANDIT, {"expert": str(tmp_path / "uninformed.zip")}).learn(ROWS * 8)
    assert caught.value.key == "imitation.expert"
    with pytest.raises(InputError) as caught:
        make(MDP, {"expert": str(informed(tmp_path))}).learn(ROWS * 9)
    assert caught.value.key == "imitation.expert"


PENDULUM = distribution("metarl/PendulumGoal-v0")
SINGLE = gym.vector.SyncVectorEnv([lambda: TrialEnv(BANDIT)] * 2)


def test_an_expert_takes_its_parameter() -> None:
    """Left out it is that of an untuned planner, and another one makes another planner."""
    planner = {"expert": "Bayes bonus, replanned", "until": 1.0}
    asked = []
    for options in (planner, planner | {"parameter": 0.75}, planner | {"parameter": 50.0}):
        agent = make(MDP, options)
        agent.learn(ROWS * MDP.trial_steps, log_interval=None)
        asked.append(logged(agent, "imitation_loss"))
    assert asked[0] == asked[1] != asked[2]  # untuned it is .75


@pytest.mark.parametrize(("expert", "parameter"), [("PSRL", 1.0), ("Bayes bonus", -1.0), ("some/run", 1.0)])
def test_a_parameter_that_the_expert_does_not_take_is_refused(expert: str, parameter: float) -> None:
    with pytest.raises(ConfigError) as caught:
        make(MDP, {"expert": expert, "parameter": parameter})
    assert caught.value.key == "imitation.parameter"
    assert "\n" not in str(caught.value)


def test_a_parameter_of_nobody_is_refused() -> None:
    family = from_env("CartPole-v1", levels=range(100_000), steps=5)
    for given in ({"parameter": 1.0}, {"expert": "some/run", "parameter": 1.0}):
        with pytest.raises(ConfigError, match="parameter"):
            make(family, given)


@pytest.mark.parametrize(
    ("env", "expert"),
    [
        (from_env("CartPole-v1", levels=range(100_000), steps=5), "some/run"),
        (SINGLE, "Gittins"),
        (VecNormalize(as_vec_env(BANDIT, 2), norm_obs=False), "Gittins"),
        (BANDIT, "Gitins"),
        (MDP, "Gittins"),
        (PENDULUM, "some/run"),
        (TrialVectorEnv(BANDIT, 2, inputs=TrialInputs(prev_reward=False)), "Gittins"),
        (TrialVectorEnv(BANDIT, 2, inputs=TrialInputs(prev_reward_scale=0.1)), "Gittins"),
        (distribution("metarl/BernoulliBandit-v0", reveal=True), "Gittins"),
    ],
)
def test_an_expert_that_does_not_fit_is_refused_at_once(env: Any, expert: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RL2PPO("MemoryPolicy", env, n_envs=2, memory=MEMORY, imitation={"expert": expert})
    assert caught.value.key == "imitation.expert"
    assert "\n" not in str(caught.value)

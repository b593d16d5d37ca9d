from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from vector_toys import Constant

from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.foreign import as_trials
from metarl.tasks.vector.sb3 import TrialVecEnv, as_vec_env

FAMILY = BernoulliBandit(arms=3, pulls=5)


def sync(n: int) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: TrialEnv(FAMILY)] * n, autoreset_mode=AutoresetMode.SAME_STEP)


@pytest.fixture(params=["native", "sync"])
def env(request: pytest.FixtureRequest) -> TrialVecEnv:
    made = as_vec_env(TrialVectorEnv(FAMILY, 3) if request.param == "native" else sync(3))
    assert isinstance(made, TrialVecEnv)
    return made


def test_infos_only_where_a_trial_ends(env: TrialVecEnv) -> None:
    env.seed(0)
    obs: Any = env.reset()
    tasks = [info["task"]["rates"] for info in env.reset_infos]
    assert obs["obs"].shape == (3, 1)
    total = np.zeros(3)
    for step in range(1, 11):
        obs, rewards, done, infos = env.step(np.array([0, 1, 2]))
        total += rewards
        assert rewards.dtype == np.float32
        assert done.tolist() == [step % 5 == 0] * 3
        if step % 5:
            assert infos == [{}, {}, {}]
            continue
        for i, info in enumerate(infos):
            assert info["terminal_observation"]["time"].tolist() == [1.0]
            assert info["terminal_observation"]["prev_reward"] == rewards[i]
            assert info["TimeLimit.truncated"] is False
            assert (info["episode"]["r"], info["episode"]["l"]) == (total[i], 5)
            assert info["episode"]["t"] >= 0
            assert not np.array_equal(env.reset_infos[i]["task"]["rates"], tasks[i])
        assert obs["time"].tolist() == [[0.0]] * 3
        total[:] = 0


def test_a_truncated_row_is_told_from_a_terminated_one() -> None:
    """A time limit below the trial's steps truncates, which SB3 must be able to see."""
    limited = SyncVectorEnv(
        [partial(gym.wrappers.TimeLimit, TrialEnv(FAMILY), limit) for limit in (3, 50)],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    env = as_vec_env(limited)
    env.reset()
    seen = [env.step(np.zeros(2, int))[2:] for _ in range(5)]
    assert seen[2][0].tolist() == [True, False]
    assert seen[2][1][0]["TimeLimit.truncated"] is True
    assert seen[2][1][1] == {}
    assert seen[4][0].tolist() == [False, True]
    assert seen[4][1][1]["TimeLimit.truncated"] is False


def test_seed_is_used_once(env: TrialVecEnv) -> None:
    def rates() -> np.ndarray:
        env.reset()
        return np.array([info["task"]["rates"] for info in env.reset_infos])

    assert env.seed(4) == [4, 5, 6]
    first = rates()
    assert not np.array_equal(first, rates())
    env.seed(4)
    assert np.array_equal(first, rates())
    assert env.seed(None) == [None] * 3


def test_options_pin_the_tasks_of_one_trial() -> None:
    env = as_vec_env(TrialVectorEnv(FAMILY, 2))
    tasks = {"rates": np.array([[0, 0, 1], [1, 0, 0]], np.float32)}
    env.set_options({"tasks": tasks})
    env.reset()
    assert env.step(np.array([2, 0]))[1].tolist() == [1.0, 1.0]
    env.reset()
    assert not np.array_equal(env.reset_infos[0]["task"]["rates"], tasks["rates"][0])
    with pytest.raises(ValueError, match="one dict of options"):
        env.set_options([{}, {}])


def test_attributes_and_methods(env: TrialVecEnv) -> None:
    assert env.get_attr("trial_steps") == [5, 5, 5]
    assert env.get_attr("trial_steps", 1) == [5]
    assert env.get_attr("trial_steps", [0, 2]) == [5, 5]
    assert not env.has_attr("no_such_thing")
    env.set_attr("mark", "x")
    assert env.get_attr("mark") == ["x"] * 3
    with pytest.raises(ValueError, match="all rows only"):
        env.set_attr("mark", "y", 0)
    env.reset()
    assert len(env.env_method("close", indices=[0, 1])) == 2


def test_wrappers_are_reported() -> None:
    ordered = SyncVectorEnv(
        [lambda: gym.wrappers.OrderEnforcing(TrialEnv(FAMILY))] * 2, autoreset_mode=AutoresetMode.SAME_STEP
    )
    assert is_wrapped(ordered.envs[0], gym.wrappers.OrderEnforcing)
    assert as_vec_env(ordered).env_is_wrapped(gym.wrappers.OrderEnforcing) == [True, True]
    native = as_vec_env(TrialVectorEnv(FAMILY, 2))
    assert native.env_is_wrapped(gym.wrappers.OrderEnforcing, indices=0) == [False]
    assert native.env_is_wrapped(Monitor) == [True, True]


def test_evaluate_policy_reads_whole_trials(env: TrialVecEnv) -> None:
    env.seed(0)
    returns, lengths = evaluate_policy(Constant(), env, n_eval_episodes=9, return_episode_rewards=True)  # type: ignore[arg-type]
    assert lengths == [5] * 9
    assert all(0 <= r <= 5 for r in returns)  # type: ignore[union-attr]


def test_state_goes_on_with_its_running_returns_where_there_is_one() -> None:
    envs = [as_vec_env(TrialVectorEnv(FAMILY, 2)) for _ in range(2)]
    envs[0].seed(0)
    envs[0].reset()
    for _ in range(3):
        envs[0].step(np.zeros(2, int))
    envs[1].load_state_dict(envs[0].state_dict())  # type: ignore[attr-defined]
    ends = [[env.step(np.zeros(2, int)) for _ in range(2)][-1][3] for env in envs]
    assert [i["episode"]["r"] for i in ends[0]] == [i["episode"]["r"] for i in ends[1]]
    assert [i["episode"]["l"] for i in ends[1]] == [5, 5]
    stateless: Any = as_vec_env(sync(2))
    for call in (stateless.state_dict, lambda: stateless.load_state_dict({})):
        with pytest.raises(TypeError, match="native"):
            call()


def test_other_environments_and_mixed_splits_are_refused() -> None:
    cart = SyncVectorEnv([lambda: gym.make("CartPole-v1")], autoreset_mode=AutoresetMode.SAME_STEP)
    for env in (cart, DummyVecEnv([lambda: gym.make("CartPole-v1")])):
        with pytest.raises(ValueError, match="TrialEnv"):
            as_vec_env(env)
    with pytest.raises(TypeError, match="dict"):
        as_vec_env({})
    unknown = sync(2)
    unknown.metadata = {"autoreset_mode": "sometimes"}
    with pytest.raises(ValueError, match="'sometimes'"):
        as_vec_env(unknown)
    mixed = sync(2)
    mixed.envs[1] = TrialEnv(BernoulliBandit(arms=3, pulls=5, split="test"))
    with pytest.raises(ValueError, match="splits test, train"):
        _ = as_trials(mixed).split


@pytest.mark.parametrize(
    ("env", "rows"),
    [
        ("metarl/BernoulliBandit-v0", 4),
        (FAMILY, 4),
        (TrialEnv(FAMILY), 1),
        ([lambda: TrialEnv(FAMILY)] * 3, 3),
        (TrialVectorEnv(FAMILY, 5), 5),
        (DummyVecEnv([lambda: Monitor(TrialEnv(FAMILY)) for _ in range(2)]), 2),
    ],
    ids=["id", "distribution", "environment", "functions", "vector", "VecEnv"],
)
def test_anything_that_plays_trials_becomes_a_vec_env(env: Any, rows: int) -> None:
    made = as_vec_env(env, n_envs=4)
    made.seed(0)
    obs = made.reset()
    assert isinstance(obs, dict)
    assert obs["prev_reward"].shape == (rows, 1)
    assert set(made.get_attr("split")) == {"train"}
    for _ in range(made.get_attr("trial_steps")[0]):
        _, rewards, done, infos = made.step(np.zeros(rows, int))
    assert done.all()
    assert all("episode" in info for info in infos)
    assert rewards.shape == (rows,)

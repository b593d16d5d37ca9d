from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from vector_toys import Walk, same

from metarl.envs.barcode_bandit import BarcodeBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.envs.gaussian_bandit import GaussianBandit
from metarl.tasks.family.distribution import BatchedEnv, TaskDistribution
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.env import TrialVectorEnv, make_trial_vector

FAMILIES = [
    BernoulliBandit(arms=3, pulls=7),
    BarcodeBandit(arms=3, contexts=2, repeats=2, pulls=2, bits=5),
    BarcodeBandit(arms=3, contexts=3, repeats=2, pulls=1, bits=5, each_arm_best_once=True, reveal=True),
    BarcodeBandit(arms=3, contexts=2, repeats=2, pulls=2, bits=5, flips=2),
]


@pytest.mark.parametrize("family", [*FAMILIES, GaussianBandit(arms=3, pulls=3, noise=0.0)], ids=lambda f: f.family)
def test_single_sync_and_native_agree_bit_for_bit(family: TaskDistribution) -> None:
    n = 4
    if isinstance(family, BarcodeBandit):
        family = replace(family, high=1.0, low=0.0)  # rewards are sure, and so are rates of 0 and 1 below
    drawn = family.sample_batch(np.random.default_rng(3), n)
    tasks = {name: np.rint(part) if name == "rates" else part for name, part in drawn.items()}
    native = TrialVectorEnv(family, n)
    sync = SyncVectorEnv([lambda: TrialEnv(family)] * n, autoreset_mode=AutoresetMode.SAME_STEP)
    singles = [TrialEnv(family) for _ in range(n)]
    sync.reset(seed=0)
    firsts = [
        env.reset(options={"task": family.task(tasks, i)})[0]
        for envs in (sync.envs, singles)
        for i, env in enumerate(envs)
    ]
    obs, _ = native.reset(seed=0, options={"tasks": tasks})
    assert all(same({k: v[i % n] for k, v in obs.items()}, first) for i, first in enumerate(firsts))
    rng, total = np.random.default_rng(0), 0.0
    for step in range(1, family.trial_steps + 1):
        actions = rng.integers(3, size=n)
        last = step == family.trial_steps
        obs, rewards, terminated, truncated, info = native.step(actions)
        sync_obs, sync_rewards, sync_terminated, sync_truncated, sync_info = sync.step(actions)
        true = info["final_obs"] if last else obs
        assert np.array_equal(rewards, sync_rewards)
        assert rewards.dtype == sync_rewards.dtype
        assert np.array_equal(terminated, sync_terminated)
        assert terminated.all() == terminated.any() == last
        assert not truncated.any()
        assert not sync_truncated.any()
        if not last:
            assert same(obs, sync_obs)
            assert info == {}
        for i, env in enumerate(singles):
            single_obs, reward, *_ = env.step(actions[i])
            row = {k: v[i] for k, v in true.items()}
            assert same(row, single_obs)
            assert reward == rewards[i]
            if last:
                assert same(row, sync_info["final_obs"][i])
        total += rewards.sum()
    assert total != 0
    assert info["_final_obs"].all()
    assert info["_task"].all()
    assert not same(info["task"], tasks)


@pytest.mark.parametrize("family", [*FAMILIES, Walk()], ids=lambda f: f.family)
def test_returned_arrays_are_fresh_and_lie_in_their_space(family: TaskDistribution) -> None:
    env = TrialVectorEnv(family, 2)
    kept: list[dict[str, Any]] = [env.reset(seed=0)[0]]
    copies = [{k: v.copy() for k, v in kept[0].items()}]
    for _ in range(family.trial_steps + 2):
        obs, rewards, *_, info = env.step(np.array([0, 1]))
        assert env.observation_space.contains(obs)
        assert not info or env.observation_space.contains(info["final_obs"])
        for batch in (obs, info.get("final_obs", {}), {"reward": rewards}):
            kept.append(batch)
            copies.append({k: v.copy() for k, v in batch.items()})
    assert all(same(a, b) for a, b in zip(kept, copies, strict=True))
    arrays = [v for batch in kept for v in batch.values()]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_tampering_with_the_reported_tasks_changes_nothing() -> None:
    envs = [TrialVectorEnv(FAMILIES[1], 2) for _ in range(2)]
    infos = [env.reset(seed=0)[1] for env in envs]
    for values in infos[0]["task"].values():
        values[:] = 0
    for _ in range(6):
        steps = [env.step(np.array([0, 1])) for env in envs]
        assert same(steps[0][0], steps[1][0])


def test_seed_zero_is_reproducible_over_trials() -> None:
    env = TrialVectorEnv(FAMILIES[1], 3)

    def run(seed: int) -> list[np.ndarray]:
        out: list[np.ndarray] = [env.reset(seed=seed)[0]["obs"]]
        for t in range(20):
            obs, rewards, *_ = env.step(np.full(3, t % 3))
            out += [obs["obs"], rewards]
        return out

    env.reset()
    first, second, other = run(0), run(0), run(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_unseeded_environments_differ_and_report_their_entropy() -> None:
    envs = [TrialVectorEnv(FAMILIES[0], 2) for _ in range(2)]
    rates = [env.reset()[1]["task"]["rates"] for env in envs]
    assert not np.array_equal(*rates)
    again = TrialVectorEnv(FAMILIES[0], 2).reset(seed=envs[0].np_random_seed)[1]["task"]["rates"]
    assert np.array_equal(again, rates[0])


def test_rows_and_workers_have_different_tasks() -> None:
    native = TrialVectorEnv(BernoulliBandit(), 8)
    sync = SyncVectorEnv([lambda: TrialEnv(BernoulliBandit())] * 8, autoreset_mode=AutoresetMode.SAME_STEP)
    for env in (native, sync):
        rates = env.reset(seed=0)[1]["task"]["rates"]
        assert len({tuple(row) for row in rates}) == 8


def test_a_state_of_another_environment_and_use_before_reset_are_refused() -> None:
    env = TrialVectorEnv(FAMILIES[0], 3)
    for use in (lambda: env.step(np.zeros(3, int)), env.state_dict):
        with pytest.raises(gym.error.ResetNeeded):
            use()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="same options"):
        TrialVectorEnv(FAMILIES[0], 4).load_state_dict(env.state_dict())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"task": {}}, "reset option"),
        ({"tasks": {"rate": np.zeros((2, 3))}}, "keys"),
        ({"tasks": {"rates": np.zeros((3, 3))}}, r"\(2, 3\)"),
        ({"tasks": {"rates": np.full((2, 3), np.nan)}}, "outside"),
    ],
)
def test_bad_reset_options(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TrialVectorEnv(FAMILIES[0], 2).reset(options=options)


def test_bad_actions_name_the_row_and_leave_the_trial_as_it_was() -> None:
    env = TrialVectorEnv(FAMILIES[0], 2)
    env.reset(seed=0)
    before = env.state_dict()
    with pytest.raises(ValueError, match="action 3 of row 1"):
        env.step(np.array([0, 3]))
    assert env.state_dict()["env_rng"] == before["env_rng"]
    assert env.state_dict()["steps"].tolist() == [0, 0]


class Slow(BernoulliBandit):
    def batched(self, n: int) -> BatchedEnv | None:  # type: ignore[override]  # None: stepped row by row here
        return None


def test_a_family_without_batched_dynamics_is_stepped_one_by_one() -> None:
    env = TrialVectorEnv(Slow(arms=2, pulls=3), 2)
    env.reset(seed=0, options={"tasks": {"rates": np.array([[1.0, 0.0], [0.0, 1.0]])}})
    _, rewards, ended, _, _ = env.step(np.array([0, 0]))
    assert rewards.tolist() == [1, 0]
    assert not ended.any()


def test_of_environments_that_cannot_be_saved_the_generators_are() -> None:
    def rates(env: TrialVectorEnv, pulls: int) -> list[list[float]]:
        for _ in range(pulls):
            env.advance(np.zeros(2, np.int64))
        return env.info["task"]["rates"].tolist() if pulls else []

    env, again = (TrialVectorEnv(Slow(arms=2, pulls=3), 2) for _ in range(2))
    env.reset(seed=5)
    drawn = [rates(env, 3)]
    begins = env.state_dict()
    env.advance(np.zeros(2, np.int64))
    inside = env.state_dict()
    drawn.append(rates(env, 2))
    assert (begins["exact"], inside["exact"]) == (True, False)
    again.load_state_dict(begins)
    assert again.reset()[1]["task"]["rates"].tolist() == drawn[0]  # the trials that were about to begin
    assert rates(again, 3) == drawn[1]
    again.load_state_dict(inside)
    assert again.reset()[1]["task"]["rates"].tolist() == drawn[1]  # those after them
    with pytest.raises(ValueError, match="train tasks"):
        TrialVectorEnv(Slow(arms=2, pulls=3, split="validation"), 2).load_generators(begins)


def test_only_the_trials_own_time_limit_is_accepted() -> None:
    name = "metarl.envs.bernoulli_bandit:BernoulliBandit"
    assert make_trial_vector(name, 2, max_episode_steps=60, pulls=60).trial_steps == 60
    with pytest.raises(ValueError, match="a trial has 60 steps"):
        make_trial_vector(name, 2, max_episode_steps=50, pulls=60)

import numpy as np
import pytest
from scipy import stats

from metarl.envs.tabular_mdp import TabularMDP
from metarl.tasks.family.distribution import Task
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.env import TrialVectorEnv


def certain(states: int, actions: int, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """MDPs where every action leads to one state for sure."""
    rng = np.random.default_rng(seed)
    return {
        "rewards": rng.standard_normal((n, states, actions)).astype(np.float32),
        "transitions": np.eye(states, dtype=np.float32)[rng.integers(states, size=(n, states, actions))],
    }


def test_rewards_and_transitions_follow_their_priors() -> None:
    family = TabularMDP(states=4, actions=3)
    tasks = family.sample_batch(np.random.default_rng(0), 5_000)
    assert {name: (x.shape, x.dtype) for name, x in tasks.items()} == {
        "rewards": ((5_000, 4, 3), np.float32),
        "transitions": ((5_000, 4, 3, 4), np.float32),
    }
    assert np.abs(tasks["transitions"].sum(axis=3) - 1).max() < 1e-6
    assert stats.kstest(tasks["rewards"].ravel(), stats.norm(1, 1).cdf).pvalue > 0.01
    for state in range(4):  # each chance of Dirichlet(1, 1, 1, 1) is Beta(1, 3)
        assert stats.kstest(tasks["transitions"][..., state].ravel(), stats.beta(1, 3).cdf).pvalue > 0.01


def test_single_and_batched_are_equal_where_nothing_is_random() -> None:
    family = TabularMDP(states=4, actions=3, horizon=5, episodes=3, noise=0.0)
    tasks, actions = certain(4, 3, 6), np.random.default_rng(1).integers(3, size=(15, 6))
    many = TrialVectorEnv(family, 6)
    rows, _ = many.reset(seed=0, options={"tasks": tasks})
    singles = [TrialEnv(family) for _ in range(6)]
    for i, env in enumerate(singles):
        obs, _ = env.reset(seed=i, options={"task": family.task(tasks, i)})
        assert all(np.array_equal(obs[key], rows[key][i]) for key in rows)
    for step, action in enumerate(actions):
        rows, rewards, ended, _, info = many.step(action)
        rows = info.get("final_obs", rows)
        for i, env in enumerate(singles):
            obs, reward, terminated, _, _ = env.step(action[i])
            assert reward == pytest.approx(rewards[i], abs=1e-6)
            assert terminated == ended[i] == (step == 14)
            for key in rows:
                np.testing.assert_allclose(obs[key], rows[key][i], atol=1e-6)


def test_an_episode_has_its_horizon_and_begins_in_state_0() -> None:
    family = TabularMDP(states=3, actions=2, horizon=4, episodes=2, noise=0.0)
    tasks = certain(3, 2, 1)
    tasks["transitions"][:] = np.roll(np.eye(3), 1, axis=1)[:, None]  # 0 to 1 to 2 to 0, whatever is done
    env = TrialVectorEnv(family, 1)
    obs, _ = env.reset(seed=0, options={"tasks": tasks})
    states, dones = [int(obs["obs"].argmax())], [0.0]
    for _ in range(7):
        obs, *_ = env.step(np.zeros(1, int))
        states.append(int(obs["obs"].argmax()))
        dones.append(float(obs["prev_done"][0, 0]))
    assert states == [0, 1, 2, 0, 0, 1, 2, 0]
    assert dones == [0, 0, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("kind", ["single", "batched"])
def test_steps_follow_the_task(kind: str) -> None:
    """Next states by a chi-square test and noisy rewards by a Kolmogorov-Smirnov test, in 20,000 steps from state 0."""
    family = TabularMDP(states=4, actions=2, horizon=2, noise=0.5)
    task = {k: v[0] for k, v in family.sample_batch(np.random.default_rng(3), 1).items()}
    n, action = 20_000, 1
    if kind == "batched":
        many = family.batched(n)
        many.start({k: np.repeat(v[None], n, 0) for k, v in task.items()}, np.random.default_rng(0))
        states, rewards, done = many.step(np.full(n, action), np.random.default_rng(1))
        assert not done.any()
    else:
        env = family.make(task)
        env.reset(seed=0)
        steps = []
        for _ in range(n):
            env.reset()
            steps.append(env.step(np.int64(action))[:2])
        states, rewards = (np.array(x) for x in zip(*steps, strict=True))
    expected = n * task["transitions"][0, action].astype(float)
    assert stats.chisquare(np.bincount(states, minlength=4), expected / expected.sum() * n).pvalue > 0.01
    assert stats.kstest(rewards, stats.norm(task["rewards"][0, action], 0.5).cdf).pvalue > 0.01


def test_transitions_must_sum_to_one() -> None:
    family = TabularMDP(states=2, actions=2)
    tasks = family.sample_batch(np.random.default_rng(0), 3)
    tasks["transitions"][1, 1, 0] *= 0.5
    with pytest.raises(ValueError, match=r"transitions must sum to one over their last axis; some are 0\.5 away"):
        TrialVectorEnv(family, 3).reset(seed=0, options={"tasks": tasks})
    task = Task.from_arrays(family.family, {k: v[1] for k, v in tasks.items()})
    with pytest.raises(ValueError, match="transitions must sum to one"):
        TrialEnv(family).reset(seed=0, options={"task": task})

import numpy as np
import pytest
from scipy import stats

from metarl.envs.gaussian_bandit import GaussianBandit
from metarl.tasks.vector.env import TrialVectorEnv


def test_means_are_independent_and_standard_normal() -> None:
    means = GaussianBandit(arms=3).sample_batch(np.random.default_rng(0), 20_000)["means"]
    assert means.dtype == np.float32
    assert stats.kstest(means.ravel(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(means.T) - np.eye(3)).max() < 0.03


def test_without_noise_arms_pay_their_means() -> None:
    family = GaussianBandit(arms=3, pulls=3, noise=0.0)
    tasks = family.sample_batch(np.random.default_rng(0), 4)
    many = TrialVectorEnv(family, 4)
    many.reset(seed=0, options={"tasks": tasks})
    for arm in range(3):
        obs, rewards, *_ = many.step(np.full(4, arm))
        assert (rewards == tasks["means"][:, arm]).all()
        assert (obs["prev_done"] == (arm < 2)).all()  # the third observation is the next trial's first


@pytest.mark.parametrize("kind", ["single", "batched"])
def test_noise_is_normal(kind: str) -> None:
    family, n = GaussianBandit(arms=2, pulls=1, noise=0.5), 10_000
    means = np.array([-1.0, 2.0], np.float32)
    if kind == "batched":
        many = family.batched(n)
        many.start({"means": np.tile(means, (n, 1))}, np.random.default_rng(0))
        rewards = many.step(np.ones(n, int), np.random.default_rng(1))[1]
    else:
        env = family.make({"means": means})
        env.reset(seed=0)
        rewards = np.array([env.step(np.int64(1))[1] for _ in range(n)])
    assert stats.kstest(rewards, stats.norm(2.0, 0.5).cdf).pvalue > 0.01

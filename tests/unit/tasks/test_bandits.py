from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from metarl.envs.barcode_bandit import BarcodeBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.envs.gaussian_bandit import GaussianBandit
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.env import TrialVectorEnv


def sample(family: TaskDistribution, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    return family.sample_batch(np.random.default_rng(seed), n)


def returns_single(family: TaskDistribution, trials: int, seed: int) -> np.ndarray:
    env, out = TrialEnv(family), np.zeros(trials)
    for i in range(trials):
        env.reset(seed=seed if i == 0 else None)
        out[i] = sum(env.step(t % 2)[1] for t in range(family.trial_steps))
    return out


def returns_native(family: TaskDistribution, trials: int, seed: int) -> np.ndarray:
    env = TrialVectorEnv(family, trials)
    env.reset(seed=seed)
    return sum((env.step(np.full(trials, t % 2))[1] for t in range(family.trial_steps)), np.zeros(trials))


@pytest.mark.parametrize(
    "family",
    [
        BernoulliBandit(arms=2, pulls=5),
        BernoulliBandit(arms=2, pulls=5, dependence="easy"),
        BarcodeBandit(arms=2, contexts=2, repeats=1, pulls=2, bits=3),
    ],
    ids=lambda f: f.family,
)
def test_random_rewards_equal_in_distribution(family: TaskDistribution) -> None:
    """Samples of 4,000 single and 40,000 native trials, compared by a chi-square test on the returns."""
    single, native = returns_single(family, 4_000, seed=1), returns_native(family, 40_000, seed=2)
    table = np.array([np.bincount(x.astype(int), minlength=family.trial_steps + 1) for x in (single, native)])
    assert stats.chi2_contingency(table).pvalue > 0.01


@pytest.mark.parametrize(
    ("family", "part", "law"),
    [(BernoulliBandit(arms=3), "rates", "uniform"), (GaussianBandit(arms=3), "means", "norm")],
)
def test_arms_are_independent_and_follow_their_prior(family: TaskDistribution, part: str, law: str) -> None:
    drawn = sample(family, 20_000)[part]
    assert drawn.dtype == np.float32
    assert stats.kstest(drawn.ravel(), law).pvalue > 0.01
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.03


def test_dependent_rates_add_up_to_one() -> None:
    """A uniform rate, or one of two with equal chances; three of these families have no tasks to hold out."""
    for dependence, low in {"uniform": None, "easy": 0.1, "medium": 0.25, "hard": 0.4}.items():
        family = BernoulliBandit(arms=2, dependence=dependence)
        rates = sample(family, 20_000)["rates"]
        assert rates.dtype == np.float32
        assert rates.sum(1) == pytest.approx(1)
        assert family.in_distribution == (low is not None)
        if low is None:
            assert stats.kstest(rates[:, 0], "uniform").pvalue > 0.01
        else:
            assert sorted(set(rates[:, 0].tolist())) == pytest.approx([low, 1 - low])
            assert abs((rates[:, 0] > 0.5).mean() - 0.5) < 4 * 0.5 / 20_000**0.5
    assert not BernoulliBandit().in_distribution


def test_bernoulli_pays_at_the_rate_of_the_arm_pulled() -> None:
    rates = np.tile(np.array([0.0, 0.3, 1.0], np.float32), (30_000, 1))
    env = TrialVectorEnv(BernoulliBandit(arms=3, pulls=3), 30_000)
    env.reset(seed=0, options={"tasks": {"rates": rates}})
    means = [env.step(np.full(30_000, arm))[1].mean() for arm in range(3)]
    assert means[0] == 0
    assert abs(means[1] - 0.3) < 0.01
    assert means[2] == 1


def test_gaussian_arms_without_noise_pay_their_means() -> None:
    family = GaussianBandit(arms=3, pulls=3, noise=0.0)
    tasks = sample(family, 4)
    many = TrialVectorEnv(family, 4)
    many.reset(seed=0, options={"tasks": tasks})
    for arm in range(3):
        obs, rewards, *_ = many.step(np.full(4, arm))
        assert (rewards == tasks["means"][:, arm]).all()
        assert (obs["prev_done"] == (arm < 2)).all()  # the third observation is the next trial's first


@pytest.mark.parametrize("kind", ["single", "batched"])
def test_gaussian_noise_is_normal(kind: str) -> None:
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


@pytest.mark.parametrize(("contexts", "bits"), [(10, 20), (8, 3), (5, 3), (2, 62), (1, 1)])
def test_barcode_contexts_are_distinct(contexts: int, bits: int) -> None:
    batch = sample(BarcodeBandit(contexts=contexts, bits=bits), 500)["contexts"]
    assert set(np.unique(batch)) <= {0, 1}
    assert all(len(np.unique(rows, axis=0)) == contexts for rows in batch)


def test_barcode_contexts_are_uniform() -> None:
    batch = sample(BarcodeBandit(contexts=3, bits=3), 20_000)["contexts"]
    codes = batch @ (1 << np.arange(3))
    for position in range(3):
        assert stats.chisquare(np.bincount(codes[:, position], minlength=8)).pvalue > 0.01


def test_barcode_best_arms_are_uniform_and_independent() -> None:
    best = sample(BarcodeBandit(arms=4, contexts=3), 20_000)["best"]
    assert all(stats.chisquare(np.bincount(column, minlength=4)).pvalue > 0.01 for column in best.T)
    pairs = np.zeros((4, 4), int)
    np.add.at(pairs, (best[:, 0], best[:, 1]), 1)
    assert stats.chi2_contingency(pairs).pvalue > 0.01


@pytest.mark.parametrize(
    ("options", "part", "each"),
    [({"arms": 4, "contexts": 4, "each_arm_best_once": True}, "best", 1), ({"contexts": 4, "repeats": 3}, "order", 3)],
    ids=["each arm is best once", "the order meets each context"],
)
def test_barcode_numbers_come_equally_often(options: dict[str, Any], part: str, each: int) -> None:
    drawn = sample(BarcodeBandit(**options), 5_000)[part]
    assert (np.sort(drawn, axis=1) == np.repeat(np.arange(4), each)).all()
    assert stats.chisquare(np.bincount(drawn[:, 0], minlength=4)).pvalue > 0.01


def test_barcode_shows_other_bits_flipped_in_each_episode_and_changes_nothing_else() -> None:
    plain, flipped = (BarcodeBandit(contexts=3, repeats=4, pulls=2, bits=6, flips=flips) for flips in (0, 2))
    drawn, of_plain = sample(flipped, 3_000), sample(plain, 3_000)
    assert set(drawn) - set(of_plain) == {"flipped"}
    assert all(np.array_equal(drawn[name], part) for name, part in of_plain.items())
    assert (drawn["flipped"].sum(2) == 2).all()
    pairs = drawn["flipped"].reshape(-1, 6) @ (1 << np.arange(6))
    assert stats.chisquare(np.unique(pairs, return_counts=True)[1]).pvalue > 0.01  # of all 15 pairs
    assert len(np.unique(pairs)) == 15
    same = (drawn["flipped"][:, :-1] == drawn["flipped"][:, 1:]).all(2).mean()
    assert same == pytest.approx(1 / 15, abs=4 * (1 / 15 / 33_000) ** 0.5)  # each episode draws its own
    env = TrialEnv(flipped)
    obs, info = env.reset(seed=0)
    task = info["task"]
    for step in range(flipped.trial_steps):
        barcode = task["contexts"][task["order"][step // 2]] != task["flipped"][step // 2]
        assert np.array_equal(obs["obs"], barcode)
        obs, *_ = env.step(0)


def test_barcode_meets_a_context_again_after_a_gap_in_any_order_that_allows_it() -> None:
    family = BarcodeBandit(contexts=4, repeats=3, gap=2)
    order = sample(family, 24_000)["order"]
    assert (np.sort(order.reshape(-1, 3, 4), axis=2) == np.arange(4)).all()  # in rounds
    place = order.reshape(-1, 3, 4).argsort(2) + 4 * np.arange(3)[:, None]
    assert np.diff(place, axis=1).min() == 3  # two others between
    possible = [p for p in permutations(range(4)) if all(new >= old - 1 for new, old in zip(p, range(4), strict=True))]
    assert len(possible) == 8
    for earlier, later in ((0, 1), (1, 2)):
        moves = (place[:, later] % 4)[np.arange(len(order))[:, None], order.reshape(-1, 3, 4)[:, earlier]]
        counts = [(moves == one).all(1).sum() for one in possible]
        assert sum(counts) == len(order)
        assert stats.chisquare(counts).pvalue > 0.01
    first = sample(BarcodeBandit(contexts=4, repeats=2, gap=0), 5_000)["order"][:, 4]
    assert stats.chisquare(np.bincount(first, minlength=4)).pvalue > 0.01
    assert (
        np.diff(sample(BarcodeBandit(contexts=4, repeats=2, gap=3), 10)["order"].reshape(-1, 2, 4), axis=1) == 0
    ).all()


def test_barcode_shows_the_context_at_every_pull_and_pays_its_best_arm() -> None:
    family = BarcodeBandit(arms=3, contexts=2, repeats=2, pulls=2, bits=4, high=1.0, low=0.0)
    env = TrialEnv(family)
    obs, info = env.reset(seed=0)
    task = info["task"]
    for step in range(family.trial_steps):
        context = task["order"][step // 2]
        assert np.array_equal(obs["obs"], task["contexts"][context])
        arm = step % 3
        obs, reward, *_ = env.step(arm)
        assert reward == (arm == task["best"][context])
        assert obs["prev_done"] == (step % 2 == 1)

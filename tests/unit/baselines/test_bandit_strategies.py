from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from baseline_play import Continued, feedback_of, play_bandit
from gymnasium import spaces

from metarl.agents.baselines.bandit import (
    UCB1,
    DependentArms,
    EpsilonGreedy,
    FiniteHorizonGittins,
    Greedy,
    OptimisticThompson,
    Thompson,
)
from metarl.agents.baselines.bayes import bayes_optimal_value, dependent_value
from metarl.agents.baselines.common import Random, random_argmax
from metarl.agents.baselines.gaussian import GaussianGreedy, GaussianUCB
from metarl.tasks.family.priors import BernoulliPrior, GaussianPrior
from metarl.types import Actor, Boundary

TASKS = 20_000
STRATEGIES: dict[str, Callable[[BernoulliPrior], Actor]] = {
    "random": lambda prior: Random(spaces.Discrete(prior.arms)),
    "greedy": Greedy,
    "epsilon-greedy 1": lambda prior: EpsilonGreedy(prior, 1),
    "UCB1 .1": lambda prior: UCB1(prior, 0.1),
    "UCB1 .2": lambda prior: UCB1(prior, 0.2),
    "Thompson": Thompson,
    "OTS 7": lambda prior: OptimisticThompson(prior, 7),
    "Gittins": FiniteHorizonGittins,
}


# Values recomputed from the definitions with 10k to 100k tasks elsewhere, with their standard errors (0: exact).
@pytest.mark.parametrize(
    ("arms", "pulls", "name", "value", "error"),
    [
        (10, 100, "random", 50.0, 0),
        (10, 100, "epsilon-greedy 1", 50.0, 0),
        (5, 10, "greedy", 6.63, 0.01),
        (10, 10, "greedy", 6.68, 0.01),
        (5, 100, "greedy", 75.96, 0.16),
        (10, 100, "greedy", 79.2, 0.13),
        (5, 10, "UCB1 .1", 6.65, 0.01),
        (10, 10, "UCB1 .1", 6.71, 0.01),
        (5, 100, "UCB1 .2", 78.8, 0.16),
        (10, 100, "UCB1 .2", 83.2, 0.12),
        (5, 10, "Thompson", 5.83, 0.01),
        (10, 10, "Thompson", 5.58, 0.01),
        (5, 100, "Thompson", 75.1, 0.16),
        (10, 100, "Thompson", 77.2, 0.12),
        (5, 100, "Gittins", 78.57, 0.16),
        (10, 100, "Gittins", 83.56, 0.12),
        (50, 100, "Gittins", 85.65, 0.09),
    ],
)
def test_mean_return(arms: int, pulls: int, name: str, value: float, error: float) -> None:
    prior = BernoulliPrior(arms, pulls)
    returns = play_bandit(STRATEGIES[name](prior), prior, TASKS)
    assert returns.mean() == pytest.approx(value, abs=4 * np.hypot(error, returns.std() / TASKS**0.5))


@pytest.mark.parametrize(("arms", "pulls"), [(5, 10), (10, 10), (50, 10), (2, 100)])
def test_gittins_reaches_the_optimum(arms: int, pulls: int) -> None:
    prior = BernoulliPrior(arms, pulls)
    returns = play_bandit(FiniteHorizonGittins(prior), prior, TASKS)
    assert returns.mean() == pytest.approx(bayes_optimal_value(arms, pulls), abs=4 * returns.std() / TASKS**0.5)


def test_order_on_the_same_tasks() -> None:
    prior = BernoulliPrior(10, 100)
    names = ["Gittins", "UCB1 .2", "greedy", "Thompson", "random"]
    returns = [play_bandit(STRATEGIES[name](prior), prior, TASKS) for name in names]
    for better, worse in pairwise(returns):
        gain = better - worse
        assert gain.mean() > 2 * gain.std() / TASKS**0.5


def test_epsilon_zero_is_greedy_and_c_zero_too() -> None:
    prior = BernoulliPrior(4, 30)
    greedy = play_bandit(Greedy(prior), prior, TASKS)
    assert (play_bandit(UCB1(prior, 0), prior, TASKS) == greedy).all()
    gain = play_bandit(EpsilonGreedy(prior, 0), prior, TASKS) - greedy  # draws more numbers, so breaks ties otherwise
    assert abs(gain.mean()) < 4 * gain.std() / TASKS**0.5
    normal = GaussianPrior(4, 20, 1.0)
    greedy = play_bandit(GaussianGreedy(normal), normal, 500)
    assert (play_bandit(GaussianUCB(normal, 0), normal, 500) == greedy).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_same_seed_same_returns(name: str) -> None:
    prior = BernoulliPrior(3, 20)
    actor = STRATEGIES[name](prior)
    first = play_bandit(actor, prior, 50)
    play_bandit(actor, prior, 30, seed=1)
    assert (play_bandit(actor, prior, 50) == first).all()


def test_ties_are_broken_uniformly() -> None:
    rng = np.random.default_rng(0)
    scores = np.tile([0.5, 1.0, 1.0, 1.0], (30_000, 1))
    counts = np.bincount(random_argmax(scores, rng), minlength=4)
    assert counts[0] == 0
    assert abs(counts[1:] - 10_000).max() < 4 * (30_000 * 2 / 9) ** 0.5


@pytest.mark.parametrize(
    "actor",
    [
        *(STRATEGIES[name](BernoulliPrior(3, 10)) for name in ("greedy", "UCB1 .1", "Gittins")),
        GaussianGreedy(GaussianPrior(3, 10, 1.0)),
    ],
    ids=lambda actor: type(actor).__name__,
)
def test_a_trial_resets_its_row_alone(actor: Actor) -> None:
    n = 3000
    actor.reset(n, np.random.default_rng(0))
    actor.act(feedback_of(3, None, None, n), np.full(n, Boundary.TRIAL))
    begin = np.where(np.arange(n) % 2, Boundary.TRIAL, Boundary.EPISODE)
    obs = feedback_of(3, np.full(n, 2), np.ones(n), n)
    obs["prev_action"][1::2] = 0
    obs["prev_reward"][1::2] = 0
    action = actor.act(obs, begin)
    assert (action[::2] == 2).all()
    assert np.bincount(action[1::2], minlength=3).min() > 400


def test_trials_follow_one_another() -> None:
    prior = BernoulliPrior(10, 10)
    actor = Continued(FiniteHorizonGittins(prior), TASKS)
    for seed in range(3):
        returns = play_bandit(actor, prior, TASKS, seed)
        assert returns.mean() == pytest.approx(bayes_optimal_value(10, 10), abs=4 * returns.std() / TASKS**0.5)


def test_thompson_follows_the_evidence() -> None:
    n, prior = 2000, BernoulliPrior(2, 100)
    actor = Thompson(prior)
    actor.reset(n, np.random.default_rng(0))
    actor.act(feedback_of(2, None, None, n), np.full(n, Boundary.TRIAL))
    action = actor.act(feedback_of(2, np.ones(n, int), np.ones(n), n), np.full(n, Boundary.EPISODE))
    # P(Beta(2, 1) > Beta(1, 1)) = 2/3.
    assert action.mean() == pytest.approx(2 / 3, abs=4 * (2 / 9 / n) ** 0.5)


def test_optimistic_thompson_lies_between_thompson_and_the_mode() -> None:
    n, prior = 20_000, BernoulliPrior(2, 100)

    def chosen(samples: float) -> float:
        """How often arm 1 is pulled after one success of it and one failure of arm 0."""
        actor = OptimisticThompson(prior, samples)
        actor.reset(n, np.random.default_rng(0))
        actor.act(feedback_of(2, None, None, n), np.full(n, Boundary.TRIAL))
        actor.act(feedback_of(2, np.ones(n, int), np.ones(n), n), np.full(n, Boundary.EPISODE))
        return float(actor.act(feedback_of(2, np.zeros(n, int), np.zeros(n), n), np.full(n, Boundary.EPISODE)).mean())

    # One sample: P(Beta(2, 1) > Beta(1, 2)) = 5/6. Many: the mode, rates 1 and 0.
    assert chosen(1) == pytest.approx(5 / 6, abs=4 * (5 / 36 / n) ** 0.5)
    assert chosen(1) < chosen(3) < chosen(30)
    assert chosen(30) > 0.99


def test_optimistic_thompson_with_one_sample_is_thompson() -> None:
    prior = BernoulliPrior(4, 30)
    assert (play_bandit(OptimisticThompson(prior, 1), prior, 500) == play_bandit(Thompson(prior), prior, 500)).all()


@pytest.mark.parametrize("dependence", ["uniform", "easy", "medium", "hard"])
def test_the_optimum_of_dependent_arms_is_reached(dependence: str) -> None:
    prior = BernoulliPrior(2, 100, dependence)
    returns = play_bandit(DependentArms(prior), prior, TASKS)
    error = returns.std() / TASKS**0.5
    assert returns.mean() == pytest.approx(dependent_value(dependence, 100), abs=4 * error)
    gain = returns - play_bandit(FiniteHorizonGittins(prior), prior, TASKS)  # which takes them to be independent
    assert gain.mean() > 3 * gain.std() / TASKS**0.5


def test_a_failure_of_one_dependent_arm_speaks_for_the_other() -> None:
    n, prior = 4000, BernoulliPrior(2, 10, "hard")
    actor = DependentArms(prior)
    actor.reset(n, np.random.default_rng(0))
    first = actor.act(feedback_of(2, None, None, n), np.full(n, Boundary.TRIAL))
    assert abs(first.mean() - 0.5) < 4 * 0.5 / n**0.5
    ones, zeros, inside = np.ones(n, int), np.zeros(n, int), np.full(n, Boundary.EPISODE)
    assert (actor.act(feedback_of(2, ones, np.zeros(n), n), inside) == 0).all()
    even = actor.act(feedback_of(2, zeros, np.zeros(n), n), inside)
    assert abs(even.mean() - 0.5) < 4 * 0.5 / n**0.5


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="3 arms"):
        DependentArms(BernoulliPrior(3, 2))
    prior = BernoulliPrior(3, 2)
    for samples in (0, 2.5):
        with pytest.raises(ValueError, match="samples"):
            OptimisticThompson(prior, samples)
    with pytest.raises(ValueError, match=r"epsilon is 1\.5"):
        EpsilonGreedy(prior, 1.5)
    for make in (lambda: UCB1(prior, -1), lambda: GaussianUCB(GaussianPrior(3, 2, 1.0), -1)):
        with pytest.raises(ValueError, match=r"c is -1"):
            make()
    greedy = Greedy(prior)
    obs, begin = feedback_of(3, np.zeros(4, int), np.ones(4), 4), np.full(4, Boundary.EPISODE)
    with pytest.raises(ValueError, match="reset"):
        greedy.act(obs, begin)
    greedy.reset(4, np.random.default_rng(0))
    with pytest.raises(ValueError, match="prev_reward"):
        greedy.act({"prev_action": obs["prev_action"]}, begin)
    with pytest.raises(ValueError, match=r"shape \(4, 5\), expected \(4, 3\)"):
        greedy.act(feedback_of(5, None, None, 4), begin)
    gittins = FiniteHorizonGittins(prior)
    gittins.reset(4, np.random.default_rng(0))
    gittins.act(obs, begin)
    with pytest.raises(ValueError, match="2 pulls"):
        gittins.act(obs, begin)

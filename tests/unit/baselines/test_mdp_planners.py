from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from baseline_play import Continued, feedback_of, play_bandit, play_tabular
from gymnasium import spaces

from metarl.agents.baselines.common import Random
from metarl.agents.baselines.gaussian import GaussianGreedy, GaussianThompson
from metarl.agents.baselines.planners import PSRL, BayesBonus, FixedTies, PosteriorGreedy
from metarl.agents.baselines.planning import action_values, known_mdp_value
from metarl.tasks.family.priors import GaussianPrior, TabularPrior
from metarl.types import Actor, Boundary, TrialObservation

TASKS = 2_000
PRIOR = TabularPrior(states=10, actions=5, horizon=10, episodes=10, noise=1.0)
WRONG = replace(PRIOR, reward_mean=0.0)
SMALL = TabularPrior(states=3, actions=2, horizon=2, episodes=4, noise=1.0)


class FixedBonus(BayesBonus):
    """Takes the first of equal actions."""

    _best = FixedTies._best


# Computed elsewhere with 2,000 MDPs and the first of equal actions, to which PSRL, whose values are never equal, and
# random actions are indifferent; "random" is exact.
@pytest.mark.parametrize(
    ("make", "value", "error"),
    [
        (lambda: Random(spaces.Discrete(5)), 100.0, 0.0),
        (lambda: PSRL(WRONG), 138.5, 0.6),
        (lambda: PSRL(PRIOR), 134.1, 0.6),
        (lambda: FixedTies(PRIOR), 149.7, 0.6),
        (lambda: FixedTies(WRONG), 129.0, 0.6),
        (lambda: FixedBonus(PRIOR, 1.0), 150.2, 0.6),
        (lambda: FixedBonus(PRIOR, 1.5), 145.8, 0.6),
    ],
    ids=["random", "PSRL 0", "PSRL", "greedy", "greedy 0", "bonus 1", "bonus 1.5"],
)
def test_mean_return(make: Callable[[], Actor], value: float, error: float) -> None:
    returns = play_tabular(make(), PRIOR, TASKS)
    assert returns.mean() == pytest.approx(value, abs=4 * np.hypot(error, returns.std() / TASKS**0.5))


def test_random_choice_among_equals_explores() -> None:
    gain = play_tabular(PosteriorGreedy(PRIOR), PRIOR, TASKS) - play_tabular(FixedTies(PRIOR), PRIOR, TASKS)
    assert gain.mean() > 3 * gain.std() / TASKS**0.5


def test_action_values_are_those_of_the_best_of_all_policies() -> None:
    rng = np.random.default_rng(0)
    states, actions, horizon = 2, 2, 3
    rewards = rng.standard_normal((4, states, actions))
    transitions = rng.dirichlet(np.ones(states), (4, states, actions))
    values = action_values(rewards, transitions, horizon)
    assert values.shape == (4, horizon, states, actions)
    for row, state in product(range(4), range(states)):
        best = -np.inf
        for policy in product(range(actions), repeat=horizon * states):
            at, total = np.eye(states)[state], 0.0
            for t in range(horizon):
                chosen = policy[t * states : (t + 1) * states]
                total += sum(at[s] * rewards[row, s, chosen[s]] for s in range(states))
                at = sum(at[s] * transitions[row, s, chosen[s]] for s in range(states))
            best = max(best, total)
        assert values[row, 0, state].max() == pytest.approx(best)


def test_known_mdp_value() -> None:
    # One step: the largest of five N(1, 1), whose expected value is known.
    assert known_mdp_value(replace(PRIOR, horizon=1)) == pytest.approx(1 + 1.16296, abs=4 * 0.67 / 100_000**0.5)
    # Ten steps: computed elsewhere, 21.859 with a standard error of .016; ours has .0072.
    assert known_mdp_value(PRIOR) == pytest.approx(21.859, abs=4 * np.hypot(0.016, 0.0072))
    assert known_mdp_value(PRIOR) == known_mdp_value(replace(PRIOR, noise=2.0, episodes=3))  # neither matters
    assert known_mdp_value(replace(PRIOR, states=4)) != known_mdp_value(PRIOR)


def seen(states: list[int], actions: list[int], rewards: list[float]) -> TrialObservation:
    obs = feedback_of(SMALL.actions, np.array(actions), np.array(rewards), len(states))
    return {**obs, "obs": np.eye(SMALL.states, dtype=np.float32)[states]}


def test_beliefs_are_exact_and_rows_are_apart() -> None:
    """Two rows: the first plays on, the second begins a new trial in its third input."""
    actor = PosteriorGreedy(SMALL)
    actor.reset(2, np.random.default_rng(0))
    rows = np.arange(2)
    start, inside, episode = (np.full(2, b) for b in (Boundary.TRIAL, Boundary.INSIDE, Boundary.EPISODE))
    actor.act(seen([0, 0], [1, 1], [9.0, 9.0]), start)  # what a trial's first input carries is no evidence
    rewards, transitions = actor._model(rows)
    assert (rewards == 1).all()
    assert transitions == pytest.approx(1 / 3)

    actor.act(seen([2, 1], [1, 0], [3.0, -1.0]), inside)
    rewards, transitions = actor._model(rows)
    assert rewards[0, 0].tolist() == [1.0, 2.0]  # halfway from 1 to 3
    assert rewards[1, 0].tolist() == [0.0, 1.0]
    assert transitions[0, 0, 1] == pytest.approx([1 / 4, 1 / 4, 2 / 4])
    assert transitions[1, 0, 0] == pytest.approx([1 / 4, 2 / 4, 1 / 4])

    actor.act(seen([0, 0], [0, 1], [5.0, 5.0]), np.array([Boundary.EPISODE, Boundary.TRIAL]))
    rewards, transitions = actor._model(rows)
    assert rewards[0, 2].tolist() == [3.0, 1.0]  # an episode's last reward counts,
    assert transitions[0, 2] == pytest.approx(1 / 3)  # but state 0 does not follow on its last step
    assert (rewards[1] == 1).all()
    assert transitions[1] == pytest.approx(1 / 3)

    actor.act(seen([1, 1], [1, 1], [0.0, 0.0]), inside)
    actor.act(seen([0, 0], [1, 1], [0.0, 0.0]), episode)
    rewards, transitions = actor._model(rows)
    assert rewards[0, 0, 1] == pytest.approx((1 + 3 + 0) / 3)
    assert transitions[0, 0, 1] == pytest.approx([1 / 5, 2 / 5, 2 / 5])
    assert rewards[1, 0, 1] == 0.5


def test_planning_is_once_an_episode() -> None:
    actor = FixedTies(SMALL)
    actor.reset(1, np.random.default_rng(0))
    first = actor.act(seen([0], [0], [0.0]), np.array([Boundary.TRIAL]))
    assert first.tolist() == [0]
    again = actor.act(seen([0], [0], [-9.0]), np.array([Boundary.INSIDE]))
    assert again.tolist() == [0]  # a bad reward is not heard of before the next episode
    later = actor.act(seen([0], [0], [-9.0]), np.array([Boundary.EPISODE]))
    assert later.tolist() == [1]


def test_equal_actions_are_taken_equally_often() -> None:
    n = 20_000
    prior = replace(SMALL, actions=4, states=10, horizon=5)
    actor = PosteriorGreedy(prior)
    actor.reset(n, np.random.default_rng(0))
    obs = {**feedback_of(4, None, None, n), "obs": np.eye(10, dtype=np.float32)[np.zeros(n, int)]}
    counts = np.bincount(actor.act(obs, np.full(n, Boundary.TRIAL)), minlength=4)
    assert abs(counts - n / 4).max() < 4 * (n * 3 / 16) ** 0.5


def test_bonus_zero_is_greedy() -> None:
    greedy = play_tabular(PosteriorGreedy(SMALL), SMALL, 300)
    assert (play_tabular(BayesBonus(SMALL, 0), SMALL, 300) == greedy).all()


@pytest.mark.parametrize(("planner", "strategy"), [(PosteriorGreedy, GaussianGreedy), (PSRL, GaussianThompson)])
def test_one_state_and_one_step_are_a_gaussian_bandit(planner: Any, strategy: Any) -> None:
    bandit = GaussianPrior(arms=4, pulls=20, noise=1.0)
    mdp = TabularPrior(states=1, actions=4, horizon=1, episodes=20, noise=1.0, reward_mean=0.0)
    one, other = play_tabular(planner(mdp), mdp, 10_000), play_bandit(strategy(bandit), bandit, 10_000, seed=1)
    assert one.mean() == pytest.approx(other.mean(), abs=4 * np.hypot(one.std(), other.std()) / 100)


@pytest.mark.parametrize("make", [PosteriorGreedy, PSRL])
def test_same_seed_same_returns_and_trials_follow_one_another(make: Callable[[TabularPrior], Actor]) -> None:
    actor = make(SMALL)
    first = play_tabular(actor, SMALL, 2_000)
    assert (play_tabular(actor, SMALL, 2_000) == first).all()
    continued = Continued(make(SMALL), 2_000)
    for _ in range(2):
        later = play_tabular(continued, SMALL, 2_000)
        assert later.mean() == pytest.approx(first.mean(), abs=4 * np.hypot(first.std(), later.std()) / 2_000**0.5)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="bonus is -1"):
        BayesBonus(SMALL, -1)
    actor = PosteriorGreedy(SMALL)
    obs, start, inside = seen([0, 1], [0, 0], [0.0, 0.0]), np.full(2, Boundary.TRIAL), np.full(2, Boundary.INSIDE)
    with pytest.raises(ValueError, match=r"shape \(0, 3\), got \(2, 3\): call reset"):
        actor.act(obs, start)
    actor.reset(2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"'obs' of shape \(2, 3\), got none"):
        actor.act({k: v for k, v in obs.items() if k != "obs"}, start)
    with pytest.raises(ValueError, match="goes on after 2 steps"):
        actor.act(obs, inside)
    actor.act(obs, start)
    actor.act(obs, inside)
    with pytest.raises(ValueError, match="horizon"):
        actor.act(obs, inside)


def test_replanning_hears_of_the_last_reward() -> None:
    prior = replace(SMALL, horizon=3)
    actor = BayesBonus(prior, 0, replans=True)
    n = 200
    actor.reset(n, np.random.default_rng(0))
    zeros = [0] * n
    actor.act(seen(zeros, zeros, [0.0] * n), np.full(n, Boundary.TRIAL))
    again = actor.act(seen(zeros, zeros, [-9.0] * n), np.full(n, Boundary.INSIDE))
    assert (again == 1).all()


def test_replanning_is_planning_where_an_episode_has_one_step() -> None:
    prior = replace(SMALL, horizon=1, episodes=6)
    once, always = (play_tabular(BayesBonus(prior, 1.0, replans=replans), prior, 300) for replans in (False, True))
    assert (once == always).all()


def test_replanning_plans_for_the_steps_that_are_left_where_rows_are_apart() -> None:
    """Row 0 takes its second step while row 1 begins: the values of each are those of planning alone."""
    prior = replace(SMALL, horizon=3)
    actor = BayesBonus(prior, 1.0, replans=True)
    actor.reset(2, np.random.default_rng(0))
    actor.act(seen([0, 0], [0, 0], [0.0, 0.0]), np.full(2, Boundary.TRIAL))
    actor.act(seen([1, 1], [1, 1], [2.0, 2.0]), np.array([Boundary.INSIDE, Boundary.EPISODE]))
    whole = action_values(*actor._model(np.arange(2)), 3)
    assert (actor._values[0, 1] == whole[0, 1]).all()
    assert (actor._values[1, 0] == whole[1, 0]).all()


def test_replanning_is_worth_more() -> None:
    gain = play_tabular(BayesBonus(PRIOR, 0.75, replans=True), PRIOR, TASKS) - play_tabular(
        BayesBonus(PRIOR, 0.5), PRIOR, TASKS
    )
    assert gain.mean() > 3 * gain.std() / TASKS**0.5

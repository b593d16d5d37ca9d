from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from baseline_play import Continued, feedback_of, play_tabular

from metarl.agents.baselines.optimistic import BEB, LOG_GRID, OPSRL, UCRL2, NoPrior
from metarl.agents.baselines.planners import PSRL, PosteriorGreedy
from metarl.agents.baselines.planning import action_values, extended_values
from metarl.config import InputError
from metarl.tasks.family.priors import TabularPrior
from metarl.types import Actor, Boundary, Floats, TrialObservation

TASKS = 2_000
PRIOR = TabularPrior(states=10, actions=5, horizon=10, episodes=10, noise=1.0)
WRONG = replace(PRIOR, reward_mean=0.0)
SMALL = TabularPrior(states=3, actions=2, horizon=4, episodes=5, noise=1.0)


def seen(states: list[int], actions: list[int], rewards: list[float]) -> TrialObservation:
    obs = feedback_of(SMALL.actions, np.array(actions), np.array(rewards), len(states))
    return {**obs, "obs": np.eye(SMALL.states, dtype=np.float32)[states]}


# What RL² (Duan et al. 2016, table 2) reports of 1,000 MDPs, of which one has a standard deviation of 27 or so; the
# parameters are those that do best here. Greedy is nearly two standard errors above what was published.
@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: NoPrior(PRIOR), 134.8),
        (lambda: NoPrior(PRIOR, 0.1), 132.8),
        (lambda: PSRL(WRONG), 138.1),
        (lambda: OPSRL(WRONG, 15), 144.1),
        (lambda: UCRL2(PRIOR, LOG_GRID[18]), 146.6),
        (lambda: BEB(WRONG, LOG_GRID[6]), 150.2),
    ],
    ids=["greedy", "epsilon-greedy", "PSRL", "OPSRL", "UCRL2", "BEB"],
)
def test_published_returns(make: Callable[[], Actor], value: float) -> None:
    returns = play_tabular(make(), PRIOR, TASKS)
    assert returns.mean() == pytest.approx(value, abs=3 * returns.std() * (1 / TASKS + 1 / 1000) ** 0.5)


def some_mdps(n: int = 6, states: int = 4, actions: int = 3) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((n, states, actions)), rng.dirichlet(np.ones(states), (n, states, actions))


def moved(chances: Floats, after: Floats, width: float) -> float:
    """The best expected value within an L1 ball, by the definition: move probability one small grain at a time."""
    chances, left = chances.copy(), width / 2
    best = int(after.argmax())
    for worst in after.argsort():
        if worst != best:
            grain = min(left, chances[worst])
            chances[worst] -= grain
            chances[best] += grain
            left -= grain
    return float(chances @ after)


@pytest.mark.parametrize("width", [0.0, 0.3, 0.9, 2.0])
def test_extended_values_are_those_of_the_best_plausible_mdp(width: float) -> None:
    rewards, transitions = some_mdps()
    values = extended_values(rewards, transitions, np.full(rewards.shape, width), 3)
    for t in (0, 1):
        after = values[:, t + 1].max(axis=2)
        for row, state, action in np.ndindex(rewards.shape):
            expected = rewards[row, state, action] + moved(transitions[row, state, action], after[row], width)
            assert values[row, t, state, action] == pytest.approx(expected)


def test_extended_values_are_exact_without_width_and_rise_with_it() -> None:
    rewards, transitions = some_mdps()
    exact = action_values(rewards, transitions, 5)
    by_width = [extended_values(rewards, transitions, np.full(rewards.shape, w), 5) for w in (0.0, 0.2, 0.5, 2.0, 9.0)]
    assert by_width[0] == pytest.approx(exact)
    for low, high in pairwise(by_width[:-1]):
        assert (high >= low - 1e-12).all()
        assert high[:, 0].mean() > low[:, 0].mean()
    assert by_width[-1] == pytest.approx(by_width[-2])  # no distributions are further apart than 2


def test_a_bonus_for_each_step_that_follows() -> None:
    rewards, transitions = some_mdps()
    plain, bonus = action_values(rewards, transitions, 4), np.full(rewards.shape, 0.5)
    raised = action_values(rewards, transitions, 4, bonus)
    # The bonuses of a state's three steps after the first are 1.5, 1 and .5 along any path.
    assert raised[:, 0] == pytest.approx(plain[:, 0] + 1.5 + 1 + 0.5)
    assert (raised[:, -1] == plain[:, -1]).all()


def test_opsrl_with_one_sample_is_psrl_and_more_are_more_optimistic() -> None:
    one = play_tabular(OPSRL(SMALL, 1), SMALL, 300)
    assert (one == play_tabular(PSRL(SMALL), SMALL, 300)).all()
    means = []
    for samples in (1, 3, 10):
        actor = OPSRL(PRIOR, samples)
        actor.reset(200, np.random.default_rng(0))
        means.append(actor._plan(np.arange(200), 10).mean())
    assert means[0] < means[1] < means[2]


def test_scale_zero_takes_optimism_away() -> None:
    assert (play_tabular(UCRL2(SMALL, 0), SMALL, 300) == play_tabular(NoPrior(SMALL), SMALL, 300)).mean() > 0.97
    actor, greedy = BEB(SMALL, 0), PosteriorGreedy(SMALL)
    for one in (actor, greedy):
        one.reset(1, np.random.default_rng(0))
    rows = np.arange(1)
    # What is left of BEB is the bonus 1 / 2 of pairs never seen, for each of the steps.
    assert actor._plan(rows, 3) - greedy._plan(rows, 3) == pytest.approx(
        np.array([1.5, 1.0, 0.5])[None, :, None, None] * np.ones((1, 3, 3, 2))
    )


@pytest.mark.parametrize("make", [UCRL2, BEB])
def test_planners_are_optimistic_of_what_they_have_seen_less_of(make: Any) -> None:
    """Action 0 paid its prior mean and led everywhere alike; action 1 was never tried."""
    actor = make(replace(SMALL, reward_mean=0.0), 0.5)
    actor.reset(1, np.random.default_rng(0))
    actor._moves[0, :, 0] = 30.0
    actor._visits[0, :, 0] = 90.0
    values = actor._plan(np.arange(1), SMALL.horizon)[0]
    assert (values[:, :, 1] > values[:, :, 0]).all()


def test_confidence_sets_shrink_with_visits_and_grow_with_episodes() -> None:
    def first_value(visits: float, elsewhere: float = 0.0) -> float:
        actor = UCRL2(SMALL, 1.0)
        actor.reset(1, np.random.default_rng(0))
        actor._visits[0, 0, 0] = visits
        actor._visits[0, 1, 1] = elsewhere
        return float(actor._plan(np.arange(1), 1)[0, 0, 0, 0])

    assert first_value(4) == pytest.approx(2 * np.sqrt((np.log(2 * 6 / 0.05) + np.log(3)) / 4), rel=1e-5)
    assert first_value(0) == first_value(1)
    assert first_value(4, elsewhere=40) > first_value(4) > first_value(9)


@pytest.mark.parametrize("scale", [0.0, 0.05])
def test_actions_of_which_the_same_is_known_stay_equal(scale: float) -> None:
    n = 4_000
    for actor in (UCRL2(SMALL, scale), BEB(SMALL, scale), NoPrior(SMALL)):
        actor.reset(n, np.random.default_rng(0))
        actions = actor.act(seen([0] * n, [0] * n, [0.0] * n), np.full(n, Boundary.TRIAL))
        assert abs(actions.mean() - 0.5) < 4 * 0.5 / n**0.5


def test_without_a_prior_what_was_seen_is_all() -> None:
    actor = NoPrior(replace(SMALL, reward_mean=5.0))
    actor.reset(1, np.random.default_rng(0))
    rewards, transitions = actor._model(np.arange(1))
    assert (rewards == 0).all()
    assert transitions == pytest.approx(1 / 3)
    actor.act(seen([0], [0], [0.0]), np.array([Boundary.TRIAL]))
    actor.act(seen([2], [1], [3.0]), np.array([Boundary.INSIDE]))
    rewards, transitions = actor._model(np.arange(1))
    assert rewards[0, 0, 1] == pytest.approx(3.0, abs=1e-3)
    assert transitions[0, 0, 1] == pytest.approx([0, 0, 1], abs=1e-3)


def test_epsilon_one_is_random_and_zero_greedy() -> None:
    n = 20_000
    actor = NoPrior(SMALL, 1.0)
    actor.reset(n, np.random.default_rng(0))
    actor._total[:, 0, 1] = actor._visits[:, 0, 1] = 1.0
    actions = actor.act(seen([0] * n, [1] * n, [1.0] * n), np.full(n, Boundary.EPISODE))
    assert abs(actions.mean() - 0.5) < 4 * 0.5 / n**0.5
    assert (play_tabular(NoPrior(SMALL, 0.0), SMALL, 100) == play_tabular(NoPrior(SMALL), SMALL, 100)).all()


@pytest.mark.parametrize(
    "actor", [OPSRL(SMALL, 3), BEB(SMALL, 0.01), UCRL2(SMALL, 0.1), NoPrior(SMALL, 0.1)], ids=lambda a: type(a).__name__
)
def test_same_seed_same_returns_and_trials_follow_one_another(actor: Actor) -> None:
    first = play_tabular(actor, SMALL, 2_000)
    assert (play_tabular(actor, SMALL, 2_000) == first).all()
    continued = Continued(actor, 2_000)
    for _ in range(2):
        later = play_tabular(continued, SMALL, 2_000)
        assert later.mean() == pytest.approx(first.mean(), abs=4 * np.hypot(first.std(), later.std()) / 2_000**0.5)


def test_bad_input() -> None:
    for make in (lambda: UCRL2(SMALL, -1), lambda: BEB(SMALL, -1)):
        with pytest.raises(InputError, match="scale"):
            make()
    for samples in (0, 1.5):
        with pytest.raises(InputError, match="samples"):
            OPSRL(SMALL, samples)
    with pytest.raises(ValueError, match=r"epsilon is 1\.5"):
        NoPrior(SMALL, 1.5)

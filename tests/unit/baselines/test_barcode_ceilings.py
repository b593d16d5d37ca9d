from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from baseline_play import Continued, feedback_of, play_barcode

from metarl.agents.baselines.barcode import IdealMemory, WithinEpisode, episode_value, exposure_values
from metarl.tasks.family.priors import BarcodePrior
from metarl.types import Boundary, Floats

PAPER = BarcodePrior(arms=10, contexts=10, repeats=10, pulls=10, high=0.9, low=0.1)
SMALL = BarcodePrior(arms=4, contexts=3, repeats=4, pulls=5, high=0.8, low=0.3)


def exact_exposures(prior: BarcodePrior) -> list[float]:
    """Posterior-greedy play where high + low = 1, exactly.

    A failure then undoes a success, so all arms stand at one level but a leader ``lead`` successes above and
    ``below`` arms one failure under it.
    """
    assert prior.high + prior.low == 1
    odds = prior.high / prior.low
    chances = {(0, 0): 1.0}
    values = []
    for _ in range(prior.repeats):
        value = 0.0
        for _ in range(prior.pulls):
            after: dict[tuple[int, int], float] = {}
            for (below, lead), probability in chances.items():
                posterior = odds**lead / (odds**lead + below / odds + prior.arms - 1 - below)
                p = prior.low + (prior.high - prior.low) * posterior
                value += probability * p
                lost = (below, lead - 1) if lead else ((below + 1) % prior.arms, 0)
                for state, chance in (((below, lead + 1), p), (lost, 1 - p)):
                    after[state] = after.get(state, 0) + probability * chance
            chances = after
        values.append(value)
    return values


@pytest.mark.parametrize(("arms", "value"), [(10, 4.436), (5, 6.607), (2, 8.376)])
def test_value_within_one_episode(arms: int, value: float) -> None:
    prior = replace(PAPER, arms=arms)
    assert episode_value(prior) == pytest.approx(value, abs=5e-4)
    # Playing greedily by the posterior is optimal with one good arm.
    assert episode_value(prior) == pytest.approx(exact_exposures(prior)[0], abs=1e-9)


def test_value_of_sure_arms() -> None:
    # Searching takes each number of pulls up to 10 equally often, and each pull but the last of them pays nothing.
    assert episode_value(replace(PAPER, high=1.0, low=0.0)) == pytest.approx(10 - 9 / 2, abs=1e-6)
    assert exposure_values(replace(PAPER, high=1.0, low=0.0)) == pytest.approx([5.5] + 9 * [10.0], abs=0.01)


def test_values_by_exposure() -> None:
    values = exposure_values(PAPER)
    assert values == pytest.approx(exact_exposures(PAPER), abs=0.015)  # 4 standard errors
    assert values[1:6] == pytest.approx([8.16, 8.83, 8.97, 8.99, 9.0], abs=0.02)
    assert values.mean() == pytest.approx(8.44, abs=0.01)
    assert exposure_values(SMALL)[0] == pytest.approx(episode_value(SMALL), abs=0.01)
    assert (np.diff(exposure_values(SMALL)) > 0).all()


def assert_mean(rewards: Floats, expected: Any, more: float = 0.0) -> None:
    """The mean by exposure is within four standard errors, and ``more``."""
    errors = rewards.std(axis=(0, 1)) / (rewards.shape[0] * rewards.shape[1]) ** 0.5
    assert (abs(rewards.mean(axis=(0, 1)) - expected) < 4 * errors + more).all()


@pytest.mark.parametrize(
    ("actor", "prior", "n", "value", "more"),
    [
        (IdealMemory, replace(PAPER, repeats=4), 1000, exact_exposures, 0.0),
        (WithinEpisode, replace(PAPER, repeats=3), 1000, episode_value, 0.0),
        (IdealMemory, SMALL, 4000, exposure_values, 0.01),
    ],
)
def test_an_actor_attains_its_value(actor: Any, prior: BarcodePrior, n: int, value: Any, more: float) -> None:
    assert_mean(play_barcode(actor(prior), prior, n), value(prior), more)


def test_trials_follow_one_another() -> None:
    actor = Continued(IdealMemory(SMALL), 1000)
    for seed in range(3):
        rewards = play_barcode(actor, SMALL, 1000, seed)
        assert_mean(rewards, exposure_values(SMALL), 0.01)


def test_feedback_is_filed_under_the_context_it_came_from() -> None:
    n, arms = 2000, PAPER.arms
    actor = IdealMemory(PAPER)
    actor.reset(n, np.random.default_rng(0))
    contexts = np.eye(3, dtype=np.float32)

    def act(context: int, begin: Boundary, arm: int | None, reward: float = 0) -> np.ndarray:
        action = None if arm is None else np.full(n, arm)
        obs = feedback_of(arms, action, np.full(n, reward), n)
        return actor.act({**obs, "obs": np.tile(contexts[context], (n, 1))}, np.full(n, begin))

    act(0, Boundary.TRIAL, None)
    other = act(1, Boundary.EPISODE, arm=4, reward=1)  # the success belongs to context 0
    assert np.bincount(other, minlength=arms).min() > 100
    assert (act(0, Boundary.EPISODE, arm=7, reward=1) == 4).all()
    assert (act(0, Boundary.INSIDE, arm=4, reward=1) == 4).all()
    assert (act(1, Boundary.EPISODE, arm=4, reward=1) == 7).all()
    fresh = act(0, Boundary.TRIAL, None)
    assert np.bincount(fresh, minlength=arms).min() > 100


def test_a_trial_resets_its_row_alone() -> None:
    n, arms = 2000, PAPER.arms
    actor = IdealMemory(PAPER)
    actor.reset(n, np.random.default_rng(0))
    context = {"obs": np.ones((n, 5), np.float32)}
    actor.act({**feedback_of(arms, None, None, n), **context}, np.full(n, Boundary.TRIAL))
    actor.act({**feedback_of(arms, np.full(n, 4), np.ones(n), n), **context}, np.full(n, Boundary.INSIDE))
    begin = np.where(np.arange(n) % 2, Boundary.TRIAL, Boundary.EPISODE)
    action = actor.act({**feedback_of(arms, None, None, n), **context}, begin)
    assert (action[::2] == 4).all()
    assert np.bincount(action[1::2], minlength=arms).min() > 50


def test_bad_input() -> None:
    for value in (episode_value, exposure_values):
        with pytest.raises(ValueError, match="ceiling"):
            value(replace(PAPER, each_arm_best_once=True))
    with pytest.raises(ValueError, match="low"):
        IdealMemory(replace(PAPER, low=0.95))
    with pytest.raises(ValueError, match="states"):
        episode_value(replace(PAPER, pulls=30))
    actor = IdealMemory(replace(PAPER, contexts=1))
    actor.reset(2, np.random.default_rng(0))
    nothing, begin = feedback_of(PAPER.arms, None, None, 2), np.full(2, Boundary.EPISODE)
    with pytest.raises(ValueError, match="lacks 'obs'"):
        actor.act(nothing, begin)
    actor.act({**nothing, "obs": np.zeros((2, 3), np.float32)}, begin)
    with pytest.raises(ValueError, match="more than 1 contexts"):
        actor.act({**nothing, "obs": np.ones((2, 3), np.float32)}, begin)

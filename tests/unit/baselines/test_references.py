from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from baseline_play import feedback_of, play_bandit, play_barcode, play_tabular

from metarl.agents.baselines import ceilings, references, tune
from metarl.agents.baselines.bandit import UCB1, EpsilonGreedy
from metarl.agents.baselines.planners import BayesBonus
from metarl.tasks.family.priors import BarcodePrior, BernoulliPrior, GaussianPrior, TabularPrior
from metarl.types import Actor, Boundary

BANDIT = BernoulliPrior(10, 10)
BARCODE = BarcodePrior(arms=10, contexts=2, repeats=10, pulls=10, high=0.9, low=0.1)
GAUSSIAN = GaussianPrior(10, 10, noise=1.0)
MDP = TabularPrior(states=3, actions=2, horizon=4, episodes=3, noise=1.0)
PLANNERS = ["greedy", "greedy, fixed ties", "PSRL", "Bayes bonus", "Bayes bonus, replanned"]
RIVALS = [
    *("greedy, no prior", "epsilon-greedy, no prior", "PSRL, prior 0", "OPSRL", "OPSRL, prior 0"),
    *("BEB", "BEB, prior 0", "UCRL2"),
]
"""Of RL²'s second table."""


def test_names_in_order() -> None:
    assert list(references(BANDIT)) == ["greedy", "epsilon-greedy", "UCB1", "Thompson", "Gittins"]
    assert list(references(BernoulliPrior(2, 100, "easy")))[-2:] == ["Gittins", "Bayes-optimal"]
    assert list(references(BARCODE)) == ["within episode", "ideal memory"]
    assert list(references(replace(BARCODE, each_arm_best_once=True))) == ["within episode", "memory of contexts"]
    assert "Gittins" in references(BernoulliPrior(50, 1000))
    assert "Gittins" not in references(BernoulliPrior(50, 1001))
    assert list(references(GAUSSIAN)) == ["greedy", "UCB", "Thompson"]
    assert list(references(MDP)) == PLANNERS


def test_published_ones_come_on_demand() -> None:
    assert list(references(BANDIT, published=True)) == [*references(BANDIT), "OTS"]
    assert list(references(MDP, published=True)) == [*PLANNERS, *RIVALS]
    with pytest.raises(ValueError, match="BEB cannot be tuned"):
        references(MDP, {"BEB": 0.1})
    assert references(MDP, {"BEB": 0.1}, published=True)["BEB"]().scale == 0.1  # type: ignore[attr-defined]  # BEB's
    tuned = tune(MDP, lambda actor: -abs(getattr(actor, "samples", 0) - 6.9), published=True)
    assert (tuned["OPSRL"], tuned["UCRL2"]) == (7.0, 1e-4)
    for act in (references, lambda prior, **more: tune(prior, lambda actor: 0.0, **more)):
        with pytest.raises(ValueError, match="no strategies were published for a GaussianPrior"):
            act(GAUSSIAN, published=True)


def test_every_call_makes_a_new_actor_that_plays_whole_numbers() -> None:
    plays: tuple[tuple[Any, Any, int, int], ...] = (
        (BANDIT, play_bandit, 3, 9),
        (BARCODE, play_barcode, 1, 9),
        (GAUSSIAN, play_bandit, -3, 12),
        (MDP, play_tabular, 8, 26),
    )
    for prior, play, low, high in plays:
        for make in references(prior, published=prior in (BANDIT, MDP)).values():
            assert make() is not make()
            assert low < play(make(), prior, 50).mean() < high
    for make in references(BANDIT).values():
        actor = make()
        actor.reset(6, np.random.default_rng(0))
        action = actor.act(feedback_of(10, None, None, 6), np.full(6, Boundary.TRIAL))
        assert action.shape == (6,)
        assert np.issubdtype(action.dtype, np.integer)


def test_tuned_parameters_are_used() -> None:
    actors = references(BANDIT, tuned={"UCB1": 0.7, "epsilon-greedy": 0.3})
    ucb, epsilon = actors["UCB1"](), actors["epsilon-greedy"]()
    assert isinstance(ucb, UCB1)
    assert isinstance(epsilon, EpsilonGreedy)
    assert (ucb.c, epsilon.epsilon) == (0.7, 0.3)
    with pytest.raises(ValueError, match=r"greedy .*epsilon-greedy, UCB1"):
        references(BANDIT, tuned={"greedy": 0.1})
    with pytest.raises(ValueError, match=r"UCB1 .*nothing"):
        references(BARCODE, tuned={"UCB1": 0.1})
    planner = references(MDP, tuned={"Bayes bonus": 1.5})["Bayes bonus"]()
    assert isinstance(planner, BayesBonus)
    assert planner.bonus == 1.5


def test_tune_finds_the_best_of_the_grid() -> None:
    tried: list[float] = []

    def evaluate(actor: Actor) -> float:
        assert isinstance(actor, UCB1 | EpsilonGreedy)
        value, best = (actor.c, 0.3) if isinstance(actor, UCB1) else (actor.epsilon, 0.8)
        tried.append(value)
        return -abs(value - best)

    assert tune(BANDIT, evaluate) == {"epsilon-greedy": 0.8, "UCB1": 0.3}
    assert tried == 2 * [i / 10 for i in range(11)]
    assert tune(BARCODE, evaluate) == {}


def test_tune_on_tasks() -> None:
    prior = BernoulliPrior(10, 100)
    tuned = tune(prior, lambda actor: float(play_bandit(actor, prior, 500).mean()))
    assert tuned["epsilon-greedy"] <= 0.1
    assert 0.1 <= tuned["UCB1"] <= 0.3
    gaussian = GaussianPrior(10, 100, noise=1.0)
    tuned = tune(gaussian, lambda actor: float(play_bandit(actor, gaussian, 500).mean()))
    assert list(tuned) == ["UCB"]
    assert 0.4 <= tuned["UCB"] <= 0.8
    tuned = tune(MDP, lambda actor: -abs(getattr(actor, "bonus", 9) - 1.4))
    assert tuned == {"Bayes bonus": 1.5, "Bayes bonus, replanned": 1.5}


def test_ceilings() -> None:
    assert ceilings(BANDIT) == pytest.approx({"Bayes-optimal": 6.71395, "best arm known": 100 / 11}, abs=1e-5)
    assert ceilings(BernoulliPrior(10, 100)) == pytest.approx({"best arm known": 1000 / 11})
    easy = {"Bayes-optimal": 89.375, "best arm known": 90.0}
    assert ceilings(BernoulliPrior(2, 100, "easy")) == pytest.approx(easy)
    assert ceilings(BernoulliPrior(2, 100, "uniform"))["best arm known"] == 75
    # Of two standard normals the larger is worth 1 / sqrt(pi), of three 3 / (2 sqrt(pi)).
    assert ceilings(GaussianPrior(2, 7, noise=1.0)) == pytest.approx({"best arm known": 7 / np.pi**0.5})
    assert ceilings(GaussianPrior(3, 2, noise=1.0)) == pytest.approx({"best arm known": 3 / np.pi**0.5})
    assert list(ceilings(MDP)) == ["known MDP"]
    expected = {"random": 1.8, "within episode": 4.4364, "ideal memory": 8.438, "oracle": 9.0}
    assert list(ceilings(BARCODE)) == list(expected)
    assert ceilings(BARCODE) == pytest.approx(expected, abs=0.004)
    assert "within episode" not in ceilings(replace(BARCODE, pulls=40, repeats=2))
    with pytest.raises(ValueError, match="no ceiling is known"):
        ceilings(replace(BARCODE, each_arm_best_once=True))

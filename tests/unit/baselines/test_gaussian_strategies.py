from itertools import pairwise

import numpy as np
import pytest
from baseline_play import play_bandit
from gymnasium import spaces

from metarl.agents.baselines.common import Random, normal_posterior
from metarl.agents.baselines.gaussian import GaussianGreedy, GaussianThompson, GaussianUCB
from metarl.tasks.family.priors import GaussianPrior

TASKS = 20_000


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_posterior_is_bayes_rule_on_a_grid_and_certain_without_noise(noise: float) -> None:
    seen = np.array([0.3, 2.0, -0.4])
    x = np.linspace(-15, 15, 30_001)
    log_density = -((x - 1) ** 2) / 2 - ((seen[:, None] - x) ** 2).sum(0) / (2 * noise**2)
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    expected = (density * x).sum()
    mean, sd = normal_posterior(np.array([seen.sum(), 0.0]), np.array([3.0, 0.0]), noise, mean=1.0)
    assert mean == pytest.approx([expected, 1.0])
    assert sd == pytest.approx([np.sqrt((density * (x - expected) ** 2).sum()), 1.0])
    mean, sd = normal_posterior(np.array([4.0, 0.0]), np.array([2.0, 0.0]), noise=0.0, mean=1.0)
    assert mean.tolist() == [2.0, 1.0]
    assert sd.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("noise", [0.0, 1.0, 2.0])
def test_two_pulls_of_two_arms_are_worth_what_integrals_say(noise: float) -> None:
    """The first pull is worth 0 and leaves its arm a posterior mean m ~ N(0, v), v = 1 / (1 + noise²).

    Greedy then gets E[max(m, 0)] = sqrt(v / 2 pi). Thompson pulls the arm again with probability
    P(N(m, 1 - v) > N(0, 1)), which by Stein's lemma makes E[m ...] = v / (2 sqrt(pi)).
    """
    prior, v = GaussianPrior(2, 2, noise), 1 / (1 + noise**2)
    for actor, value in (
        (GaussianGreedy(prior), np.sqrt(v / (2 * np.pi))),
        (GaussianThompson(prior), v / (2 * np.sqrt(np.pi))),
    ):
        returns = play_bandit(actor, prior, TASKS)
        assert returns.mean() == pytest.approx(value, abs=4 * returns.std() / TASKS**0.5)


def test_order_on_the_same_tasks() -> None:
    prior = GaussianPrior(10, 100, 1.0)
    actors = [GaussianUCB(prior, 0.5), GaussianThompson(prior), GaussianGreedy(prior), Random(spaces.Discrete(10))]
    returns = [play_bandit(actor, prior, 2_000) for actor in actors]
    for better, worse in pairwise(returns):
        gain = better - worse
        assert gain.mean() > 3 * gain.std() / 2_000**0.5

"""Trials whose steps are over inside an episode: what is finished counts in means by episode, and nothing else."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from metarl import RL2PPO, evaluate, from_env
from metarl.evaluation.results import AgentEvaluation
from metarl.report.tables import evaluation_table


class Paying(gym.Env):
    """Pays 1 a step; an episode has as many steps as the task and the seed say."""

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def __init__(self, goal: float = 0.0, spread: int = 0) -> None:
        self.goal, self.spread = goal, spread

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10 + int(self.np_random.integers(self.spread + 1))
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


def evaluated(spread: int = 0, **options: int) -> AgentEvaluation:
    family = from_env(Paying, {"goal": "0..1"}, kwargs={"spread": spread}, **options)
    agent = RL2PPO("MemoryPolicy", family, n_envs=2, memory={"controller": "gru", "store": "none", "access": "none"})
    return evaluate(agent, family, trials=12, rows=6, quiet=True)


@pytest.mark.parametrize(
    ("options", "cut"), [({"steps": 25}, 1.0), ({"episodes": 5, "steps": 25}, 1.0), ({"steps": 20}, 0.0)]
)
def test_means_by_episode_are_those_of_finished_episodes(options: dict[str, int], cut: float) -> None:
    result = evaluated(**options)
    assert (result.return_mean, result.steps_to_adapt) == (options["steps"], None), "nothing to adapt to"
    for one in (result, result.greedy, *result.ablations.values(), *result.references.values()):
        assert one is not None
        assert (one.by_episode, one.episode_mean, one.episode_se, one.cut) == ((10.0, 10.0), 10.0, 0.0, cut)
    table = evaluation_table(result)
    assert "10.00 ± 0.00" in table
    assert "reward per episode" in table
    assert ("inside an episode" in table) is bool(cut)


def test_episodes_that_cannot_be_compared_are_reported_by_trial() -> None:
    result = evaluated(spread=20, steps=50)
    assert result.episode_mean is None
    assert 0 < len(result.by_episode) < 5
    assert all(10 <= mean <= 30 for mean in result.by_episode)
    assert "reward per trial" in evaluation_table(result)


def test_trials_that_finish_no_episode_have_none_to_report() -> None:
    result = evaluated(steps=7)
    assert (result.by_episode, result.episode_mean, result.cut, result.return_mean) == ((), None, 1.0, 7.0)
    assert "reward per trial" in evaluation_table(result)

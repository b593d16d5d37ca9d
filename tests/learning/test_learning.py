"""Agents that learn, for half a minute each, to a figure that memory alone can give."""

import pytest

from metarl import RL2PPO
from metarl.envs import distribution
from metarl.evaluation.play import rollout_trials
from metarl.memory.ablation import ablated
from metarl.tasks.vector.env import TrialVectorEnv

WIN_STAY_LOSE_SHIFT = 59.1  # 2 arms, 100 pulls: what one step of memory gives (random 50, greedy 63.9, optimum 64.9)


@pytest.mark.learning
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_agent_learns_to_learn_a_bandit_of_two_arms(seed):
    family = distribution("metarl/BernoulliBandit-v0", arms=2, pulls=100)
    memory = {"key_size": 32, "value_size": 32, "gate": False}
    agent = RL2PPO(
        "MemoryPolicy",
        TrialVectorEnv(family, 256),
        memory=memory,
        gamma=0.9,
        gamma_end=0.995,
        gae_lambda=0.9,
        reward_scale=0.15,
        seed=seed,
    )
    agent.learn(768_000)

    def score(actor) -> float:
        return float(
            rollout_trials(actor, lambda n: TrialVectorEnv(family.with_split("test"), n), 10_000).returns.mean()
        )

    assert score(agent.actor()) >= 62
    with ablated(agent.policy.core, "off"):
        assert score(agent.actor()) < 51, "without memory there is only chance"

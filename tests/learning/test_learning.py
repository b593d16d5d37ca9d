"""Agents that learn, for half a minute each, to a figure that memory alone can give."""

import pytest

from metarl import RL2PPO
from metarl.envs import distribution
from metarl.evaluation.play import rollout_trials
from metarl.memory.ablation import ablated
from metarl.tasks.vector.env import TrialVectorEnv

WIN_STAY_LOSE_SHIFT = 59.1  # 2 arms, 100 pulls: what one step of memory gives (random 50, greedy 63.9, optimum 64.9)


ONCE = {"key_size": 32, "value_size": 32, "gate": False}
PER_ACTION = {
    **ONCE,
    "per_action": True,
    "action_identity": False,
    "store_options": {"merge": True},
    "access_options": {"heads": 4, "kernel": "cosine", "temperature": 0.2, "learned_temperature": True},
}


@pytest.mark.learning
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("memory", "rows", "steps"), [(ONCE, 256, 768_000), (PER_ACTION, 64, 128_000)], ids=["asked once", "per action"]
)
def test_an_agent_learns_to_learn_a_bandit_of_two_arms(memory, rows, steps):
    family = distribution("metarl/BernoulliBandit-v0", arms=2, pulls=100)
    agent = RL2PPO(
        "MemoryPolicy",
        TrialVectorEnv(family, rows),
        memory=memory,
        gamma=0.9,
        gamma_end=0.995,
        gae_lambda=0.9,
        reward_scale=0.15,
        n_minibatches=rows // 16,
        seed=0,
    )
    agent.learn(steps)

    def score(actor) -> float:
        return float(
            rollout_trials(actor, lambda n: TrialVectorEnv(family.with_split("test"), n), 4_000).returns.mean()
        )

    assert score(agent.actor()) >= 62
    with ablated(agent.policy.core, "off"):
        assert score(agent.actor()) < 51, "without memory there is only chance"

"""Agents in trials that are longer than those of training: memory has room for them, and says nothing else."""

import copy
from typing import Any

import pytest
import torch
from rl2_toys import MEMORY, make

from metarl import evaluate, limits
from metarl.agents.rl2 import RL2PPO
from metarl.agents.rl2_room import policy_for
from metarl.config import InputError
from metarl.envs import distribution
from metarl.evaluation.cost import cost, live_bytes
from metarl.memory.registry import STORES
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.collect import TrainingState, collect

MERGED = {**MEMORY, "controller": "feedforward", "per_action": True, "gate": False, "store_options": {"merge": True}}


def bandit(pulls: int, n: int = 4) -> TrialVectorEnv:
    family = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=pulls, split="validation")
    return TrialVectorEnv(family, n, inputs=TrialInputs())


def agent_of(memory: dict[str, Any], pulls: int = 5) -> RL2PPO:
    agent = make(bandit(pulls), memory=memory)
    gate = getattr(agent.policy.core, "gate", None)
    if gate is not None:
        torch.nn.init.ones_(gate)  # opened, so that what is read counts
    return agent


def missed(policy: Any, whole: Any, pulls: int) -> float:
    """How far acting with one policy is from one pass of another one over the whole trial."""
    env = bandit(pulls)
    state = TrainingState.start(policy, env.reset(seed=0)[0])
    rollout = collect(policy, env, state, pulls, generator=torch.Generator().manual_seed(0), gamma=0.9, lam=0.9)
    assert rollout is not None
    with torch.no_grad():
        again = whole.evaluate(rollout.obs, whole.initial_state(4), rollout.boundary, rollout.actions)
    return float((again.log_prob - rollout.log_probs).abs().max())


@pytest.mark.parametrize("memory", [MEMORY, MERGED], ids=["a slot a step", "merged"])
def test_every_step_of_a_longer_trial_is_remembered(memory: dict[str, Any]) -> None:
    agent = agent_of(memory)
    before = copy.deepcopy(agent.policy.state_dict())
    policy = policy_for(agent, 12, rows=4)
    assert all(torch.equal(before[name], part) for name, part in policy.state_dict().items())
    assert policy is not agent.policy
    assert policy.core.memory.store.capacity == 12
    assert agent.policy.core.memory.store.capacity == 5, "training goes on as before"
    assert missed(policy, policy, 12) < 1e-5
    if not memory.get("per_action"):  # merged, three slots are enough in any room
        assert missed(agent.policy, policy, 12) > 1e-4, "without room the first steps are forgotten"


def test_trials_that_are_not_longer_are_played_by_the_policy_itself() -> None:
    agent = agent_of(MEMORY)
    assert policy_for(agent, 5, rows=4) is agent.policy
    assert policy_for(agent, 2, rows=4) is agent.policy


@pytest.mark.parametrize("store", [name for name in STORES if name != "episodic"])
def test_every_store_plays_trials_ten_times_as_long(store: str) -> None:
    access = "native" if store in ("delta", "neural", "ntm", "lrua", "dnc") else "attention"
    agent = agent_of({"controller": "gru", "controller_options": {"hidden_size": 4}, "store": store, "access": access})
    policy = policy_for(agent, 50, rows=4)
    assert policy is not agent.policy
    assert all(torch.equal(agent.policy.state_dict()[name], part) for name, part in policy.state_dict().items())
    assert missed(policy, policy, 50) < 1e-4


def test_a_memory_of_a_given_capacity_keeps_it_and_says_so() -> None:
    agent = agent_of({**MEMORY, "store_options": {"capacity": 4}})
    with pytest.warns(UserWarning, match="capacity of 4 slots"):
        policy = policy_for(agent, 20, rows=4)
    assert policy.core.memory.store.capacity == 4


def test_memories_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of(MEMORY)
    monkeypatch.setattr(limits, "free_bytes", lambda: 10**6)
    policy_for(agent, 100, rows=4)
    with pytest.raises(InputError, match=r"eval\.rows"):
        policy_for(agent, 10_000, rows=4)


def test_an_evaluation_in_longer_trials_plays_them_whole() -> None:
    agent = agent_of(MERGED)
    family = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=20)
    done = evaluate(agent, family, trials=8, rows=4, tuning_trials=2, quiet=True)
    assert (done.steps_per_trial, len(done.by_episode)) == (20, 20)
    assert agent.policy.core.memory.store.capacity == 5


def test_live_bytes_count_the_slots_that_are_written() -> None:
    """A slot a step, or one for each of three arms where they are merged; key and value of four float32 each."""
    plain, merged = (policy_for(agent_of(memory), 40, rows=8) for memory in (MEMORY, MERGED))
    for policy, slots, each in ((plain, 39, 4 * (4 + 4)), (merged, 3, 4 * (4 + 4 + 2))):
        rest = float(live_bytes(policy.core, policy.initial_state(1)))
        found = cost(policy, lambda n: bandit(40, n), 8)
        assert found.state_bytes <= rest + slots * each
        assert found.room_bytes == rest + 40 * each
        assert found.step_seconds > 0
        if policy is plain:
            assert found.state_bytes == rest + slots * each
    alone = agent_of({"controller": "gru", "store": "none", "access": "none", "controller_options": {"hidden_size": 8}})
    assert cost(alone.policy, lambda n: bandit(40, n), 8)[:2] == (32, 32)


def test_references_count_rewards_as_they_are_whatever_the_agent_is_shown() -> None:
    family = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=20)
    found = []
    for scale in (1.0, 0.1):
        inputs = TrialInputs(prev_reward_scale=scale)
        agent = make(TrialVectorEnv(family, 4, inputs=inputs))
        found.append(evaluate(agent, family, trials=30, rows=30, tuning_trials=5, quiet=True, inputs=inputs).references)
    assert {name: one.return_mean for name, one in found[0].items()} == {
        name: one.return_mean for name, one in found[1].items()
    }

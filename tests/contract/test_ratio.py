"""What training recomputes is what acting saw, for every registered core."""

from dataclasses import replace

import pytest
import torch
from memory_cases import few_slots
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from metarl import tree
from metarl.envs import distribution
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import runnable
from metarl.nets.policy import MemoryPolicy
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.sb3 import SB3Trials
from metarl.training.collect import Rollout, TrainingState, collect
from metarl.training.ppo import PPOOptions, minibatch, update

BARCODE = "metarl/BarcodeBandit-v0"
ROWS = 6
EXACT = 1e-6
STEPPED = 1e-5  # gradient steps inside a read magnify rounding; the state of another row is wrong by 1e-3 and more

REGISTERED = {
    name: replace(options, controller_options={"hidden_size": 8}, key_size=4, store_options=few_slots(options))
    for name, options in runnable()
}
EPISODIC = MemoryOptions(controller="gru", controller_options={"hidden_size": 8}, key_size=4, value_size=8)
VARIANTS = {
    "ring": replace(EPISODIC, store_options={"capacity": 3}),
    "per episode": replace(EPISODIC, store_options={"write": "episode"}),
    "least used": replace(EPISODIC, store_options={"replace": "least_used", "capacity": 3}),
    "top-k heads": replace(EPISODIC, access_options={"top_k": 2, "heads": 2}),
    "horizon of an episode": replace(EPISODIC, horizon="episode"),
}
CASES = REGISTERED | VARIANTS
Trials = TrialVectorEnv | SB3Trials


def barcode() -> TrialVectorEnv:
    return TrialVectorEnv(distribution(BARCODE, arms=3, contexts=2, repeats=2, pulls=2, bits=5), ROWS)


def unequal() -> SB3Trials:
    """Rows whose episodes and trials have different lengths, so that no two stand at the same place."""
    families = [
        distribution(BARCODE, arms=3, contexts=2, repeats=1 + row % 2, pulls=1 + row % 3, bits=5) for row in range(ROWS)
    ]
    return SB3Trials(DummyVecEnv([lambda family=family: TrialEnv(family) for family in families]))


def make_policy(env: Trials, memory: MemoryOptions) -> MemoryPolicy:
    if isinstance(env, SB3Trials):
        obs, actions = env.env.observation_space, env.env.action_space
    else:
        obs, actions = env.single_observation_space, env.single_action_space
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = MemoryPolicy(obs, actions, memory, trial_steps=12)  # type: ignore[arg-type]  # a Dict
        for name, parameter in policy.named_parameters():
            if name == "core.gate":
                nn.init.ones_(parameter)  # opened, so that what is read counts
        nn.init.orthogonal_(policy.head.linear.weight, 1.0)  # far from uniform, so that an error shows
    return policy


def rollouts(policy: MemoryPolicy, env: Trials, steps: int, count: int) -> list[Rollout]:
    state = TrainingState.start(policy, env.reset(seed=0)[0])
    generator = torch.Generator().manual_seed(0)
    made = [collect(policy, env, state, steps, generator=generator, gamma=0.9, lam=0.8) for _ in range(count)]
    return [rollout for rollout in made if rollout is not None]


def exact(options: MemoryOptions) -> float:
    """How far what is recomputed may be off."""
    return STEPPED if options.access == "meta_gradient" or options.store == "neural" else EXACT


def assert_same_policy(policy: MemoryPolicy, rollout: Rollout, exact: float = EXACT) -> None:
    """Recomputed in shuffled minibatches of uneven size: the same log probabilities (ratio 1) and values."""
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    for rows in order.tensor_split(4):
        batch = minibatch(rollout, rows)
        with torch.no_grad():
            again = policy.evaluate(batch.obs, batch.state, batch.boundary, batch.actions)
        torch.testing.assert_close(again.log_prob, batch.log_probs, atol=exact, rtol=exact)
        torch.testing.assert_close(again.value, batch.values, atol=exact, rtol=exact)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("make_env", [barcode, unequal])
def test_the_ratio_is_one_before_any_step(options, make_env) -> None:
    """Each rollout of five steps begins in the middle of the trials that the one before has left."""
    env = make_env()
    policy = make_policy(env, options)
    made = rollouts(policy, env, 5, 3)
    assert len(made) == 3
    for rollout in made:
        assert_same_policy(policy, rollout, exact(options))
    spread = made[-1].log_probs.exp()
    assert float(spread.max() - spread.min()) > 1e4 * EXACT, "the policy tells its inputs apart"


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_at_learning_rate_zero_an_update_of_whole_trials_changes_nothing(options) -> None:
    env = barcode()
    policy = make_policy(env, options)
    (rollout,) = rollouts(policy, env, 8, 1)
    before = [p.detach().clone() for p in policy.parameters()]
    report = update(
        policy,
        torch.optim.Adam(policy.parameters()),
        rollout,
        PPOOptions(learning_rate=0.0, n_epochs=1, n_minibatches=3),
        progress=0.0,
        generator=torch.Generator().manual_seed(0),
    )
    assert report["ratio_error"] <= exact(options)
    assert report["approx_kl"] == pytest.approx(0.0, abs=exact(options))
    assert report["clip_fraction"] == 0.0
    assert all(torch.equal(p, q) for p, q in zip(policy.parameters(), before, strict=True))


def test_a_state_of_another_row_is_caught() -> None:
    """The test itself: with the states of the sequences exchanged, the numbers must differ."""
    env = barcode()
    policy = make_policy(env, EPISODIC)
    rollout = rollouts(policy, env, 5, 2)[1]
    wrong = rollout._replace(state=tree.index(rollout.state, torch.arange(ROWS).roll(1)))
    with pytest.raises(AssertionError):
        assert_same_policy(policy, wrong)

"""What all families share: arrays that play as single environments do, saved trials, tasks as JSON."""

import json
from typing import Any

import numpy as np
import pytest
from vector_toys import same

from metarl import InputError, from_env
from metarl.envs.barcode_bandit import BarcodeBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.envs.cartpole_physics import CartPolePhysics
from metarl.envs.gaussian_bandit import GaussianBandit
from metarl.envs.image_cue import ImageCue
from metarl.envs.pendulum_goal import PendulumGoal
from metarl.envs.tabular_mdp import TabularMDP
from metarl.tasks.family.distribution import Task, TaskDistribution
from metarl.tasks.family.priors import BarcodePrior, BernoulliPrior, GaussianPrior, TabularPrior
from metarl.tasks.vector.env import TrialVectorEnv

SAME_DRAWS = [CartPolePhysics(episodes=8, max_steps=40), PendulumGoal(max_steps=20), ImageCue(delay=2, episodes=3)]
"""Families whose single environments draw the same random numbers as one row of their arrays."""
FAMILIES = [
    *SAME_DRAWS,
    BernoulliBandit(arms=3, pulls=7),
    BernoulliBandit(arms=2, pulls=7, dependence="uniform"),
    GaussianBandit(arms=3, pulls=6),
    BarcodeBandit(arms=3, contexts=2, repeats=2, pulls=2, bits=5),
    BarcodeBandit(arms=3, contexts=3, repeats=2, pulls=1, bits=5, each_arm_best_once=True, reveal=True),
    BarcodeBandit(arms=3, contexts=2, repeats=2, pulls=2, bits=5, flips=2),
    TabularMDP(states=4, actions=3, horizon=3, episodes=4),
]


@pytest.mark.parametrize("family", SAME_DRAWS, ids=lambda f: f.family)
def test_one_row_of_arrays_equals_a_single_environment(family: TaskDistribution) -> None:
    """With equal generators, over a whole trial and past the ends of its episodes."""
    for seed in range(5):
        tasks = family.sample_batch(np.random.default_rng(seed), 1)
        env, batched = family.make({k: v[0] for k, v in tasks.items()}), family.batched(1)
        assert batched is not None
        rng, env.np_random = np.random.default_rng(seed), np.random.default_rng(seed)
        family.action_space.seed(seed)
        assert np.array_equal(env.reset()[0], np.asarray(batched.start(tasks, rng))[0])
        ends = 0
        for _ in range(family.trial_steps):
            action = np.asarray(family.action_space.sample())
            obs, reward, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
            obs = env.reset()[0] if done else obs
            many, rewards, dones = batched.step(action[None], rng)
            assert np.array_equal(np.asarray(many)[0], obs)
            assert (rewards[0], dones[0]) == (reward, done)
            ends += done
        assert ends >= 3


@pytest.mark.parametrize(
    ("family", "steps"),
    [(CartPolePhysics(episodes=1), 200), (PendulumGoal(max_steps=60), 59)],
    ids=["cart", "pendulum"],
)
def test_many_rows_equal_single_environments(family: Any, steps: int) -> None:
    """Whole arrays give the same bits as one state at a time, until the first episode ends."""
    rng = np.random.default_rng(2)
    tasks = family.sample_batch(rng, 67)
    batched = family.batched(67)
    batched.start(tasks, rng)
    playing = {}
    for i, state in enumerate(batched.state_dict()["state"].T):
        playing[i] = family.make({k: v[i] for k, v in tasks.items()})
        playing[i].reset(seed=0)
        playing[i]._state = state
    family.action_space.seed(0)
    for _ in range(steps):
        actions = np.array([family.action_space.sample() for _ in range(67)])
        obs, rewards, done = batched.step(actions, rng)
        for i, env in list(playing.items()):
            seen, reward, terminated, truncated, _ = env.step(actions[i])
            assert (rewards[i], done[i]) == (reward, terminated or truncated)
            if done[i]:
                del playing[i]
            else:
                assert np.array_equal(obs[i], seen)


@pytest.mark.parametrize(
    ("family", "prior", "episodes", "steps"),
    [
        (BernoulliBandit(arms=7, pulls=60), BernoulliPrior(arms=7, pulls=60), 60, 60),
        (BernoulliBandit(arms=2, pulls=9, dependence="hard"), BernoulliPrior(arms=2, pulls=9, dependence="hard"), 9, 9),
        (GaussianBandit(arms=7, pulls=60, noise=0.3), GaussianPrior(arms=7, pulls=60, noise=0.3), 60, 60),
        (
            BarcodeBandit(arms=5, contexts=4, repeats=3, pulls=2, high=0.8, low=0.2, bits=9, flips=1),
            BarcodePrior(arms=5, contexts=4, repeats=3, pulls=2, high=0.8, low=0.2, bits=9, flips=1),
            12,
            24,
        ),
        (
            TabularMDP(states=6, actions=3, horizon=7, episodes=2, noise=0.3),
            TabularPrior(states=6, actions=3, horizon=7, episodes=2, noise=0.3, reward_mean=1.0),
            2,
            14,
        ),
    ],
)
def test_priors_carry_the_options(family: Any, prior: Any, episodes: int, steps: int) -> None:
    assert family.prior == prior
    assert (family.episodes, family.trial_steps) == (episodes, steps)


@pytest.mark.parametrize("steps", [0, 3, 8])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.family)
def test_a_saved_state_continues_bit_for_bit(family: TaskDistribution, steps: int) -> None:
    env, other = TrialVectorEnv(family, 3), TrialVectorEnv(family, 3)
    env.reset(seed=7)
    env.action_space.seed(0)
    for _ in range(steps):
        env.step(env.action_space.sample())
    state = env.state_dict()
    json.dumps({k: state[k] for k in ("seed", "tasks_rng", "env_rng")})
    actions = [env.action_space.sample() for _ in range(50)]
    expected = [env.step(action) for action in actions]
    other.load_state_dict(state)
    assert same(other.state_dict()["observation"], state["observation"])
    assert other.np_random_seed == 7
    for action, (obs, rewards, terminated, _, info) in zip(actions, expected, strict=True):
        got: Any = other.step(action)
        assert same(got[0], obs)
        assert np.array_equal(got[1], rewards)
        assert np.array_equal(got[2], terminated)
        assert set(got[4]) == set(info)
        if info:
            assert same(got[4]["task"], info["task"])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.family)
def test_tasks_are_hashable_json(family: TaskDistribution) -> None:
    batch = family.sample_batch(np.random.default_rng(0), 3)
    tasks = [family.task(batch, i) for i in range(3)]
    assert len({hash(task) for task in tasks}) == 3
    assert [Task.from_json(json.loads(json.dumps(task.to_json()))) for task in tasks] == tasks


def test_a_fraction_is_no_whole_number_of_a_task() -> None:
    family = from_env("CartPole-v1", {"length": "int:1..5"}, steps=10)
    assert family.check_tasks({"length": [2.0]}, 1)["length"] == 2
    with pytest.raises(InputError, match="whole numbers"):
        family.check_tasks({"length": [2.9]}, 1)

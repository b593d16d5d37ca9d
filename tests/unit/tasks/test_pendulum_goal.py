"""The pendulum with a goal: Gymnasium's own steps, batched equal to single, every goal can be held."""

import gymnasium as gym
import numpy as np
import pytest

from metarl.envs.pendulum_goal import REWARD_SCALE, PendulumGoal, goal_angle
from metarl.types import Floats

GOAL_UP = {"goal": np.array([1.0, 0.0])}


def test_upright_is_gymnasiums() -> None:
    """Bit for bit in double precision, far past the limits of speed and torque."""
    ours = PendulumGoal(gravity=10.0, max_steps=200).make(GOAL_UP)
    theirs = gym.make("Pendulum-v1").unwrapped
    assert ours.observation_space == theirs.observation_space
    assert 2 * ours.action_space.high == theirs.action_space.high  # shares of the torque there is
    rng = np.random.default_rng(0)
    fastest = 0.0
    for seed in range(10):
        assert np.array_equal(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        for _ in range(200):
            torque = rng.uniform(-3, 3, 1)
            obs, reward, *_ = ours.step(torque / 2)
            wanted, their_reward, *_ = theirs.step(torque)
            assert obs.dtype == np.float32
            assert np.array_equal(obs, wanted)
            assert reward == pytest.approx(REWARD_SCALE * float(their_reward), rel=1e-15)
            fastest = max(fastest, abs(float(obs[2])))
    assert fastest == 8.0


def test_a_goal_turns_the_reward_alone() -> None:
    """The reward at a goal is that of upright with the angle turned by the goal, the short way round."""
    family = PendulumGoal(gravity=0.0)
    for goal in (-3.0, -0.5, 1.0, np.pi):
        up, turned = family.make(GOAL_UP), family.make({"goal": np.array([np.cos(goal), np.sin(goal)])})
        up.reset(seed=1)
        turned.reset(seed=1)
        turned._state = up._state + np.array([goal, 0.0])
        for torque in np.random.default_rng(0).uniform(-1, 1, (100, 1)):
            _, here, *_ = up.step(torque)
            _, there, *_ = turned.step(torque)
            assert there == pytest.approx(here, rel=1e-9)


def test_every_goal_can_be_held() -> None:
    """With the default gravity a controller that knows the goal comes to rest at it, wherever it lies."""
    family = PendulumGoal(max_steps=200, episodes=1)
    rng = np.random.default_rng(0)
    tasks = family.sample_batch(rng, 400)
    goal = goal_angle(tasks["goal"])
    batched = family.batched(400)
    obs: Floats = batched.start(tasks, rng)  # type: ignore[assignment]
    rewards = np.zeros(400)
    for _ in range(199):
        angle = np.arctan2(obs[:, 1], obs[:, 0])
        away = (angle - goal + np.pi) % (2 * np.pi) - np.pi
        torque = -family.gravity / 2 * np.sin(angle) - 3 * away - 1.5 * obs[:, 2]
        obs, rewards, _ = batched.step((torque / 2).clip(-1, 1)[:, None].astype(np.float32), rng)  # type: ignore[assignment]
    angle = np.arctan2(obs[:, 1], obs[:, 0])
    assert np.abs((angle - goal + np.pi) % (2 * np.pi) - np.pi).max() < 0.01
    assert np.abs(obs[:, 2]).max() < 0.01
    assert rewards.min() > -REWARD_SCALE * 0.001 * 2**2


def test_trials_have_equal_lengths_and_goals_all_angles() -> None:
    family = PendulumGoal()
    assert (family.trial_steps, family.trial_episodes) == (300, None)
    goals = family.sample_batch(np.random.default_rng(0), 10000)["goal"]
    goals = goal_angle(goals)
    counts, _ = np.histogram(goals, bins=8, range=(-np.pi, np.pi))
    assert counts.sum() == 10000
    assert counts.min() > 1100

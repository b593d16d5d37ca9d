"""CartPole with varied physics: Gymnasium's own steps, batched equal to single, every task balanceable."""

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

from metarl.envs.cartpole_physics import PHYSICS, CartPolePhysics, advance
from metarl.types import Floats

GYMNASIUM = dict(zip(PHYSICS, (9.8, 0.5, 0.1, 1.0, 10.0), strict=True))


def fixed(reverse: float = 0.0, **options: Any) -> CartPolePhysics:
    ranges = {name: (value, value) for name, value in GYMNASIUM.items()}
    return CartPolePhysics(**ranges, reverse_probability=reverse, **options)  # type: ignore[arg-type]


def one_task(family: CartPolePhysics, seed: int = 0) -> dict[str, Any]:
    return {k: v[0] for k, v in family.sample_batch(np.random.default_rng(seed), 1).items()}


@pytest.mark.parametrize("swapped", [False, True])
def test_default_physics_are_gymnasiums(swapped: bool) -> None:
    """The task space is float64, so the trajectories are equal bit for bit."""
    family = fixed(reverse=float(swapped), max_steps=500)
    ours, theirs = family.make(one_task(family)), gym.make("CartPole-v1")
    assert ours.observation_space == theirs.observation_space
    rng = np.random.default_rng(0)
    ends = []
    for seed in range(40):
        assert np.array_equal(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        while True:
            action = rng.integers(2)
            obs, reward, *flags, _ = ours.step(1 - action if swapped else action)
            wanted, their_reward, *their_flags, _ = theirs.step(action)
            assert obs.dtype == np.float32
            assert np.array_equal(obs, wanted)
            assert (reward, flags) == (their_reward, their_flags)
            if any(flags):
                ends.append(flags)
                break
    assert [True, False] in ends


def test_rows_are_independent_and_start_alone() -> None:
    family = CartPolePhysics(max_steps=30)
    rng = np.random.default_rng(1)
    tasks = family.sample_batch(rng, 8)
    batched = family.batched(8)
    batched.start(tasks, rng)
    for _ in range(5):
        before, _, _ = batched.step(rng.integers(2, size=8), rng)
    saved = batched.state_dict()
    new = family.sample_batch(rng, 2)
    rows = np.array([6, 1])
    obs = batched.start(new, rng, rows)
    after = batched.state_dict()
    assert obs.shape == (2, 4)
    assert np.abs(obs).max() <= 0.05
    others = np.setdiff1d(np.arange(8), rows)
    assert np.array_equal(after["physics"][:, rows].T, new["physics"])
    assert np.array_equal(after["reversed"][rows], new["reversed"])
    assert (after["steps"][rows] == 0).all()
    for name in saved:
        assert np.array_equal(saved[name][..., others], after[name][..., others])
    assert np.array_equal(before[others], after["state"].T[others].astype(np.float32))


def test_an_episode_is_truncated_and_begins_again() -> None:
    family = fixed(max_steps=4)
    env = family.make(one_task(family))
    env.reset(seed=0)
    flags = [env.step(np.int64(t % 2))[2:4] for t in range(4)]
    assert flags == [(False, False)] * 3 + [(False, True)]
    rng = np.random.default_rng(0)
    batched = family.batched(3)
    batched.start(family.sample_batch(rng, 3), rng)
    for t in range(1, 13):
        obs, rewards, done = batched.step(np.full(3, t % 2), rng)
        assert (done == (t % 4 == 0)).all()
        assert (rewards == 1).all()
        if t % 4 == 0:
            assert np.abs(obs).max() <= 0.05


def test_tasks_follow_their_ranges() -> None:
    family = CartPolePhysics(length=[0.4, 0.6], masspole=(1, 1), reverse_probability=0.25)  # type: ignore[arg-type]  # lists as from a file
    batch = family.sample_batch(np.random.default_rng(0), 4000)
    columns = dict(zip(PHYSICS, batch["physics"].T, strict=True))
    assert (columns["masspole"] == 1.0).all()
    assert 0.4 <= columns["length"].min() < 0.401
    assert 0.599 < columns["length"].max() <= 0.6
    assert abs(batch["reversed"].mean() - 0.25) < 0.03
    assert (family.trial_episodes, family.trial_steps) == (5, 1000)
    assert CartPolePhysics(length=[0.3, 1]) == CartPolePhysics()  # type: ignore[arg-type]  # a list as from a file


def gain(physics: Floats) -> Floats:
    """The linear-quadratic regulator of one physics, linearised at rest by differences."""
    step = 1e-6
    nudges = step * np.eye(4)
    a = np.array([advance(nudge, 0.0, physics) - advance(-nudge, 0.0, physics) for nudge in nudges]).T / (2 * step)
    b = advance(np.zeros(4), 1.0, physics)[:, None]
    cost = np.diag([1.0, 0.1, 10.0, 0.1])
    p = solve_discrete_are(a, b, cost, np.eye(1))
    return np.linalg.solve(np.eye(1) + b.T @ p @ b, b.T @ p @ a)[0]


@pytest.mark.parametrize("corners", [False, True])
def test_every_default_task_can_be_balanced(corners: bool) -> None:
    """Who knows the physics and pushes with the sign of the regulator's force stands for all 200 steps."""
    family = CartPolePhysics(episodes=1)
    tasks = family.sample_batch(np.random.default_rng(0), 320)
    if corners:
        tasks["physics"] = np.repeat(list(itertools.product(*(getattr(family, name) for name in PHYSICS))), 10, axis=0)
    gains = np.array([gain(physics) for physics in tasks["physics"]])
    rng = np.random.default_rng(1)
    batched = family.batched(320)
    obs = batched.start(tasks, rng)
    for t in range(1, 201):
        push = (obs * gains).sum(1) < 0
        obs, _, done = batched.step(push.astype(np.int64) ^ tasks["reversed"], rng)
        assert (done == (t == 200)).all(), tasks["physics"][done]

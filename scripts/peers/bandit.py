"""The bandit that every peer learns: 10 arms of Bernoulli(p), p uniform, trials of 100 pulls.

What a learner sees is RL²'s input: the last action (one-hot), its reward, whether an episode has ended (each pull is
one), and the clock, the share of the trial that is over. A trial is what every library takes for an episode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ARMS, PULLS = 10, 100
WIDTH = ARMS + 3  # of an observation


class Bandits:
    """Trials side by side that begin and end together, in NumPy, one call a step.

    Args:
        rows: how many.
        seed: of arms and rewards.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self.rows, self.rng = rows, np.random.default_rng(seed)
        self.each = np.arange(rows)

    def reset(self) -> NDArray[np.float32]:
        """Begin new trials; returns observations ``[B, WIDTH]``."""
        self.p = self.rng.random((self.rows, ARMS), dtype=np.float32)
        self.t, self.returns = 0, np.zeros(self.rows, np.float32)
        return np.zeros((self.rows, WIDTH), np.float32)

    def step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
        """Pull; returns observations ``[B, WIDTH]``, rewards ``[B]`` and whether the trials are over."""
        rewards = (self.rng.random(self.rows, dtype=np.float32) < self.p[self.each, actions]).astype(np.float32)
        self.returns += rewards
        self.t += 1
        obs = np.zeros((self.rows, WIDTH), np.float32)
        obs[self.each, actions] = 1
        obs[:, ARMS] = rewards
        obs[:, ARMS + 1] = 1
        obs[:, ARMS + 2] = self.t / PULLS
        return obs, rewards, self.t == PULLS

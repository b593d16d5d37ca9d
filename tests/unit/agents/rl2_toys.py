"""A small family and agents for the tests of RL2PPO."""

from typing import Any

import numpy as np
import torch

from metarl.agents.rl2 import RL2PPO
from metarl.envs import distribution
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import Boundary

FAMILY = distribution("metarl/BarcodeBandit-v0", arms=3, contexts=2, repeats=2, pulls=2, bits=5)
STEPS = FAMILY.trial_steps
MEMORY = {"controller": "gru", "controller_options": {"hidden_size": 8}, "key_size": 4, "value_size": 4}
ALONE = {"controller": "gru", "store": "none", "access": "none", "controller_options": {"hidden_size": 8}}
ROWS = 4
ROLLOUT = ROWS * STEPS


def vector(split: Any = "train", n: int = ROWS, **inputs: bool) -> TrialVectorEnv:
    return TrialVectorEnv(FAMILY.with_split(split), n, inputs=TrialInputs(**inputs))


def make(env: Any = None, **options: Any) -> RL2PPO:
    options = {"memory": MEMORY, "n_envs": ROWS, "n_minibatches": 2, "n_epochs": 2, "device": "cpu", **options}
    return RL2PPO("MemoryPolicy", vector() if env is None else env, **options)


def parameters(agent: RL2PPO) -> list[torch.Tensor]:
    return [p.detach().clone() for p in agent.policy.parameters()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def trials(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """The observations of a batch of held-out trials played at random."""
    env = vector("validation", n)
    rng = np.random.default_rng(seed)
    return [env.reset(seed=seed)[0], *(env.advance(rng.integers(3, size=n)).obs for _ in range(STEPS - 1))]


def trial_boundaries(n: int) -> torch.Tensor:
    """``[T, n]``: trials of episodes of two steps."""
    column = [Boundary.TRIAL, *[Boundary.INSIDE, Boundary.EPISODE] * STEPS][:STEPS]
    return torch.tensor(column)[:, None].expand(-1, n)

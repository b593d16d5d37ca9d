"""Trials of random numbers, and the arrays of their record."""

from typing import Any

import numpy as np

from metarl.evaluation.records import Trial
from metarl.types import Array


def arrays(n: int = 2, steps: int = 12, **change: Any) -> dict[str, Array]:
    """Episodes of four steps; the second trial is four steps shorter."""
    rng = np.random.default_rng(0)
    ends = np.zeros((n, steps), bool)
    ends[:, 3::4] = True
    return {
        "obs": rng.normal(size=(n, steps, 4)).astype(np.float32),
        "actions": rng.integers(0, 3, (n, steps)),
        "rewards": rng.random((n, steps), dtype=np.float32),
        "ends": ends,
        "lengths": np.array([steps, steps - 4][:n]),
        "weights": lower(steps),
        **change,
    }


def lower(steps: int) -> Array:
    """Equal weights over what was written before and over no slot."""
    weights = np.full((steps, steps - 1), np.nan, np.float16)
    for t in range(steps):
        weights[t, :t] = 1 / (t + 1)
    return weights


def trial(steps: int = 12, **change: Any) -> Trial:
    made = arrays(1, steps, **change)
    return Trial({"obs": made["obs"][0]}, made["actions"][0], made["rewards"][0], made["ends"][0], lower(steps))

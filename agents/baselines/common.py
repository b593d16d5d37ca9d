"""What the hand-made actors share: reading the feedback of a trial observation, and an argmax that is fair to ties."""

from __future__ import annotations

import numpy as np

from metarl.types import Array, Floats, Ints, TrialObservation


def feedback(obs: TrialObservation, n: int, arms: int) -> tuple[Floats, Floats]:
    """The previous pull of every row: its arm, one-hot ``[n, arms]`` (all zeros for none), and its reward ``[n]``.

    Raises:
        ValueError: a part is missing, or its shape is not that of ``n`` trials with ``arms`` arms.
    """
    for part, shape in (("prev_action", (n, arms)), ("prev_reward", (n, 1))):
        if part not in obs:
            raise ValueError(f"the observation lacks {part!r}, which baselines need: switch this part of the trial on")
        if obs[part].shape != shape:
            raise ValueError(
                f"{part!r} has shape {obs[part].shape}, expected {shape}: call reset(n, rng) with the number of "
                "trials, and give the actor the prior of the family that it plays"
            )
    return obs["prev_action"], obs["prev_reward"][:, 0]


def random_argmax(scores: Floats, rng: np.random.Generator) -> Ints:
    """The column ``[n]`` with the largest of ``scores`` ``[n, arms]``, uniformly at random among equals."""
    lottery = rng.random(scores.shape, dtype=np.float32)
    return np.where(scores == scores.max(axis=1, keepdims=True), lottery, -1).argmax(axis=1)


class Random:
    """Pulls every arm with equal probability."""

    def __init__(self, arms: int) -> None:
        self._arms = arms

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Prepare to play ``n`` trials."""
        self._n, self._rng = n, rng

    def act(self, obs: TrialObservation, begin: Ints) -> Array:
        """Choose arms ``[n]``."""
        return self._rng.integers(self._arms, size=self._n)

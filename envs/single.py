"""What the single environments of all families share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from metarl.tasks.family.distribution import TaskDistribution
from metarl.types import Array


class SingleEnv(gym.Env[Any, Any]):
    """The inner environment of one task, with the spaces of its family.

    Args:
        family: the family that the task comes from.
        task: one array for each parameter, without a batch axis.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, family: TaskDistribution, task: Mapping[str, Array]) -> None:
        self.observation_space, self.action_space = family.observation_space, family.action_space

"""What the single environments of all families share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import gymnasium as gym

from metarl.tasks.family.distribution import TaskDistribution
from metarl.types import Array

Family = TypeVar("Family", bound=TaskDistribution)


class SingleEnv(gym.Env[Any, Any], ABC, Generic[Family]):
    """The inner environment of one task, with the spaces of its family.

    Args:
        family: the family that the task comes from.
        task: one array for each parameter, as the family's ``sample_batch`` draws it, without the axis ``n``.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, family: Family, task: Mapping[str, Array]) -> None:
        self.observation_space, self.action_space = family.observation_space, family.action_space
        self._family, self._task = family, task

    @abstractmethod
    def begin(self) -> Any:
        """Begin an episode; returns its first observation."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Seed the random numbers, if ``seed`` is given, and begin an episode."""
        super().reset(seed=seed)
        return self.begin(), {}

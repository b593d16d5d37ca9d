"""What the single environments of all families share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import gymnasium as gym

from metarl.tasks.family.distribution import TaskDistribution
from metarl.types import Array, Bytes

if TYPE_CHECKING:
    from metarl.envs.picture import Picture

Family = TypeVar("Family", bound=TaskDistribution)
WIDTH, HEIGHT = 480, 360  # of a frame


class Move(NamedTuple):
    """A step of a trial, for pictures.

    Args:
        where: what it was taken in: a state, a context or an episode.
        action: that was taken.
        reward: that it paid.
    """

    where: int
    action: Any
    reward: float


class SingleEnv(gym.Env[Any, Any], ABC, Generic[Family]):
    """The inner environment of one task, with the spaces of its family.

    Args:
        family: the family that the task comes from.
        task: one array for each parameter, as the family's ``sample_batch`` draws it, without the axis ``n``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own declaration)
    truth = True
    """Whether frames show what the agent is not told, such as the worth of arms."""

    def __init__(self, family: Family, task: Mapping[str, Array]) -> None:
        self.observation_space, self.action_space = family.observation_space, family.action_space
        self._family, self._task = family, task
        self.render_mode = family.render_mode
        self._moves: list[Move] = []

    @abstractmethod
    def begin(self) -> Any:
        """Begin an episode; returns its first observation."""

    def draw(self, picture: Picture) -> None:
        """Draw what there is to see of the trial so far, on :data:`WIDTH` times :data:`HEIGHT` pixels.

        Raises:
            NotImplementedError: a family that does not define this.
        """
        # Not abstract: a family may be played without ever being looked at.
        raise NotImplementedError(f"{type(self).__name__} can't be rendered; define draw(picture) in it")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Seed the random numbers and begin a trial, if ``seed`` is given; begin an episode."""
        super().reset(seed=seed)
        if seed is not None:
            self._moves.clear()
        return self.begin(), {}

    def render(self) -> Bytes:
        """A frame ``[360, 480, 3]``."""
        from metarl.envs.picture import Picture

        picture = Picture(WIDTH, HEIGHT)
        self.draw(picture)
        return picture.array()

    def _note(self, where: int, action: Any, reward: float) -> None:
        """Keep a step for pictures, where there are any."""
        if self.render_mode is not None:
            self._moves.append(Move(where, action, reward))

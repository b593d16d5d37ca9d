"""CartPole with unknown physics: gravity, masses, pole length, force, and whether the actions are swapped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces

from metarl.config import InputError
from metarl.envs.single import SingleEnv
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.types import Array, Bools, Floats, Ints

if TYPE_CHECKING:
    from metarl.envs.picture import Picture

PHYSICS = ("gravity", "length", "masspole", "masscart", "force")
"""The order of the numbers in the task parameter ``physics``."""
TAU = 0.02  # seconds a step
X_LIMIT = 2.4  # metres
ANGLE_LIMIT = 12 * 2 * math.pi / 360
START = 0.05  # each number of the first state is uniform in [-START, START]


@dataclass(frozen=True, kw_only=True)
class CartPolePhysics(TaskDistribution):
    """CartPole (Barto, Sutton & Anderson 1983) whose physics differ from task to task and are not shown.

    A trial is ``episodes`` inner episodes in one physics, so trials end at different times. An inner episode ends when
    the pole falls or the cart leaves its track, with Gymnasium's limits, and is truncated after ``max_steps``; every
    step pays 1. Ranges are ``(low, high)``, drawn from uniformly; equal ends hold a number fixed.

    Args:
        episodes: inner episodes of a trial.
        max_steps: steps after which an episode is truncated.
        gravity: m/s².
        length: half the pole's length, in m.
        masspole: kg.
        masscart: kg.
        force: of either push, in N.
        reverse_probability: that the two actions are swapped.

    Raises:
        ValueError: a count below 1, a range that is not two positive numbers in order, or no probability.
    """

    episodes: int = 5
    max_steps: int = 200
    gravity: tuple[float, float] = (7.0, 12.0)
    length: tuple[float, float] = (0.3, 1.0)
    masspole: tuple[float, float] = (0.05, 2.0)
    masscart: tuple[float, float] = (0.5, 2.0)
    force: tuple[float, float] = (5.0, 15.0)
    reverse_probability: float = 0.5

    family: ClassVar[str] = "CartPolePhysics"
    counts: ClassVar[Mapping[str, int]] = {"episodes": 1, "max_steps": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in PHYSICS:
            object.__setattr__(self, name, _range(name, getattr(self, name)))
        if real_number("reverse_probability", self.reverse_probability, at_least=0) > 1:
            raise InputError(key="reverse_probability", given=self.reverse_probability, expected="at most 1")

    @property
    def trial_steps(self) -> int:
        """The steps of a trial in which the pole never falls."""
        return self.episodes * self.max_steps

    @property
    def trial_episodes(self) -> int:
        """The inner episodes of a trial."""
        return self.episodes

    @property
    def observation_space(self) -> spaces.Box:
        """Cart position, its velocity, pole angle, its velocity: Gymnasium's own space."""
        high = np.array([2 * X_LIMIT, np.inf, 2 * ANGLE_LIMIT, np.inf], np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        """Push to the left or to the right; the other way round where the task is reversed."""
        return spaces.Discrete(2)

    @property
    def task_space(self) -> spaces.Dict:
        """``physics`` (in the order of :data:`PHYSICS`) and ``reversed`` (1 where the actions are swapped)."""
        low, high = self._bounds()
        return spaces.Dict({"physics": spaces.Box(low, high, dtype=np.float64), "reversed": spaces.Discrete(2)})

    def _bounds(self) -> Floats:
        return np.array([getattr(self, name) for name in PHYSICS]).T

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """``physics`` ``[n, 5]``, independent and uniform in their ranges, and ``reversed`` ``[n]``."""
        low, high = self._bounds()
        physics = rng.uniform(low, high, (n, len(PHYSICS)))
        return {"physics": physics, "reversed": (rng.random(n) < self.reverse_probability).astype(np.int64)}

    def make(self, task: Mapping[str, Array]) -> CartPoleEnv:
        """The CartPole of one task; ``task`` as :meth:`sample_batch` draws it, without the axis ``n``."""
        return CartPoleEnv(self, task)

    def batched(self, n: int) -> BatchedCartPole:
        """``n`` CartPoles as arrays."""
        return BatchedCartPole(n, self.max_steps)


def _range(name: str, value: Any) -> tuple[float, float]:
    if isinstance(value, list | tuple) and len(value) == 2:
        low, high = (real_number(name, end, above=0) for end in value)
        if low <= high:
            return low, high
    raise InputError(key=name, given=value, expected="a range (low, high) with 0 < low <= high")


def advance(state: Floats, push: Floats | float, physics: Floats) -> Floats:
    """One Euler step of the equations of motion (Barto, Sutton & Anderson 1983, without friction, as in Gymnasium).

    Args:
        state: ``[4, ...]``: position, velocity, angle, angular velocity.
        push: ``[...]``: -1 for a push to the left, +1 to the right.
        physics: ``[5, ...]`` in the order of :data:`PHYSICS`.

    Returns:
        The next state ``[4, ...]``.
    """
    gravity, length, masspole, masscart, force = physics
    x, velocity, angle, spin = state
    total, moment = masspole + masscart, masspole * length
    cos, sin = np.cos(angle), np.sin(angle)
    push_acc = (force * push + moment * np.square(spin) * sin) / total
    spin_acc = (gravity * sin - cos * push_acc) / (length * (4.0 / 3.0 - masspole * np.square(cos) / total))
    acc = push_acc - moment * spin_acc * cos / total
    return np.array([x + TAU * velocity, velocity + TAU * acc, angle + TAU * spin, spin + TAU * spin_acc])


def fallen(state: Floats) -> Bools:
    """Whether the cart left its track or the pole its upright range: ``[4, ...]`` to ``[...]``."""
    return (np.abs(state[0]) > X_LIMIT) | (np.abs(state[2]) > ANGLE_LIMIT)


def _sign(actions: Any, reversed_: Any) -> Any:
    """Actions 0 and 1 to pushes -1 and +1, or +1 and -1 where reversed."""
    return 2.0 * (actions ^ reversed_) - 1.0


class CartPoleEnv(SingleEnv[CartPolePhysics]):
    """One CartPole with the physics of ``task``, truncated after the family's ``max_steps``."""

    def __init__(self, family: CartPolePhysics, task: Mapping[str, Array]) -> None:
        super().__init__(family, task)
        self._physics = np.array(task["physics"], dtype=np.float64)
        self._reversed = int(task["reversed"])

    def begin(self) -> Array:
        """Stand the pole up, nearly: the first state ``[4]``."""
        self._state: Floats = self.np_random.uniform(-START, START, 4)
        self._steps = 0
        return self._state.astype(np.float32)

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Push: the next state ``[4]``, and reward 1."""
        self._state = advance(self._state, _sign(int(action), self._reversed), self._physics)
        self._note(self._steps, int(action), 1.0)
        self._steps += 1
        late = self._steps == self._family.max_steps
        return self._state.astype(np.float32), 1.0, bool(fallen(self._state)), late, {}

    def draw(self, picture: Picture) -> None:
        """The cart on its track, its pole at its true length, the last push, and the physics."""
        from metarl.envs.frames import LEFT, RIGHT, heading
        from metarl.envs.picture import BLUE, GRID, INK, ORANGE, SOFT

        episode = sum(move.where == 0 for move in self._moves) + (self._steps == 0)
        heading(picture, f"episode {min(episode, self._family.episodes)}, step {self._steps}", self._moves)
        middle, floor, metre = (LEFT + RIGHT) / 2, 250.0, (RIGHT - LEFT) / (2 * X_LIMIT + 0.6)
        x, angle = middle + metre * self._state[0], self._state[2]
        for end in (-X_LIMIT, X_LIMIT):
            picture.line([(middle + metre * end, floor - 10), (middle + metre * end, floor + 22)], SOFT, 2)
        picture.line([(LEFT, floor + 16), (RIGHT, floor + 16)], GRID, 3)
        long = 2 * self._physics[PHYSICS.index("length")] * metre
        top = x + long * math.sin(angle), floor - 12 - long * math.cos(angle)
        picture.box((x - 30, floor - 12), (60, 24), INK)
        picture.line([(x, floor - 12), top], ORANGE, 7)
        picture.disc((x, floor - 12), 4, "#FFFFFF", SOFT)
        if self._steps:
            side = _sign(self._moves[-1].action, self._reversed)
            picture.arrow((x + 34 * side, floor), (x + 78 * side, floor), BLUE, 3)
            picture.text((LEFT, 50), f"action {self._moves[-1].action}", 13, BLUE)
        if self.truth:
            told = ", ".join(f"{name} {value:.2f}" for name, value in zip(PHYSICS, self._physics, strict=True))
            picture.text((middle, 304), told, 12, SOFT, "ma")
            told = "actions swapped" if self._reversed else "actions not swapped"
            picture.text((middle, 324), told, 12, SOFT, "ma")


class BatchedCartPole(BatchedEnv):
    """``n`` CartPoles, each with physics of its own; one that ends starts again at once."""

    saved = ("physics", "reversed", "state", "steps")

    def __init__(self, n: int, max_steps: int) -> None:
        self._max_steps = max_steps
        self.physics = np.ones((len(PHYSICS), n))
        self.reversed = np.zeros(n, np.int64)
        self.state: Floats = np.zeros((4, n))
        self.steps = np.zeros(n, np.int64)

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`."""
        rows = np.arange(len(self.steps)) if rows is None else rows
        self.physics[:, rows] = tasks["physics"].T
        self.reversed[rows] = tasks["reversed"]
        self._begin(rows, rng)
        return self.state[:, rows].T.astype(np.float32)

    def step(self, actions: Array, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Push every cart once: ``[n]`` actions, states ``[n, 4]``, rewards ``[n]`` of 1."""
        self.state = advance(self.state, _sign(actions, self.reversed), self.physics)
        self.steps += 1
        done = fallen(self.state) | (self.steps == self._max_steps)
        if done.any():
            self._begin(done.nonzero()[0], rng)
        return self.state.T.astype(np.float32, order="C"), np.ones(len(done), np.float32), done

    def _begin(self, rows: Ints, rng: np.random.Generator) -> None:
        self.state[:, rows] = rng.uniform(-START, START, (len(rows), 4)).T
        self.steps[rows] = 0

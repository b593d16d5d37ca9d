"""A pendulum with a hidden goal: hold the angle that the rewards speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces

from metarl.envs.single import SingleEnv
from metarl.tasks.family.checks import real_number
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.types import Array, Bools, Floats, Ints

if TYPE_CHECKING:
    from metarl.envs.picture import Picture

DT = 0.05  # seconds a step
MAX_SPEED = 8.0  # rad/s
MAX_TORQUE = 2.0  # N m; the rod is 1 m long and weighs 1 kg
START = np.array([np.pi, 1.0])  # the first angle and velocity are uniform in [-START, START]
REWARD_SCALE = 0.1


@dataclass(frozen=True, kw_only=True)
class PendulumGoal(TaskDistribution):
    """Gymnasium's Pendulum, to be held at an angle that differs from task to task and is not shown.

    The reward is Gymnasium's with the goal in place of upright, times 0.1: ``-0.1 (d² + 0.1 w² + 0.001 u²)`` with
    ``d`` the angle to the goal in [-pi, pi], ``w`` the angular velocity before the step and ``u`` the torque. A trial
    is ``episodes`` inner episodes of ``max_steps`` steps, from random angles and velocities.

    Args:
        episodes: inner episodes in a trial.
        max_steps: steps in each; it ends by truncation.
        gravity: m/s². Holding an angle takes a torque of ``gravity / 2 * sin(angle)``, so up to 4 the most there is,
            2 N m, can hold any goal.

    Raises:
        ValueError: a count below 1, or a gravity that is not a number of at least 0.
    """

    episodes: int = 3
    max_steps: int = 100
    gravity: float = 3.0

    family: ClassVar[str] = "PendulumGoal"
    counts: ClassVar[Mapping[str, int]] = {"episodes": 1, "max_steps": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("gravity", self.gravity, at_least=0)

    @property
    def trial_steps(self) -> int:
        """The steps of all episodes."""
        return self.episodes * self.max_steps

    @property
    def observation_space(self) -> spaces.Box:
        """Cosine and sine of the angle (0 is upright), and the angular velocity: Gymnasium's own space."""
        high = np.array([1.0, 1.0, MAX_SPEED], np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    @property
    def action_space(self) -> spaces.Box:
        """The torque, as a share of the 2 N m there are."""
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def task_space(self) -> spaces.Dict:
        """``goal``: cosine and sine of the angle to be held, so that a net that sees it meets no jump at pi."""
        return spaces.Dict({"goal": spaces.Box(-1.0, 1.0, (2,), np.float64)})

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """``goal`` ``[n, 2]``; its angle is uniform."""
        angle = np.pi - 2 * np.pi * rng.random(n)
        return {"goal": np.stack([np.cos(angle), np.sin(angle)], axis=1)}

    def make(self, task: Mapping[str, Array]) -> PendulumGoalEnv:
        """The pendulum of one task; ``task`` as :meth:`sample_batch` draws it, without the axis ``n``."""
        return PendulumGoalEnv(self, task)

    def batched(self, n: int) -> BatchedPendulumGoal:
        """``n`` pendulums as arrays."""
        return BatchedPendulumGoal(self)


def advance(state: Floats, torque: Floats, goal: Floats, gravity: float) -> tuple[Floats, Floats]:
    """One step of Gymnasium's Pendulum-v1 (a rod of 1 m and 1 kg, semi-implicit Euler).

    Args:
        state: ``[2, ...]``: angle and angular velocity.
        torque: ``[...]`` float64.
        goal: ``[...]``, angles.
        gravity: m/s².

    Returns:
        The next state ``[2, ...]`` and the reward ``[...]``.
    """
    angle, spin = state
    torque = np.clip(torque, -MAX_TORQUE, MAX_TORQUE)
    away = (angle - goal + np.pi) % (2 * np.pi) - np.pi
    cost = np.square(away) + 0.1 * np.square(spin) + 0.001 * np.square(torque)
    spin = spin + (3 * gravity / 2 * np.sin(angle) + 3.0 * torque) * DT
    spin = np.clip(spin, -MAX_SPEED, MAX_SPEED)
    return np.array([angle + spin * DT, spin]), -REWARD_SCALE * cost


def goal_angle(point: Floats) -> Any:
    """The angle ``[...]`` of a goal ``[..., 2]``."""
    return np.arctan2(point[..., 1], point[..., 0])


def observe(state: Floats) -> Array:
    """``[2, ...]`` to ``[..., 3]`` float32."""
    return np.stack([np.cos(state[0]), np.sin(state[0]), state[1]], axis=-1).astype(np.float32)


class PendulumGoalEnv(SingleEnv[PendulumGoal]):
    """One pendulum with the goal of ``task``, truncated after the family's ``max_steps``."""

    def __init__(self, family: PendulumGoal, task: Mapping[str, Array]) -> None:
        super().__init__(family, task)
        self._goal = goal_angle(np.asarray(task["goal"], dtype=np.float64))

    def begin(self) -> Array:
        """Let it swing from anywhere; returns the first observation ``[3]``."""
        self._state: Floats = self.np_random.uniform(-START, START)
        self._steps = 0
        return observe(self._state)

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply a share ``[1]`` of the torque."""
        torque = MAX_TORQUE * np.asarray(action, dtype=np.float64)[0]
        self._state, reward = advance(self._state, torque, self._goal, self._family.gravity)
        self._note(self._steps, float(torque) / MAX_TORQUE, float(reward))
        self._steps += 1
        return observe(self._state), float(reward), False, self._steps == self._family.max_steps, {}

    def draw(self, picture: Picture) -> None:
        """The rod, the torque, and the angle that pays."""
        from metarl.envs.frames import facts, heading
        from metarl.envs.picture import BLUE, GREEN, GRID, INK, ORANGE, SOFT

        episode = sum(move.where == 0 for move in self._moves) + (self._steps == 0)
        heading(picture, f"episode {min(episode, self._family.episodes)}, step {self._steps}", self._moves)
        middle, reach = (170.0, 204.0), 112.0

        def at(angle: float, far: float) -> tuple[float, float]:  # 0 is upright, and positive angles are to the left
            return middle[0] - far * float(np.sin(angle)), middle[1] - far * float(np.cos(angle))

        picture.disc(middle, reach + 16, None, GRID)
        if self.truth:
            picture.line([middle, at(self._goal, reach + 16)], GREEN, 2)
            picture.disc(at(self._goal, reach + 16), 8, GREEN)
        picture.line([middle, at(self._state[0], reach)], ORANGE, 12)
        picture.disc(middle, 7, INK)
        rows = [("angular velocity", f"{self._state[1]:+.2f} rad/s")]
        if self._steps:
            last = self._moves[-1]
            arc = [at(self._state[0] + part * last.action, 46) for part in np.linspace(0, 1.2, 12)]
            picture.line(arc, BLUE, 3)
            picture.arrow(arc[-2], at(self._state[0] + 1.45 * last.action, 46), BLUE, 3)
            rows += [("torque", f"{MAX_TORQUE * last.action:+.2f} N m"), ("reward", f"{last.reward:.3f}")]
        facts(picture, 330, 90, rows)
        if self.truth:
            picture.text((330, 300), "green: what pays", 12, SOFT)


class BatchedPendulumGoal(BatchedEnv):
    """``n`` pendulums, whose episodes begin and end together."""

    saved = ("goal", "state", "steps")

    def __init__(self, family: PendulumGoal) -> None:
        self._family = family

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`."""
        self.goal = goal_angle(tasks["goal"].astype(np.float64))
        return self._begin(rng)

    def _begin(self, rng: np.random.Generator) -> Array:
        self.state: Floats = rng.uniform(-START, START, (len(self.goal), 2)).T.copy()
        self.steps = 0
        return observe(self.state)

    def step(self, actions: Array, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Apply shares ``[n, 1]`` of the torque."""
        torque = MAX_TORQUE * np.asarray(actions[:, 0], dtype=np.float64)
        self.state, reward = advance(self.state, torque, self.goal, self._family.gravity)
        self.steps += 1
        done = self.steps == self._family.max_steps
        obs = self._begin(rng) if done else observe(self.state)
        return obs, reward, np.full(len(reward), done)

"""Trials played with random actions, and a record of what the inner environments did in them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from metarl.tasks.family.checks import check_step
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.env import TrialEnv
from metarl.types import MASK_KEY, Array, TrialObservation, is_obs_key

STEPS = 400  # the most steps that are played of a trial
SLIGHT = 0.05  # a difference, relative and absolute, that does not make another trial


class BrokenRuleError(Exception):
    """A rule is broken; the message says how, and what to do."""


class Step(NamedTuple):
    """What an inner environment returned."""

    obs: Any
    reward: Any = 0.0
    terminated: bool = False
    truncated: bool = False
    action: Any = None


class Log:
    """All that the inner environments of one trial environment were asked, and what they returned."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        """One for each step, and one without an action for each reset."""
        self.tasks: list[Mapping[str, Array]] = []
        """One for each environment made, or changed into another task."""
        self.drifts: list[Mapping[str, Any]] = []

    def played(self) -> list[Step]:
        """The steps alone."""
        return [step for step in self.steps if step.action is not None]

    def ends(self) -> list[bool]:
        """Which steps ended an episode."""
        return [step.terminated or step.truncated for step in self.played()]


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Records what an inner environment does; ends its episodes after ``cut`` steps, if given.

    Refuses what no trial can show: see :func:`parts`.
    """

    def __init__(
        self, env: gym.Env[Any, Any], log: Log, cut: int | None, drift: Callable[[], Mapping[str, Any]]
    ) -> None:
        super().__init__(env)
        self.log, self.cut, self.drift, self.count = log, cut, drift, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        self.count = 0
        self._look(obs)
        self.log.steps.append(Step(copy.deepcopy(obs)))
        self.log.drifts += filter(None, [self.drift()])
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a step."""
        self.count += 1
        try:
            result: Any = self.env.step(action)
            if not isinstance(result, tuple) or len(result) != 5:
                check_step(self.observation_space, result)  # which says what is wrong
            obs, reward, terminated, truncated, info = result
            self._look(obs)
            paid = np.asarray(reward)
            if paid.dtype.kind not in "fiub" or paid.size != 1:
                raise BrokenRuleError(f"the reward is {reward}, expected a number: there is one agent in a trial")
        except Exception as error:
            error.add_note(f"in step {self.count} of an episode")
            raise
        truncated = bool(truncated) or self.count == self.cut
        self.log.steps.append(Step(copy.deepcopy(obs), reward, bool(terminated), truncated, copy.deepcopy(action)))
        return obs, reward, terminated, truncated, info

    def _look(self, obs: Any) -> None:
        for name, space, value in parts(self.observation_space, obs):
            whole = isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
            if whole and not space.contains(value):
                raise BrokenRuleError(
                    f"the {name} {value} ({kind(value)}) does not lie in its space {space}; change the space, or what "
                    "the environment returns"
                )


def watched(family: TaskDistribution, cut: int | None = None) -> tuple[TaskDistribution, Log]:
    """The same family, and what its environments do from now on."""
    log, same = Log(), copy.copy(family)
    drift: Callable[..., Mapping[str, Any]] = getattr(family, "drift", lambda env, task: {})

    def note(env: gym.Env[Any, Any], task: Mapping[str, Array]) -> Recorder:
        log.tasks.append({name: np.array(value) for name, value in task.items()})
        return Recorder(env, log, cut, lambda: drift(env, task))

    def make(task: Mapping[str, Array]) -> Recorder:
        return note(family.make(task), task)

    def remake(env: Any, task: Mapping[str, Array]) -> Recorder:
        return note(family.remake(env.env, task), task)

    object.__setattr__(same, "make", make)
    object.__setattr__(same, "remake", remake)
    return same, log


class Trial(NamedTuple):
    """A trial that was played with random actions.

    Args:
        late: whether it was left because there was no more time.
    """

    obs: list[TrialObservation]
    rewards: list[float]
    actions: list[Any]
    task: Mapping[str, Array]
    late: bool = False


def play(env: TrialEnv, seed: int | None, most: int = STEPS, until: float | None = None) -> Trial:
    """Play a trial, or its first steps, with random actions that are the same each time.

    Args:
        env: where to play.
        seed: of the reset; None continues with the generators at hand.
        most: steps after which to stop.
        until: when to stop, as :func:`time.monotonic` tells it; one step is always played.
    """
    obs, info = env.reset(seed=seed)
    actions = copy.deepcopy(env.action_space)
    actions.seed(0)
    trial = Trial([obs], [], [], info["task"])
    while len(trial.actions) < most:
        action = actions.sample(**allowed(env.action_space, trial.obs[-1]))
        obs, reward, over, _, _ = env.step(action)
        trial.obs.append(obs)
        trial.rewards.append(reward)
        trial.actions.append(action)
        if over:
            break
        if until is not None and time.monotonic() > until:
            return trial._replace(late=True)
    return trial


def allowed(space: gym.Space[Any], obs: Any) -> dict[str, Any]:
    """What tells a space to sample only actions that the mask in an observation, if there is one, allows."""
    if not isinstance(obs, Mapping) or MASK_KEY not in obs:
        return {}
    mask = obs[MASK_KEY].astype(np.int8)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return {"mask": tuple(np.split(mask, np.cumsum(space.nvec)[:-1]))}
    return {"mask": mask}


def parts(space: spaces.Space[Any], obs: Any) -> Iterator[tuple[str, spaces.Space[Any], Any]]:
    """The name, the space and the value of each part of an observation.

    Raises:
        BrokenRuleError: a part is missing, or has another shape than its space.
    """
    inside = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    for name, part in inside.items():
        what = f"part {name!r} of the observation" if name else "observation"
        if name and (not isinstance(obs, Mapping) or name not in obs):
            raise BrokenRuleError(
                f"the observation has no part {name!r} that its space has; add it, or change the space"
            )
        value = obs[name] if name else obs
        if np.shape(value) != part.shape:
            raise BrokenRuleError(
                f"the {what} has the shape {np.shape(value)}, but its space is {part}; return what the space says"
            )
        yield what, part, value


def kind(value: Any) -> str:
    """The dtype of an array, or the type of anything else."""
    return str(getattr(value, "dtype", type(value).__name__))


def equal(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    """Whether two dicts have equal arrays ``[...]`` of the same names; NaN equals NaN."""
    return a.keys() == b.keys() and not _unlike(a, b)


def _unlike(a: Mapping[str, Array], b: Mapping[str, Array]) -> list[str]:
    """The keys of arrays that are not equal."""
    return [key for key in a if not np.array_equal(a[key], b[key], equal_nan=True)]


def first_difference(a: Trial, b: Trial) -> str | None:
    """Where two trials differ first; None: nowhere in what was played of both."""
    if not equal(a.task, b.task):
        return "in their task"
    for t, (one, other) in enumerate(zip(a.obs, b.obs, strict=False)):
        if parts := _unlike(one, other):
            return f"in the observation at step {t} ({', '.join(parts)})"
    if len(a.obs) == len(b.obs) or a.late or b.late:
        return None
    return f"in their length ({len(a.obs) - 1} and {len(b.obs) - 1} steps)"


def slight(a: Trial, b: Trial) -> bool:
    """Whether two trials show almost the same where they first differ, as of a physics engine that is not quite reset.

    What was paid counts only where nothing else differs; it may be large against small differences.
    """
    for one, other in zip(a.obs, b.obs, strict=False):
        if parts := _unlike(one, other):
            seen = [key for key in parts if is_obs_key(key)] or parts
            return all(np.allclose(one[key], other[key], rtol=SLIGHT, atol=SLIGHT) for key in seen)
    return False


def short(task: Mapping[str, Any]) -> str:
    """The values of a task, for messages."""
    return str({name: np.asarray(value).tolist() for name, value in task.items()})

"""Many trials side by side as arrays: the fast vector environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from metarl.config import InputError
from metarl.limits import check_bytes
from metarl.tasks.family.checks import whole_number
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.trial.env import build, pick_inputs, shown, streams
from metarl.tasks.trial.inner import no_render_mode
from metarl.tasks.trial.layout import INPUTS, TrialInputs, TrialLayout
from metarl.tasks.trial.parts import TaskPart
from metarl.tasks.trial.told import vector_info
from metarl.tasks.vector.process import START_SECONDS
from metarl.tasks.vector.sync import SyncRows
from metarl.tasks.vector.workers import WorkerRows
from metarl.types import Array, Bools, Floats, Ints, Split, StepResult, TrialObservation

ROW_BYTES = 500  # of a row, beside its observations: its task, counters and generators


def check_rows(space: gym.spaces.Dict, n: int) -> None:
    """Refuse ``n`` rows whose observations in ``space``, with their bounds and those of the step before, are too large.

    Raises:
        InputError: memory cannot hold them.
    """
    parts: Any = space.spaces.values()
    row = ROW_BYTES + sum(4 * math.prod(part.shape) * np.dtype(part.dtype).itemsize for part in parts)
    check_bytes(n * row, key="num_envs", given=n, remedy="play fewer rows, or make observations smaller")


class TrialVectorEnv(VectorEnv[TrialObservation, Array, Array]):
    """``num_envs`` trials of one family stepped as arrays, each row in a task of its own.

    Where a trial is a number of steps, all rows end together; where it is a number of episodes, each ends by itself,
    with ``terminated=True``. The step that ends a trial returns the first observations of the next one (SAME_STEP);
    the true last ones are in ``info["final_obs"]`` (a dict of arrays ``[n, ...]``) and the new tasks in
    ``info["task"]``, with the usual masks beside them. Inside a trial ``info`` holds nothing but the numbers that inner
    environments tell, by name, in steps that told some: ``success``, and those named by the family's ``infos``.

    A family with batched dynamics of its own is stepped by those, any other by Gymnasium's sync vector environment, in
    this process or in ``workers`` others. Where an environment or a worker fails, the trials of its rows end, marked
    in ``info["void"]``, and others begin.

    :meth:`advance` is the step that this package takes; :meth:`step` says the same in Gymnasium's form.

    Args:
        distribution: the family that tasks come from.
        num_envs: number of rows.
        inputs: the parts that travel beside the inner observation.
        workers: processes that the rows are spread over; 0: this one.
        worker_timeout: seconds in which a worker must answer.
        start_timeout: seconds in which a new worker must have imported what it needs.
        max_restarts: workers, or environments in this process, that may be replaced before training ends in an error.

    Raises:
        ValueError: a bad number, a space that a trial cannot show, or a family that needs no workers.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        num_envs: int,
        *,
        inputs: TrialInputs | None = None,
        workers: int = 0,
        worker_timeout: float = 60.0,
        start_timeout: float = START_SECONDS,
        max_restarts: int = 10,
    ) -> None:
        whole_number("num_envs", num_envs, at_least=1)
        self.render_mode, metadata = shown(distribution)
        self.metadata = {**metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.distribution = distribution
        self.layout = TrialLayout(distribution, inputs)
        self.num_envs = int(num_envs)
        self.trial_steps = distribution.trial_steps
        self.trial_episodes = distribution.trial_episodes
        self.single_observation_space = self.layout.observation_space
        self.single_action_space = self.layout.action_space
        check_rows(self.single_observation_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        batched = distribution.batched(self.num_envs) if self.render_mode is None else None  # arrays have no frames
        whole_number("workers", workers, at_least=0)
        if batched is not None and workers:
            raise ValueError(
                f"{distribution.family} is stepped as arrays, which is faster in one process; leave out "
                f"workers={workers}"
            )
        if workers:
            limits = worker_timeout, max_restarts, start_timeout
            batched = WorkerRows(distribution, self.num_envs, workers, *limits)
        self._batched: BatchedEnv = batched or SyncRows(distribution, self.num_envs, max_restarts=max_restarts)
        self._steps = np.zeros(self.num_envs, np.int64)
        self._episodes = np.zeros(self.num_envs, np.int64)
        self._task: TaskPart | None = self.layout.task
        self._vector: Floats | None = None
        """The tasks under way ``[n, V]``, where they are shown or told."""
        self._tasks_rng: np.random.Generator | None = None
        self._before: dict[str, Any] | None = None
        """The generators before all trials began, until the first step."""
        self._obs: TrialObservation | None = None
        self.info: dict[str, Any] = {}
        """The info of the last reset or step, in Gymnasium's form."""

    @property
    def split(self) -> Split:
        """The split that tasks are drawn from."""
        return self.distribution.split

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[TrialObservation, dict[str, Any]]:
        """Begin a trial in every row.

        Args:
            seed: decides the tasks and dynamics of this and all later trials; None continues with the generators at
                hand, seeded by the operating system the first time (``np_random_seed`` is that seed).
            options: ``{"tasks": TaskBatch}`` plays these tasks in this trial.

        Raises:
            ValueError: an unknown option, or tasks of the wrong names, shapes or values.
        """
        tasks = None
        if options:
            if set(options) != {"tasks"} or not isinstance(options["tasks"], Mapping):
                raise ValueError(f"the only reset option is {{'tasks': dict of arrays}}, got {sorted(options)}")
            tasks = self.distribution.check_tasks(options["tasks"], self.num_envs)
        if seed is not None or self._tasks_rng is None:
            self._tasks_rng, self._np_random, self._np_random_seed = streams(self.distribution, seed)
        self.info = self._begin_trials(self._tasks_rng, np.ones(self.num_envs, np.bool_), tasks)
        assert self._obs is not None
        return self._obs, self.info

    def render(self) -> tuple[Any, ...]:
        """A frame of each row, as Gymnasium's own vector environments give them.

        Raises:
            InputError: there is no render mode, or the rows are stepped as arrays or in other processes.
        """
        if not isinstance(self._batched, SyncRows):
            raise no_render_mode("the rows are stepped as arrays or in other processes; use workers=0")
        return self._batched.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Close the inner environments."""
        self._batched.close()

    def step(self, actions: Array) -> tuple[TrialObservation, Array, Array, Array, dict[str, Any]]:
        """Play one step in every row, with actions ``[n, ...]``; errors are those of :meth:`advance`."""
        result = self.advance(actions)
        return result.obs, result.reward, result.ended, result.truncated, self.info

    def advance(self, actions: Array) -> StepResult:
        """Play one step in every row; rewards are float64, as in Gymnasium's own vector environments.

        Args:
            actions: ``[n, ...]``

        Raises:
            gymnasium.error.ResetNeeded: :meth:`reset` was never called.
            TypeError: a discrete action is not an integer.
            ValueError: the actions have the wrong shape or lie outside their space.
        """
        if self._obs is None or self._tasks_rng is None:
            raise gym.error.ResetNeeded("no trial is under way; call reset() first")
        self._before = None
        actions = self.layout.check_actions(actions, self.num_envs)
        inner, paid, done = self._batched.step(actions, self.np_random)
        rewards: Floats = paid.astype(np.float64)
        self._steps += 1
        ended = self._steps == self.trial_steps
        if self.trial_episodes is not None:
            self._episodes += done
            ended |= self._episodes == self.trial_episodes
        broken = self._batched.broken
        if broken is not None:
            ended |= broken
        self._obs = self.layout.observe(inner, self._steps, actions, rewards, done, self._shown(self._vector))
        final_obs, never = None, np.zeros(self.num_envs, np.bool_)
        told = self._batched.told
        self.info = {} if told is None else vector_info(told)
        if ended.any():
            final_obs = self._obs
            self.info |= {"final_obs": final_obs, "_final_obs": ended}
            self.info |= self._begin_trials(self._tasks_rng, ended)
            if broken is not None:
                self.info |= {"void": broken, "_void": broken}
        return StepResult(self._obs, rewards, done, ended, never, never if broken is None else broken, final_obs, told)

    def _begin_trials(
        self, tasks_rng: np.random.Generator, begins: Bools, tasks: TaskBatch | None = None
    ) -> dict[str, Any]:
        """Begin trials in the rows ``begins`` ``[n]`` and write their first observations into ``_obs``."""
        rows = np.flatnonzero(begins)
        everywhere = len(rows) == self.num_envs
        self._before = self._generators() if everywhere and tasks is None and not self.resumable else None
        tasks = self.distribution.sample_batch(tasks_rng, len(rows)) if tasks is None else tasks
        vector = None if self._task is None else self._task(tasks)
        inner = self._batched.start(tasks, self.np_random, None if everywhere else rows)
        self._steps[rows] = self._episodes[rows] = 0
        obs = self.layout.observe(inner, 0, tasks=self._shown(vector))
        if everywhere:
            self._obs, self._vector = obs, vector
            return {"task": tasks, "_task": begins}
        assert self._obs is not None  # the first trials begin everywhere
        self._obs = {key: part.copy() for key, part in self._obs.items()}
        for key, part in obs.items():
            self._obs[key][rows] = part
        if vector is not None and self._vector is not None:
            self._vector = self._vector.copy()
            self._vector[rows] = vector
        return {"task": {name: _spread(values, rows, self.num_envs) for name, values in tasks.items()}, "_task": begins}

    def _shown(self, vector: Floats | None) -> Floats | None:
        """The tasks ``[n, V]`` if observations show them."""
        return None if self.layout.task is None else vector

    def tell_tasks(self) -> int:
        """From the next trials on, tell the tasks in :attr:`told_tasks`; returns how many numbers a task has.

        Raises:
            ValueError: a parameter of the tasks is no numbers, or has too many choices; or there is no parameter.
        """
        self._task = self._task or TaskPart(self.distribution.task_space)
        if not self._task.size:
            raise InputError(f"the tasks of {self.distribution.family} have no parameters", key="the task space")
        return self._task.size

    @property
    def told_tasks(self) -> Floats:
        """The tasks under way as vectors ``[n, V]``, an array of its own for each set of tasks; never observed.

        Raises:
            gymnasium.error.ResetNeeded: :meth:`tell_tasks` was not called before the last :meth:`reset`.
        """
        if self._vector is None:
            raise gym.error.ResetNeeded("no tasks are told; call tell_tasks() and then reset()")
        return self._vector

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.distribution.family!r}, num_envs={self.num_envs}, split={self.split!r})"

    @property
    def knows_episodes(self) -> bool:
        """See :class:`metarl.types.TrialVector`."""
        return True

    @property
    def resumable(self) -> bool:
        """Whether all can be saved in the middle of a trial: the family has dynamics of its own that say how."""
        return bool(self._batched.saved)

    def _generators(self) -> dict[str, Any]:
        """The states of the generators of tasks and of dynamics."""
        assert self._tasks_rng is not None
        return {"tasks_rng": self._tasks_rng.bit_generator.state, "env_rng": self.np_random.bit_generator.state}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue bit for bit, in the middle of a trial too.

        Arrays and plain JSON; ``observation`` is the one that the next action answers to.

        Environments that can't be saved (not :attr:`resumable`) have nothing but their generators here, and are reset
        after :meth:`load_state_dict`: where ``exact`` is true, trials were about to begin in all rows, and the same
        ones begin again; else others begin, with tasks that were not drawn before.
        """
        if self._obs is None or self._tasks_rng is None:
            raise gym.error.ResetNeeded("there is nothing to save before the first reset()")
        drawn = {"seed": self.np_random_seed, "split": self.split}
        if not self.resumable:
            return {**drawn, **(self._before or self._generators()), "exact": self._before is not None}
        return {
            **drawn,
            **self._generators(),
            "steps": self._steps.copy(),
            "episodes": self._episodes.copy(),
            "observation": {k: v.copy() for k, v in self._obs.items()},
            "task_vector": None if self._vector is None else self._vector.copy(),
            "batched": self._batched.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned, in an environment made with the same options.

        Raises:
            ValueError: the state comes from an environment with other spaces or another number of rows.
        """
        if not self.resumable or "batched" not in state:
            self.load_generators(state)
            return
        expected = {k: (self.num_envs, *(space.shape or ())) for k, space in self.layout.observation_space.items()}
        got = {k: np.shape(v) for k, v in state["observation"].items()}
        if got != expected:
            raise ValueError(f"the saved environment has observations {got}, this one {expected}; use the same options")
        self.load_generators(state)
        self._steps, self._episodes = np.array(state["steps"]), np.array(state["episodes"])
        self._obs = {k: np.array(v) for k, v in state["observation"].items()}
        self._vector = None if state["task_vector"] is None else np.array(state["task_vector"])
        self._batched.load_state_dict(state["batched"])

    def load_generators(self, state: Mapping[str, Any]) -> None:
        """Draw on from where :meth:`state_dict` was, with any number of rows; call :meth:`reset` then.

        Raises:
            ValueError: the state is of another split, whose tasks must not be drawn here.
        """
        if state.get("split", self.split) != self.split:
            raise ValueError(f"the saved environment draws {state['split']} tasks, this one {self.split} tasks")
        self._tasks_rng, self._np_random, _ = streams(self.distribution, 0)
        self._tasks_rng.bit_generator.state = state["tasks_rng"]
        self._np_random.bit_generator.state = state["env_rng"]
        self._np_random_seed, self._obs = int(state["seed"]), None


def _spread(values: Array, rows: Ints, n: int) -> Array:
    """``[n, ...]`` with ``values`` ``[m, ...]`` in ``rows`` and zeros elsewhere, as Gymnasium's infos are."""
    out = np.zeros((n, *values.shape[1:]), values.dtype)
    out[rows] = values
    return out


def make_trial_vector(
    family: str, num_envs: int, max_episode_steps: int | None = None, **options: Any
) -> TrialVectorEnv:
    """What Gymnasium calls for an id where its native vector environment is asked for.

    Args:
        family: ``"module:Class"``.
        num_envs: number of rows.
        max_episode_steps: Gymnasium's time limit; only that of the trial itself is accepted.
        options: of the family (``split`` and ``reveal`` among them) and of :class:`TrialInputs`.

    Raises:
        ValueError: an unknown option or a bad value.
    """
    inputs = pick_inputs(options)
    distribution = build(family, options, INPUTS)
    if max_episode_steps not in (None, -1, distribution.trial_steps):
        raise ValueError(
            f"max_episode_steps={max_episode_steps}, but a trial has {distribution.trial_steps} steps; "
            "change the family's own options instead"
        )
    return TrialVectorEnv(distribution, num_envs, inputs=inputs)

"""Many trials side by side as arrays: the fast vector environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from metarl.tasks.checks import check_tasks, whole_number
from metarl.tasks.distribution import TaskBatch, TaskDistribution
from metarl.tasks.layout import INPUTS, TrialInputs, TrialLayout
from metarl.tasks.trial import build, pick_inputs, streams
from metarl.types import Array, Split, TrialObservation


class TrialVectorEnv(VectorEnv[TrialObservation, Array, Array]):
    """``num_envs`` trials of one family stepped as arrays, each row in a task of its own.

    All trials have the same number of steps, so all rows end together, with ``terminated=True``. The step that ends
    them returns the first observations of the next trials (SAME_STEP); the true last ones are in
    ``info["final_obs"]`` (a dict of arrays ``[n, ...]``) and the new tasks in ``info["task"]``, with the usual masks
    beside them. Inside a trial ``info`` is empty.

    Args:
        distribution: the family that tasks come from.
        num_envs: number of rows.
        inputs: the parts that travel beside the inner observation.

    Raises:
        ValueError: the family has no batched dynamics.
    """

    def __init__(self, distribution: TaskDistribution, num_envs: int, *, inputs: TrialInputs | None = None) -> None:
        whole_number("num_envs", num_envs, at_least=1)
        batched = distribution.batched(int(num_envs))
        if batched is None:
            raise ValueError(
                f"{distribution.family} has no batched dynamics; use gymnasium.make_vec(id, num_envs=..., "
                'vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP})'
            )
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self.distribution = distribution
        self.layout = TrialLayout(distribution, inputs)
        self.num_envs = int(num_envs)
        self.trial_steps = distribution.trial_steps
        self.single_observation_space = self.layout.observation_space
        self.single_action_space = self.layout.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._batched = batched
        self._tasks_rng: np.random.Generator | None = None
        self._obs: TrialObservation | None = None

    @property
    def split(self) -> Split:
        """The split that tasks are drawn from."""
        return self.distribution.split

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[TrialObservation, dict[str, Any]]:
        """Begin a trial in every row.

        Args:
            seed: decides the tasks and dynamics of this and all later trials; None goes on with the streams at hand,
                seeded from the operating system the first time (``np_random_seed`` tells with what).
            options: ``{"tasks": TaskBatch}`` plays these tasks in this trial.

        Raises:
            ValueError: an unknown option, or tasks of the wrong names, shapes or values.
        """
        tasks = None
        if options:
            if set(options) != {"tasks"} or not isinstance(options["tasks"], Mapping):
                raise ValueError(f"the only reset option is {{'tasks': dict of arrays}}, got {sorted(options)}")
            tasks = check_tasks(self.distribution, options["tasks"], self.num_envs)
        if seed is not None or self._tasks_rng is None:
            self._tasks_rng, self._np_random, self._np_random_seed = streams(self.distribution, seed)
        return self._begin_trial(self._tasks_rng, tasks)

    def step(self, actions: Array) -> tuple[TrialObservation, Array, Array, Array, dict[str, Any]]:
        """Play one step in every row; rewards are float64, as in Gymnasium's own vector environments.

        Raises:
            gymnasium.error.ResetNeeded: :meth:`reset` was never called.
            TypeError: a discrete action is not an integer.
            ValueError: the actions have the wrong shape or lie outside their space.
        """
        if self._obs is None or self._tasks_rng is None:
            raise gym.error.ResetNeeded("no trial is under way; call reset() first")
        actions = self.layout.check_actions(actions, self.num_envs)
        inner, rewards, done = self._batched.step(actions, self.np_random)
        rewards = rewards.astype(np.float64)
        self._step += 1
        self._obs = self.layout.observe(inner, self._step, actions, rewards, done, self._vector)
        ended = self._step == self.trial_steps
        info: dict[str, Any] = {}
        if ended:
            info = {"final_obs": self._obs, "_final_obs": np.ones(self.num_envs, np.bool_)}
            info |= self._begin_trial(self._tasks_rng, None)[1]
        return self._obs, rewards, np.full(self.num_envs, ended), np.zeros(self.num_envs, np.bool_), info

    def _begin_trial(
        self, tasks_rng: np.random.Generator, tasks: TaskBatch | None
    ) -> tuple[TrialObservation, dict[str, Any]]:
        tasks = self.distribution.sample_batch(tasks_rng, self.num_envs) if tasks is None else tasks
        self._step = 0
        self._vector = self.layout.task_vector(tasks)
        self._obs = self.layout.observe(self._batched.start(tasks), 0, tasks=self._vector)
        return self._obs, {"task": tasks, "_task": np.ones(self.num_envs, np.bool_)}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on bit for bit, in the middle of a trial too.

        Arrays and plain JSON; ``observation`` is the one that the next action answers to.
        """
        if self._obs is None or self._tasks_rng is None:
            raise gym.error.ResetNeeded("there is nothing to save before the first reset()")
        return {
            "seed": self.np_random_seed,
            "step": self._step,
            "tasks_rng": self._tasks_rng.bit_generator.state,
            "env_rng": self.np_random.bit_generator.state,
            "observation": {k: v.copy() for k, v in self._obs.items()},
            "task_vector": None if self._vector is None else self._vector.copy(),
            "batched": self._batched.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, in an environment made alike.

        Raises:
            ValueError: the state comes from an environment with other spaces or another number of rows.
        """
        expected = {k: (self.num_envs, *(space.shape or ())) for k, space in self.layout.observation_space.items()}
        got = {k: np.shape(v) for k, v in state["observation"].items()}
        if got != expected:
            raise ValueError(f"the saved environment has observations {got}, this one {expected}; make it alike")
        self._tasks_rng, self._np_random, _ = streams(self.distribution, 0)
        self._tasks_rng.bit_generator.state = state["tasks_rng"]
        self._np_random.bit_generator.state = state["env_rng"]
        self._np_random_seed = int(state["seed"])
        self._step = int(state["step"])
        self._obs = {k: np.array(v) for k, v in state["observation"].items()}
        self._vector = None if state["task_vector"] is None else np.array(state["task_vector"])
        self._batched.load_state_dict(state["batched"])


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

"""One trial as one Gymnasium episode: several inner episodes of one task, with what came of each step in the input."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import gymnasium as gym
import numpy as np

from metarl.config import InputError, did_you_mean, one_of
from metarl.seeding import numpy_rng, split_key
from metarl.tasks.family.distribution import Task, TaskBatch, TaskDistribution
from metarl.tasks.trial.inner import InnerRow, explained, inner_seeds
from metarl.tasks.trial.layout import INPUTS, TrialInputs, TrialLayout
from metarl.tasks.trial.told import INFOS, as_number, reported_names
from metarl.types import Array, Observations, Split, TrialObservation


class TrialEnv(gym.Env[TrialObservation, Any]):
    """A trial: ``trial_steps`` steps of one task, or its ``trial_episodes``, seen by Gymnasium as one episode.

    An inner episode that ends, by termination or by time-out, begins again in the same task at once: the next
    observation is the first of the next episode and carries the last action, the last reward and ``prev_done`` = 1.
    The trial itself ends with ``terminated=True``; the observation returned then is the true next one.

    ``info`` holds ``trial_start``, ``episode_in_trial`` and ``step_in_trial`` of the observation it comes with,
    ``episode_end`` (whether this step ended an inner episode; then ``episode_final_obs`` is its last inner
    observation), and at ``reset`` also ``task`` (a dict of arrays) and ``split``. The rest is the inner environment's.
    Where an episode ends, the info of the next one's ``reset`` is in it too, but never in the place of ``success``,
    ``is_success`` or what the family's ``infos`` name.

    With a render mode, here or in the family's ``kwargs``, it is rendered as the inner environment is.

    Args:
        distribution: the family that tasks come from.
        inputs: the parts that travel beside the inner observation.
        render_mode: how the inner environments are rendered; None: as the family says.

    Raises:
        InputError: a render mode that the inner environments don't have.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        *,
        inputs: TrialInputs | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            distribution = distribution.rendered(render_mode)
        self.distribution = distribution
        self.layout = TrialLayout(distribution, inputs)
        self.observation_space: gym.Space[Any] = self.layout.observation_space
        self.action_space = self.layout.action_space
        self.render_mode, self.metadata = shown(distribution)
        self._inner = InnerRow(distribution)
        self._tasks_rng: np.random.Generator | None = None
        self._names = reported_names(distribution.infos)
        self._over = True
        self._step = self._episode = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.distribution.family!r}, split={self.split!r})"

    __str__ = __repr__  # Gymnasium's would say no more than the class

    @property
    def trial_steps(self) -> int:
        """Steps in a trial; the most it can have where it ends after a number of episodes."""
        return self.distribution.trial_steps

    @property
    def trial_episodes(self) -> int | None:
        """Inner episodes after which a trial ends; None where all trials have ``trial_steps`` steps."""
        return self.distribution.trial_episodes

    @property
    def split(self) -> Split:
        """The split that tasks are drawn from."""
        return self.distribution.split

    @property
    def inner(self) -> gym.Env[Any, Any] | None:
        """The environment of the task under way; None before the first."""
        return self._inner.env

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[TrialObservation, dict[str, Any]]:
        """Begin a trial of a new task.

        Args:
            seed: decides the tasks and dynamics of this and all later trials. None continues with the generators at
                hand, seeded by the operating system the first time (``np_random_seed`` is that seed).
            options: ``{"task": Task}`` plays this task in this trial.

        Raises:
            ValueError: an unknown option, or a task of another family or shape.
        """
        tasks = _pinned(self.distribution, options)
        if seed is not None or self._tasks_rng is None:
            self._tasks_rng, self._np_random, self._np_random_seed = streams(self.distribution, seed)
        if tasks is None:
            tasks = self.distribution.sample_batch(self._tasks_rng, 1)
        task = {k: v[0] for k, v in tasks.items()}
        self._vector = self.layout.task_vector(tasks)
        self._step = self._episode = 0
        self._over = False
        obs, inner_info = self._inner.begin(task, int(inner_seeds(self.np_random, 1)[0]))
        info = {**inner_info, **self._info(episode_end=False), "task": task, "split": self.split}
        return self._observe(obs), info

    def step(self, action: Any) -> tuple[TrialObservation, float, bool, bool, dict[str, Any]]:
        """Play one inner step.

        Raises:
            gymnasium.error.ResetNeeded: no trial is under way.
            TypeError: a discrete action is not an integer.
            ValueError: the action lies outside its space.
        """
        if self._over:
            raise gym.error.ResetNeeded("no trial is under way; call reset() first")
        actions = self.layout.check_actions(np.asarray(action)[None], 1)
        with explained(self._inner):
            return self._play(actions)

    def _play(self, actions: Array) -> tuple[TrialObservation, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self._inner.step(actions[0])
        if named := [key for key in self.distribution.infos if key in info]:
            told = {key: self._inner.noted(as_number, key, info[key]) for key in named}
            info = {**info, **told}  # as floats, since vector environments take the type of a key from the first row
        done = bool(terminated or truncated)
        self._step += 1
        if done:
            self._episode += 1
            final_obs = obs
            obs, begin_info = self._inner.reset()  # no seed: its own generator goes on
            # Not "final_obs": vector environments keep that name for the end of a trial.
            begin = {key: value for key, value in begin_info.items() if key not in self._names}
            info = {**info, **begin, "episode_final_obs": final_obs}
        reward = float(reward)
        seen = self._observe(obs, actions, np.array([reward]), np.array([done]))
        self._over = self._step == self.trial_steps or self._episode == self.trial_episodes
        return seen, reward, self._over, False, {**info, **self._info(episode_end=done)}

    def render(self) -> Any:
        """The frame of the inner environment; with "human" it is shown.

        Raises:
            InputError: its environments have no render mode.
            gymnasium.error.ResetNeeded: :meth:`reset` was never called.
        """
        return self._inner.render()

    def close(self) -> None:
        """Close the inner environment."""
        self._inner.close()

    def _observe(
        self, obs: Any, actions: Array | None = None, rewards: Array | None = None, done: Array | None = None
    ) -> TrialObservation:
        rows = self.layout.observe(one_row(obs), self._step, actions, rewards, done, self._vector)
        return {key: row[0] for key, row in rows.items()}

    def _info(self, *, episode_end: bool) -> dict[str, Any]:
        return {
            "trial_start": self._step == 0,
            "episode_in_trial": self._episode,
            "step_in_trial": self._step,
            "episode_end": episode_end,
        }


def shown(distribution: TaskDistribution) -> tuple[str | None, dict[str, Any]]:
    """The render mode of a family's environments, and the metadata of its trials.

    Where the family has a mode, an environment is made, which says how fast its frames follow each other.
    """
    metadata: dict[str, Any] = {"render_modes": [], INFOS: tuple(distribution.infos)}
    if distribution.render_mode is None:
        return None, metadata
    tasks = distribution.sample_batch(distribution.task_rng(0), 1)
    env = distribution.make({name: values[0] for name, values in tasks.items()})
    mode, names = env.render_mode, ("render_modes", "render_fps")
    metadata |= {name: env.metadata[name] for name in names if name in env.metadata}
    env.close()
    if mode is None:
        problem = f"the environments of {distribution.family} are not rendered"
        remedy = "their render_mode should be that of the family, which make can give them"
        raise InputError(problem, key="render_mode", given=distribution.render_mode, remedy=remedy)
    return mode, metadata


def one_row(obs: Any) -> Observations:
    """An inner observation, or a dict of them, as a batch ``[1, ...]`` of one row."""
    return {k: np.asarray(v)[None] for k, v in obs.items()} if isinstance(obs, Mapping) else np.asarray(obs)[None]


def streams(distribution: TaskDistribution, seed: int | None) -> tuple[np.random.Generator, np.random.Generator, int]:
    """The generators of tasks and of dynamics, and the seed behind both: ``seed``, or fresh entropy for None."""
    entropy = np.random.SeedSequence().entropy if seed is None else seed
    if not isinstance(entropy, int | np.integer) or entropy < 0:
        raise ValueError(f"a seed is an integer of at least 0, not {seed!r}")
    number = int(entropy)
    return distribution.task_rng(number), numpy_rng(number, "env", split_key(distribution.split)), number


def _pinned(distribution: TaskDistribution, options: Mapping[str, Any] | None) -> TaskBatch | None:
    if not options:
        return None
    if set(options) != {"task"} or not isinstance(options["task"], Task):
        raise ValueError(f"the only reset option is {{'task': Task}}, got {dict(options)!r}")
    task: Task = options["task"]
    if task.family != distribution.family:
        raise ValueError(f"the task belongs to {task.family!r}, but this environment plays {distribution.family!r}")
    return distribution.check_tasks({k: [v] for k, v in task.values}, 1)


def build(family: str, options: Mapping[str, Any], also: tuple[str, ...] = ()) -> TaskDistribution:
    """The family named ``"module:Class"`` with ``options``; the module is imported here and no sooner.

    Args:
        family: ``"module:Class"``.
        options: its options by name.
        also: names of options that the caller takes itself, which the error for an unknown one lists too.

    Raises:
        InputError: an option that the family does not have, or a bad value.
    """
    module, _, name = family.partition(":")
    made = getattr(importlib.import_module(module), name)
    valid = sorted([*(f.name for f in fields(made)), *also])
    for option in options:
        if option not in valid:
            problem, remedy = f"{name} has no option {option!r}", did_you_mean(option, valid)
            raise InputError(problem, key=option, expected=one_of(valid), remedy=remedy)
    distribution = made(**options)
    assert isinstance(distribution, TaskDistribution)
    return distribution


def pick_inputs(options: dict[str, Any]) -> TrialInputs:
    """Take the options of :class:`TrialInputs` out of ``options``."""
    return TrialInputs(**{name: options.pop(name) for name in INPUTS if name in options})


def make_trial(family: str, **options: Any) -> TrialEnv:
    """What Gymnasium calls for an id: a single trial environment of ``family``.

    Args:
        family: ``"module:Class"``.
        options: of the family (``split`` and ``reveal`` among them) and of :class:`TrialInputs`, and ``render_mode``.
    """
    inputs, mode = pick_inputs(options), options.pop("render_mode", None)
    return TrialEnv(build(family, options, (*INPUTS, "render_mode")), inputs=inputs, render_mode=mode)


make_trial.metadata = {"render_modes": ["rgb_array"]}  # type: ignore[attr-defined]  # so Gymnasium makes "human" of it

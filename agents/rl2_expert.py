"""Whom :class:`metarl.agents.rl2.RL2PPO` imitates in training, and whether its environment fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl import parallel
from metarl.agents import baselines
from metarl.config import ConfigError, InputError, did_you_mean, one_of
from metarl.seeding import numpy_rng, rank_seed
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.sb3 import TrialVecEnv
from metarl.training.actor import PolicyActor
from metarl.training.imitation import Imitation, ImitationOptions
from metarl.types import Actor, Array, Ints, TrialObservation

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

KEY = "imitation.expert"


def prepare(options: ImitationOptions, env: Any) -> None:
    """Check that an environment fits whom the options ask to imitate, and let it tell the expert its tasks if need be.

    Args:
        options: of the agent.
        env: SB3's environment.

    Raises:
        ConfigError: an expert that it has not, or it can't tell.
    """
    if options.expert is None:
        return
    trials = env.trials if isinstance(env, TrialVecEnv) else None
    if not isinstance(trials, TrialVectorEnv):
        expected = "left out: only a TrialVectorEnv, without wrappers around it, shows an expert what it needs"
        remedy = "make the environment with gymnasium.make_vec, or as metarl.TrialVectorEnv(family, num_envs)"
        raise ConfigError(key=KEY, given=options.expert, expected=expected, remedy=remedy)
    _check_expert(options, options.expert, trials)
    if options.expert not in _names(trials):
        try:
            trials.tell_tasks()
        except ValueError as error:
            expected = f"left out: the tasks of {trials.distribution.family} can't be told as numbers ({error})"
            raise ConfigError(key=KEY, given=options.expert, expected=expected) from None


def _check_expert(options: ImitationOptions, name: str, trials: TrialVectorEnv) -> None:
    """Refuse an expert that does not fit the trials, as far as that can be seen without loading one.

    Raises:
        ConfigError: it doesn't.
    """
    space = trials.single_action_space
    if not hasattr(space, "n") and not hasattr(space, "nvec"):
        raise ConfigError(key=KEY, given=name, expected=f"nobody, as {space} has no choices to agree on")
    names = _names(trials)
    if name not in names and not _is_place(name):
        some = f"{one_of(names)}, or the folder of a run" if names else "the folder of a run"
        expected = f"{some} that was trained with env.reveal=true"
        raise ConfigError(key=KEY, given=name, expected=expected, remedy=did_you_mean(name, names))
    inputs = trials.layout.inputs
    if name in names and not (inputs.prev_action and inputs.prev_reward and inputs.prev_reward_scale == 1):
        expected = "nobody, where prev_action or prev_reward is left out or scaled: the reference reads both"
        raise ConfigError(key=KEY, given=name, expected=expected)
    if name in names and trials.distribution.reveal:
        raise ConfigError(key=KEY, given=name, expected="nobody, where reveal=true shows the agent more than it knows")
    if options.parameter is not None:
        try:
            _reference(options, trials)
        except ValueError as error:
            problem = f"imitation.parameter = {options.parameter} does not fit expert = {name!r} ({error})"
            remedy = "give another, or leave it out"
            raise ConfigError(problem, key="imitation.parameter", remedy=remedy) from None


def _reference(options: ImitationOptions, trials: TrialVectorEnv) -> Actor | None:
    """The reference of the family that the options name; None if there is none of this name.

    Raises:
        ValueError: it has no parameter, or not this one.
    """
    prior, name = trials.distribution.prior, str(options.expert)
    tuned = {} if options.parameter is None else {name: options.parameter}
    if prior is None:
        if tuned:
            raise ValueError("a trained agent has none")
        return None
    make = baselines.references(prior, tuned).get(name)
    return None if make is None else make()


def _names(trials: TrialVectorEnv) -> list[str]:
    """The references that the family has."""
    prior = trials.distribution.prior
    return [] if prior is None else list(baselines.references(prior))


def _is_place(name: str) -> bool:
    """Whether this can only be the name of a file or folder."""
    return "/" in name or name.endswith(".zip") or Path(name).exists()


def imitations(agent: RL2PPO, schedule: int) -> Callable[[], Imitation]:
    """What makes the imitation of each rollout.

    Args:
        agent: about to learn; its environment has been reset.
        schedule: environment steps over which imitation fades, of which it takes its fraction.
    """
    options, env = agent.imitation, agent.env
    experts: list[Actor] = []  # made when it is needed first: a training that has left it behind needs no file

    def rollout() -> Imitation:
        weight = options.weight_at(agent.num_timesteps / schedule)
        if not weight:
            return Imitation()
        trials: TrialVectorEnv = env.trials  # type: ignore[union-attr]  # as prepare has found
        experts[:] = experts or [_expert(agent, trials)]
        own = rank_seed(agent.seed, parallel.rank())  # a stream for each rollout, so that there is no state to save
        experts[0].reset(trials.num_envs, numpy_rng(own, "baseline", agent.num_timesteps))
        return Imitation(experts[0], weight)

    return rollout


class Informed:
    """An agent that was trained with ``reveal=true``, playing where others are not told the task.

    It takes the actions that it finds most probable.

    Args:
        agent: the informed one.
        trials: which tell it their tasks.

    Raises:
        InputError: it has other actions, or other observations beside the task.
    """

    def __init__(self, agent: RL2PPO, trials: TrialVectorEnv) -> None:
        self._trials, self._agent, self._actor = trials, agent, PolicyActor(agent.policy, deterministic=True)
        if agent.action_space != trials.single_action_space:
            given, expected = agent.action_space, f"one whose actions are {trials.single_action_space}"
            raise InputError(key=KEY, given=given, expected=expected)

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """See :class:`metarl.types.Actor`."""
        self._actor.reset(n, rng)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """See :class:`metarl.types.Actor`; ``obs`` is without the tasks."""
        seen = self._trials.layout.with_task(obs, self._trials.told_tasks)
        try:
            self._agent.policy.encoder.check(seen)
        except (TypeError, ValueError) as error:
            problem = f"the agent to imitate does not see what this one sees and the task ({error})"
            remedy = "train it with env.reveal=true and else the same [env]"
            raise InputError(problem, key=KEY, remedy=remedy) from None
        return self._actor.act(seen, boundary)


def _expert(agent: RL2PPO, trials: TrialVectorEnv) -> Actor:
    """The expert that the options name."""
    if (reference := _reference(agent.imitation, trials)) is not None:
        return reference
    path = Path(str(agent.imitation.expert))
    informed = type(agent).load(path / "checkpoint.zip" if path.is_dir() else path, device=agent.device)
    return Informed(informed, trials)

"""What :class:`metarl.agents.rl2.RL2PPO` may be told in training: whether its environment can tell it, and by whom."""

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
from metarl.training.privileged import PrivilegeOptions, Privileges
from metarl.types import Actor, Array, Ints, TrialObservation

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO


def prepare(options: PrivilegeOptions, env: Any, known: int | None) -> int | None:
    """Check that an environment can tell what the options ask for, and let it tell the tasks if a critic is told them.

    Args:
        options: of the agent.
        env: SB3's environment.
        known: the size of the tasks that the critic was made for; None: of any.

    Returns:
        How many numbers a task has that the critic is told; None: it is told nothing.

    Raises:
        ConfigError: it can't tell; or an expert that it has not.
        InputError: its tasks have another size.
    """
    if options == PrivilegeOptions():
        return None
    trials = env.trials if isinstance(env, TrialVecEnv) else None
    asked = next(n for n in ("expected_rewards", "told_critic", "imitate") if getattr(options, n) not in (None, False))
    if not isinstance(trials, TrialVectorEnv):
        expected = "left out: only a TrialVectorEnv, without wrappers around it, tells more than it shows"
        remedy = "make the environment with gymnasium.make_vec, or as metarl.TrialVectorEnv(family, num_envs)"
        raise ConfigError(key=f"privilege.{asked}", given=getattr(options, asked), expected=expected, remedy=remedy)
    family = trials.distribution.family
    if options.expected_rewards and not trials.knows_means:
        expected = f"false: {family} does not say what an action pays on average"
        remedy = "define mean_rewards in its BatchedEnv"
        raise ConfigError(key="privilege.expected_rewards", given=True, expected=expected, remedy=remedy)
    if options.imitate is not None:
        _check_expert(options.imitate, trials)
        if options.imitate not in _names(trials):
            _tell(trials, "imitate", options.imitate)
    if not options.told_critic:
        return None
    size = _tell(trials, "told_critic", True)
    if known not in (None, size):
        problem = f"the critic was made for tasks of {known} numbers, but those of {family} have {size}"
        raise InputError(problem, key="env", given=size, expected=str(known), remedy="train another agent for them")
    return size


def _tell(trials: TrialVectorEnv, name: str, given: object) -> int:
    """Let ``trials`` tell their tasks from the next reset on; returns how many numbers a task has."""
    try:
        return trials.tell_tasks()
    except ValueError as error:
        expected = f"left out: the tasks of {trials.distribution.family} can't be told as numbers ({error})"
        raise ConfigError(key=f"privilege.{name}", given=given, expected=expected) from None


def _check_expert(name: str, trials: TrialVectorEnv) -> None:
    """Refuse an expert that does not fit the trials, as far as that can be seen without loading one.

    Raises:
        ConfigError: it doesn't.
    """
    key, space = "privilege.imitate", trials.single_action_space
    if not hasattr(space, "n") and not hasattr(space, "nvec"):
        raise ConfigError(key=key, given=name, expected=f"nobody, as {space} has no choices to agree on")
    names = _names(trials)
    if name not in names and not _is_place(name):
        some = f"{one_of(names)}, or the folder of a run" if names else "the folder of a run"
        expected = f"{some} that was trained with env.reveal=true"
        raise ConfigError(key=key, given=name, expected=expected, remedy=did_you_mean(name, names))
    inputs = trials.layout.inputs
    if name in names and not (inputs.prev_action and inputs.prev_reward and inputs.prev_reward_scale == 1):
        expected = "nobody, where prev_action or prev_reward is left out or scaled: the reference reads both"
        raise ConfigError(key=key, given=name, expected=expected)
    if name in names and trials.distribution.reveal:
        raise ConfigError(key=key, given=name, expected="nobody, where reveal=true shows the agent more than it knows")


def _names(trials: TrialVectorEnv) -> list[str]:
    """The references that the family has."""
    prior = trials.distribution.prior
    return [] if prior is None else list(baselines.references(prior))


def _is_place(name: str) -> bool:
    """Whether this can only be the name of a file or folder."""
    return "/" in name or name.endswith(".zip") or Path(name).exists()


def privileges(agent: RL2PPO, schedule: int) -> Callable[[], Privileges]:
    """What makes the privileges of each rollout.

    Args:
        agent: about to learn; its environment has been reset.
        schedule: environment steps over which imitation fades, of which it takes its fraction.
    """
    options, env = agent.privilege, agent.env
    experts: list[Actor] = []  # made when it is needed first: a training that has left it behind needs no file

    def rollout() -> Privileges:
        if options == PrivilegeOptions():
            return Privileges()
        trials: TrialVectorEnv = env.trials  # type: ignore[union-attr]  # as prepare has found
        weight = options.imitation_at(agent.num_timesteps / schedule)
        if weight and not experts:
            experts.append(_expert(agent, trials))
        if weight:  # a stream of its own for each rollout, so that there is no state to save
            own = rank_seed(agent.seed, parallel.rank())
            experts[0].reset(trials.num_envs, numpy_rng(own, "baseline", agent.num_timesteps))
        return Privileges(
            trials.mean_rewards if options.expected_rewards else None,
            (lambda: trials.told_tasks) if options.told_critic else None,
            experts[0] if weight else None,
            weight,
        )

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
            raise InputError(key="privilege.imitate", given=given, expected=expected)

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
            raise InputError(problem, key="privilege.imitate", remedy=remedy) from None
        return self._actor.act(seen, boundary)


def _expert(agent: RL2PPO, trials: TrialVectorEnv) -> Actor:
    """The expert that the options name."""
    name, prior = str(agent.privilege.imitate), trials.distribution.prior
    if prior is not None and name in (made := baselines.references(prior)):
        return made[name]()
    path = Path(name)
    informed = type(agent).load(path / "checkpoint.zip" if path.is_dir() else path, device=agent.device)
    return Informed(informed, trials)

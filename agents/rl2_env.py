"""What :class:`metarl.agents.rl2.RL2PPO` asks of its environment, and the logger that it writes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import VecEnv

from metarl.memory.options import MemoryOptions
from metarl.runs.tracking import Tracker
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.family.env_family import EnvFamily
from metarl.tasks.family.split_family import SplitFamily
from metarl.tasks.vector.env import TrialVectorEnv

FOREIGN_ENVS, FOREIGN_STEPS = 64, 250  # as in presets/general.toml


class TrackerWriter(KVWriter):
    """SB3's logger writing to a tracker of ours."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Pass on the numbers of one dump.

        Args:
            key_values: what was recorded, by name; what is not a number is left out.
            key_excluded: the formats that each name is kept from; not used.
            step: environment steps so far.
        """
        numbers = {k: v for k, v in key_values.items() if isinstance(v, int | float | np.number)}
        self.tracker.log({k: v if isinstance(v, int | float) else v.item() for k, v in numbers.items()}, step=step)

    def close(self) -> None:
        """Do nothing: whoever made the tracker finishes it."""


class Watch(BaseCallback):
    """Calls functions of ours.

    Args:
        on_step: after each step, with the local variables that SB3 tells of; returns whether to go on.
        between: before each rollout, when the update before it is done.
        collected: after each rollout, before its update.
    """

    def __init__(
        self,
        on_step: Callable[[dict[str, Any]], bool] = lambda told: True,
        between: Callable[[], None] = lambda: None,
        collected: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._told, self._between, self._collected = on_step, between, collected

    def _on_step(self) -> bool:
        return self._told(self.locals)

    def _on_rollout_start(self) -> None:
        self._between()

    def _on_rollout_end(self) -> None:
        self._collected()


def tracking_logger(tracker: Tracker) -> Logger:
    """A logger for :meth:`RL2PPO.set_logger` that writes to ``tracker`` alone."""
    return Logger(folder=None, output_formats=[TrackerWriter(tracker)])


def sizes(env: Any, n_envs: int | None, n_steps: int | None) -> tuple[int, int | None]:
    """The numbers of environments and of steps in a rollout, with defaults for what is left out.

    Args:
        env: what an agent is given.
        n_envs: None: :data:`FOREIGN_ENVS` for a family of Gymnasium's environments, which are stepped one by one, else
            256.
        n_steps: None: :data:`FOREIGN_STEPS` for such a family with longer trials, else a whole trial.
    """
    foreign = isinstance(env, EnvFamily | SplitFamily)
    if n_envs is None:
        n_envs = FOREIGN_ENVS if foreign else 256
    if n_steps is None and foreign and env.trial_steps > FOREIGN_STEPS:
        n_steps = FOREIGN_STEPS
    return n_envs, n_steps and int(n_steps)


def attribute(env: VecEnv, name: str) -> Any:
    """An attribute of the first row of ``env``; None where it has none of that name."""
    try:
        return env.get_attr(name, [0])[0]
    except AttributeError:
        return None


def longest_trial(env: VecEnv) -> int | None:
    """The steps of the longest trial of any row of ``env``; None where that is not known."""
    steps = env.get_attr("trial_steps") if env.has_attr("trial_steps") else []
    return None if not steps or None in steps else max(steps)


def describe(env: VecEnv) -> str:
    """A name for the environment in messages."""
    distribution = attribute(env, "distribution")
    return distribution.family if isinstance(distribution, TaskDistribution) else type(env).__name__


def check_split(env: VecEnv) -> None:
    """Refuse to train on test tasks.

    Raises:
        ValueError: a row of the environment draws from the test split.
    """
    if "test" in (env.get_attr("split") if env.has_attr("split") else ()):
        raise ValueError(
            "the environment draws test tasks, which are kept for the final figure; make it with split='train'"
        )


def resumable(env: Any) -> bool:
    """Whether ``env`` can save its state: its own ``resumable``, else whether it has a ``state_dict``."""
    return bool(getattr(env, "resumable", hasattr(env, "state_dict")))


def is_ours(env: Any) -> bool:
    """Whether ``env`` holds a vector environment of ours, whose generators can always be saved."""
    return isinstance(getattr(env, "env", None), TrialVectorEnv)


def needs_episodes(memory: MemoryOptions) -> bool:
    """Whether this memory must be told where inner episodes end."""
    return "episode" in (memory.working_memory, memory.horizon, memory.read_every, memory.store_options.get("write"))

"""What :class:`metarl.agents.rl2.RL2PPO` checks and warns of, and what it tells callbacks and the logger."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from metarl import parallel, tree
from metarl.config import InputError
from metarl.limits import check_bytes, free_bytes
from metarl.tasks.trial.parts import SYMBOLS, looks_like_symbols
from metarl.tasks.trial.told import SUCCESS
from metarl.tasks.vector.sb3 import Infos
from metarl.training.allowance import Allowance
from metarl.types import PREV_ACTION, PREV_DONE, TIME, Bools, StepResult, TrialObservation

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

BYTES_A_STEP = 40  # of a row: boundary, log probability, value, reward, advantage, return, and flags


def check_rollout(agent: RL2PPO, total_timesteps: int, steps: int) -> None:
    """Warn of a rollout larger than what was asked for, and refuse one that can't be held or shared.

    Args:
        agent: about to learn.
        total_timesteps: what was asked for.
        steps: of each environment in a rollout.

    Raises:
        InputError: a rollout takes more bytes than there are, or the processes that train together don't fit.
    """
    if parallel.size() > 1 and agent.policy.core.lifelong:
        remedy = "train in one process, or with another store"
        problem = "a lifelong memory takes in what a rollout has shown in order, which processes can't share"
        raise InputError(problem, key="memory.store", given=agent.memory.store, remedy=remedy)
    parallel.check_model(agent.policy)
    parallel.check_same("(n_envs, steps, total_timesteps)", (agent.n_envs, steps, total_timesteps))
    rows = agent.n_envs * parallel.size()
    size = rows * steps
    if size > total_timesteps:
        warnings.warn(
            f"{total_timesteps:,} steps were asked for, but a rollout has {rows} x {steps} = {size:,}, and no "
            "less is played; give a smaller n_envs or n_steps",
            stacklevel=3,
        )
    check_memory(agent, agent.n_envs, steps)


def check_memory(agent: RL2PPO, n_envs: int, steps: int) -> None:
    """Refuse a rollout that memory cannot hold.

    Args:
        agent: that would learn.
        n_envs: environments that would be played.
        steps: of each.

    Raises:
        InputError: a rollout takes more bytes than there are.
    """
    remedy = "lower n_envs or n_steps, or make pictures smaller with a wrapper"
    given, free = f"{n_envs} x {steps} steps", available_bytes(agent.device)
    check_bytes(rollout_bytes(agent, n_envs, steps), key="a rollout", given=given, remedy=remedy, free=free)


def warn_of_schedule(agent: RL2PPO, schedule: int) -> None:
    """Warn where a schedule of ``schedule`` steps has ended, and the learning rate with it."""
    if agent.num_timesteps >= schedule and agent.options.learning_rate_end == 0:
        warnings.warn(
            f"the schedule of {schedule:,} steps has ended, where the learning rate is 0: nothing more is learned; "
            "set learning_rate_end, or a larger schedule_steps (None: to the end of each call)",
            stacklevel=3,
        )


def warn_of_lost_rollout(agent: RL2PPO) -> None:
    """Warn, once for each agent, that what is saved inside a rollout can't go on in it."""
    if agent._inside_rollout and not agent._told_of_lost_rollout:
        agent._told_of_lost_rollout = True
        warnings.warn(
            "saved inside a rollout: training that goes on from this file has not learned from it (no task comes "
            "twice); save in on_rollout_start of a callback to lose nothing",
            stacklevel=4,
        )


def warn_if_inside(agent: RL2PPO, obs: TrialObservation, episode_start: Bools | None) -> None:
    """Warn, once for each agent, of a prediction without a state in the middle of a trial.

    Args:
        agent: that predicts.
        obs: ``[n, ...]``
        episode_start: ``[n]``, where trials begin, as far as that was said.
    """
    inside = any(np.any(obs[k]) for k in (PREV_ACTION, PREV_DONE, TIME) if k in obs)
    if inside and (episode_start is None or not np.all(episode_start)) and not agent._warned:
        agent._warned = True
        warnings.warn(
            "predict was called without a state in the middle of a trial, so the agent remembers nothing: pass the "
            "state that the last call returned",
            stacklevel=3,
        )


def rollout_bytes(agent: RL2PPO, n_envs: int, steps: int) -> int:
    """What a rollout takes: observations and actions, and the memory twice, at its start and while acting.

    Args:
        agent: that would learn.
        n_envs: environments that would be played.
        steps: of each.
    """
    encoder = agent.policy.encoder
    step = sum(math.prod(shape) * encoder.dtypes[key].itemsize for key, shape in encoder.shapes.items())
    step += 4 * math.prod(agent.policy.head.action_shape) + BYTES_A_STEP
    with Allowance("the memory of one trial"):
        memory = sum(leaf.numel() * leaf.element_size() for leaf in tree.leaves(agent.policy.initial_state(1)))
    return n_envs * (steps * step + 2 * memory)


def warn_of_symbols(agent: RL2PPO, obs: Mapping[str, torch.Tensor]) -> None:
    """Warn, in the first rollout, of pictures ``[T, B, H, W, C]`` of bytes that look like symbols."""
    for key in agent.policy.encoder.now_keys if agent._n_updates == 0 and agent.encoder is None else ():
        most = int(obs[key].max()) if obs[key].dtype == torch.uint8 and obs[key].ndim == 5 else 0
        space: Any = agent.observation_space[key]  # type: ignore[index]  # a Dict, as of all trials
        if 0 < most <= SYMBOLS and isinstance(space, spaces.Box) and space.high.max() > SYMBOLS:
            warnings.warn(looks_like_symbols(key, most), stacklevel=3)


def available_bytes(device: torch.device) -> int | None:
    """The memory of ``device`` that is free; None where the system does not say."""
    if device.type == "cuda" and torch.cuda.is_initialized():
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return free_bytes()


def on_step(agent: RL2PPO, callback: Any, result: StepResult, taken: Mapping[str, Any], infos: Infos) -> bool:
    """Count a step and tell the callbacks of it, with the local variables that SB3's own loop has.

    Args:
        agent: that learns.
        callback: of SB3.
        result: of the step.
        taken: what the policy chose: ``actions``, ``values`` and ``log_probs``.
        infos: SB3's.

    Returns:
        Whether to go on at once. Several processes end a training between two rollouts, all of them together.
    """
    agent.num_timesteps += agent.n_envs * parallel.size()
    if result.final_obs is not None:
        agent._update_info_buffer(infos, result.ended)
    rewards = result.reward.astype(np.float32)
    told = {"new_obs": result.obs, "rewards": rewards, "dones": result.ended, "infos": infos}
    callback.update_locals({"self": agent, **taken, **told})
    agent._inside_rollout = True
    try:
        if not callback.on_step():
            agent.interrupt()
    finally:
        agent._inside_rollout = False
    return goes_on(agent)


def goes_on(agent: RL2PPO) -> bool:
    """Whether a rollout or an update is finished: where other processes wait for this one, it always is."""
    return parallel.size() > 1 or not agent._interrupted


def record(agent: RL2PPO, report: Mapping[str, float], steps: int, began: float, collected: float) -> None:
    """Log a rollout and its update.

    Args:
        agent: that learns.
        report: of the update.
        steps: environment steps in the rollout.
        began: when collecting began, of :func:`time.perf_counter`.
        collected: when it ended.
    """
    for name, number in report.items():
        agent.logger.record(f"train/{name}", number)
    episodes = list(agent.ep_info_buffer or ())
    for name, key in (("rew", "r"), ("len", "l")) if episodes else ():
        agent.logger.record(f"rollout/ep_{name}_mean", _mean([info[key] for info in episodes]))
    if agent.ep_success_buffer:
        agent.logger.record("rollout/success_rate", _mean(agent.ep_success_buffer))
    for key in sorted({key for info in episodes for key in info} - {"r", "l", "t", SUCCESS}):
        numbers = [info[key] for info in episodes if isinstance(info.get(key), int | float | np.number)]
        if numbers:
            agent.logger.record(f"rollout/{key}_mean", _mean(numbers))
    now = time.perf_counter()
    agent.logger.record("time/fps", steps * parallel.size() / (now - began))
    agent.logger.record("time/rollout_seconds", collected - began)
    agent.logger.record("time/update_seconds", now - collected)
    agent.logger.record("time/total_timesteps", agent.num_timesteps, exclude="tensorboard")


def _mean(numbers: Iterable[float]) -> float:
    return float(np.mean(list(numbers)))

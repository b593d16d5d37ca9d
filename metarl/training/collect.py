"""Playing trials with the policy that learns, and keeping what it saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from metarl import tree
from metarl.functional.returns import gae
from metarl.memory.contract import State
from metarl.nets.policy import MemoryPolicy
from metarl.types import (
    MASK_KEY,
    Array,
    Bools,
    Boundary,
    Floats,
    Ints,
    NonFiniteError,
    StepResult,
    TrialObservation,
    TrialVector,
)

GaeHorizon = Literal["trial", "episode"]
"""Where the advantage estimate of an action ends at the latest."""


@dataclass
class TrainingState:
    """Where collecting goes on."""

    obs: TrialObservation
    """``[B, ...]``, what the next actions answer to."""
    boundary: Ints
    """``[B]``, the :class:`Boundary` of ``obs``."""
    memory: State
    """The memory before ``obs``."""

    @classmethod
    def start(cls, policy: MemoryPolicy, obs: TrialObservation) -> Self:
        """A trial begins in every row with ``obs`` ``[B, ...]``, and the memory is empty."""
        rows = len(next(iter(obs.values())))
        return cls(obs, np.full(rows, Boundary.TRIAL), policy.initial_state(rows))


class Rollout(NamedTuple):
    """``T`` steps of ``B`` environments."""

    obs: dict[str, Tensor]
    """``[T, B, d]``, images ``[T, B, H, W, C]`` uint8."""
    boundary: Tensor
    """``[T, B]`` of :class:`Boundary`."""
    state: State
    """The memory before the first step, once a sequence."""
    actions: Tensor
    """``[T, B, ...]`` in the form of the policy's head."""
    log_probs: Tensor
    """``[T, B]``"""
    values: Tensor
    """``[T, B]``"""
    advantages: Tensor
    """``[T, B]``"""
    returns: Tensor
    """``[T, B]``"""
    valid: Tensor | None = None
    """``[T, B]`` bool: steps to learn from; None: all of them."""


def to_tensors(obs: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """A batch of observations as tensors on ``device``: images as they are, the rest as float32."""
    return {k: torch.as_tensor(np.asarray(v), dtype=kept_as(np.asarray(v)), device=device) for k, v in obs.items()}


def kept_as(part: Array) -> torch.dtype:
    """The type in which a batch of a part is kept: bytes for images ``[n, H, W, C]``, which would be large."""
    return torch.uint8 if part.dtype == np.uint8 and part.ndim == 4 else torch.float32


def check_finite(
    obs: Mapping[str, Array], rewards: Floats | None, env: str, step: int, rows: list[int] | None = None
) -> None:
    """Raise :class:`NonFiniteError` naming environment, key and step if an observation or reward is not finite.

    ``rows`` are the numbers of the environments that the arrays belong to; None: all, in order.
    """
    parts = dict(obs) if rewards is None else {**obs, "reward": rewards}
    for key, part in parts.items():
        # One pass if all is well: a sum is finite unless a part is not, or it overflows.
        with np.errstate(all="ignore"):
            fine = part.dtype.kind != "f" or np.isfinite(part.sum())
        if not fine and not np.isfinite(part).all():
            row = int(np.argwhere(~np.isfinite(part))[0][0])
            raise NonFiniteError(
                f"{env} gave a {key} that is not finite ({part[row]}) in environment "
                f"{row if rows is None else rows[row]} at step {step}; "
                "expected finite numbers: mend the environment, nothing of this step was learned from"
            )


def no_valid_action(policy: MemoryPolicy, obs: Mapping[str, Array]) -> Bools | None:
    """``[n]``: rows whose mask leaves no action; None where there is none, or no mask."""
    if MASK_KEY not in obs:
        return None
    rows = policy.head.no_valid_action(obs[MASK_KEY])
    return rows if rows.any() else None


def check_masks(rows: Bools | None, env: str, step: int) -> None:
    """Raise ValueError naming environment and step if one of ``rows``, from :func:`no_valid_action`, is True."""
    if rows is not None and rows.any():
        raise ValueError(
            f"{env} gave an {MASK_KEY} that forbids every choice in environment {int(rows.argmax())} at step {step}; "
            "expected at least one 1 for each part of the action: allow one, or end the episode"
        )


@torch.no_grad()
def collect(
    policy: MemoryPolicy,
    env: TrialVector,
    training_state: TrainingState,
    steps: int,
    *,
    generator: torch.Generator,
    gamma: float,
    lam: float,
    reward_scale: float = 1.0,
    gae_horizon: GaeHorizon = "trial",
    name: str = "the environment",
    first_step: int = 0,
    on_step: Callable[[StepResult], bool] = lambda result: True,
) -> Rollout | None:
    """Play ``steps`` steps of every environment; ``training_state`` moves on.

    A trial that a time limit ended is bootstrapped with the value of its last observation, read by the memory as it
    was then. Steps of void trials (:attr:`StepResult.void`) are marked as not valid, back to their trial's first.

    Args:
        policy: what acts.
        env: trials that have been reset; :func:`metarl.tasks.vector.foreign.as_trials` makes them of any vector
            environment of Gymnasium's.
        training_state: where to go on.
        steps: ``T``.
        generator: of the sampled actions, on the policy's device.
        gamma: discount per step.
        lam: lambda of :func:`metarl.functional.returns.gae`.
        reward_scale: a factor on the rewards that estimates are made of.
        gae_horizon: the estimates end where a trial ends, or with "episode" at every inner episode's end, so that
            only what follows in its own episode counts for an action.
        name: the environment in messages.
        first_step: the number of the first step in messages.
        on_step: gets each step's result; when it returns False, collecting stops and None is returned.

    Raises:
        NonFiniteError: an observation or reward is not finite.
        ValueError: a mask forbids every action.
    """
    device = next(policy.parameters()).device
    rows, now = env.num_envs, training_state
    initial = now.memory  # donated only after a copy: the update needs it as it was
    memory = tree.map_tensors(Tensor.clone, initial)
    buffer = {k: torch.empty(steps, *v.shape, dtype=kept_as(v), device=device) for k, v in now.obs.items()}
    boundary = torch.empty(steps, rows, dtype=torch.long, device=device)
    actions = torch.empty(steps, rows, *policy.head.action_shape, dtype=policy.head.action_dtype, device=device)
    log_probs, values, rewards = (torch.empty(steps, rows, device=device) for _ in range(3))
    ends = torch.empty(steps, rows, dtype=torch.bool, device=device)
    valid = torch.ones(steps, rows, dtype=torch.bool, device=device)
    check_finite(now.obs, None, name, first_step)
    for t in range(steps):
        for key, part in now.obs.items():
            buffer[key][t] = torch.as_tensor(part)
        boundary[t] = torch.as_tensor(now.boundary)
        blocked = no_valid_action(policy, now.obs)
        if blocked is not None:  # the first step of a trial may turn out to be void
            check_masks(blocked & (now.boundary != Boundary.TRIAL), name, first_step + t)
        obs = {k: v[t] for k, v in buffer.items()}
        step, memory = policy(obs, memory, boundary[t], generator=generator, donate=True)
        actions[t], log_probs[t], values[t] = step
        result = env.advance(policy.head.to_env(step.action.cpu().numpy()))
        reward = result.reward.astype(np.float32)
        check_finite(result.obs, reward, name, first_step + t)
        rewards[t], ends[t] = torch.as_tensor(reward) * reward_scale, torch.as_tensor(result.ended)
        if blocked is not None:
            check_masks(blocked & ~result.void, name, first_step + t)
        for i in np.flatnonzero(result.void).tolist():
            starts = (boundary[: t + 1, i] == Boundary.TRIAL).nonzero()
            valid[int(starts[-1]) if len(starts) else 0 : t + 1, i] = False
        timed_out = np.flatnonzero(result.truncated).tolist()
        if timed_out and result.final_obs is not None:
            final = {k: v[timed_out] for k, v in result.final_obs.items()}
            check_finite(final, None, name, first_step + t, timed_out)
            at_end = np.where(result.episode_ended[timed_out], Boundary.EPISODE, Boundary.INSIDE)
            rewards[t, timed_out] += gamma * policy.value(
                to_tensors(final, device), tree.index(memory, timed_out), torch.as_tensor(at_end, device=device)
            )
        now.obs, now.boundary, now.memory = result.obs, result.boundary, memory
        if not on_step(result):
            return None
    following = torch.as_tensor(now.boundary, device=device)
    if bool((following == Boundary.TRIAL).all()):
        last = torch.zeros(rows, device=device)
    else:
        last = policy.value(to_tensors(now.obs, device), memory, following)
    if gae_horizon == "episode":
        ends = torch.cat([boundary[1:], following[None]]) != Boundary.INSIDE
    advantages, returns = gae(rewards, values, ends, last, gamma, lam)
    counts = None if bool(valid.all()) else valid
    return Rollout(buffer, boundary, initial, actions, log_probs, values, advantages, returns, counts)

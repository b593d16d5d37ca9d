"""Play trials with the policy that is trained, and record them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from metarl import tree
from metarl.config import InputError
from metarl.functional.returns import gae
from metarl.memory.contract import State
from metarl.nets.policy import MemoryPolicy
from metarl.tasks.vector.foreign import check_feedback
from metarl.training.imitation import Imitation
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

GaeHorizon = Literal["trial", "episode"]  # where the advantage estimate of an action ends at the latest


@dataclass
class TrainingState:
    """Where collecting continues.

    Args:
        obs: ``[B, ...]``, the observations for the next actions.
        boundary: ``[B]``, the :class:`Boundary` of ``obs``.
        memory: the memory before ``obs``.
    """

    obs: TrialObservation
    boundary: Ints
    memory: State

    @classmethod
    def start(cls, policy: MemoryPolicy, obs: TrialObservation) -> Self:
        """The state in which a trial begins in every row with ``obs`` ``[B, ...]``, and the memory is empty.

        Raises:
            InputError: ``obs`` is not as at the beginning of a trial.
        """
        check_feedback(obs, begins=True)
        rows = len(next(iter(obs.values())))
        return cls(obs, np.full(rows, Boundary.TRIAL), policy.initial_state(rows))


class Rollout(NamedTuple):
    """``T`` steps of ``B`` environments; what is not said is ``[T, B]``.

    Args:
        obs: ``[T, B, d]``, pictures ``[T, B, H, W, C]``, as :meth:`MemoryPolicy.prepare` made them.
        boundary: of :class:`Boundary`.
        state: the memory before the first step.
        actions: ``[T, B, ...]`` as the policy's head encodes them.
        log_probs: of the actions, when they were taken.
        values: of the observations, at that time.
        advantages: of the actions.
        returns: the targets of the values.
        valid: bool: steps to learn from; None: all of them.
        expert: an expert's actions ``[T, B, ...]``, as ``actions``.
        imitation: weights of imitating them.
    """

    obs: dict[str, Tensor]
    boundary: Tensor
    state: State
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    valid: Tensor | None = None
    expert: Tensor | None = None
    imitation: Tensor | None = None


def check_finite(
    obs: Mapping[str, Array], rewards: Floats | None, env: str, step: int, rows: list[int] | None = None
) -> None:
    """Check that observations and rewards are finite.

    Args:
        obs: ``{key: [n, ...]}``
        rewards: ``[n]``; None: none to check.
        env: the name of the environment, for the error.
        step: the number of the step, for the error.
        rows: ``n`` numbers of the environments that the arrays belong to; None: all, in order.

    Raises:
        NonFiniteError: one is not; the message names environment, key and step.
    """
    parts = dict(obs) if rewards is None else {**obs, "reward": rewards}
    for key, part in parts.items():
        # Usually one pass is enough: a sum is finite unless a part is not, or it overflows.
        with np.errstate(all="ignore"):
            fine = part.dtype.kind != "f" or np.isfinite(part.sum())
        if not fine and not np.isfinite(part).all():
            row = int(np.argwhere(~np.isfinite(part))[0][0])
            where = f"in environment {row if rows is None else rows[row]} at step {step}"
            raise NonFiniteError(
                f"{env} gave a {key} that is not finite ({part[row]}) {where}, expected finite numbers; "
                "fix the environment: nothing was learned from this step"
            )


def no_valid_action(policy: MemoryPolicy, obs: Mapping[str, Array]) -> Bools | None:
    """``[n]``: the rows of ``obs`` ``{key: [n, ...]}`` whose mask allows no action; None if there are none."""
    if MASK_KEY not in obs:
        return None
    rows = policy.head.no_valid_action(obs[MASK_KEY])
    return rows if rows.any() else None


def check_masks(rows: Bools | None, env: str, step: int) -> None:
    """Check that no row is left without an action.

    Args:
        rows: ``[n]`` from :func:`no_valid_action`.
        env: the name of the environment, for the error.
        step: the number of the step, for the error.

    Raises:
        InputError: one is; the message names environment and step.
    """
    if rows is not None and rows.any():
        problem = f"{env} gave an {MASK_KEY} without a valid action in environment {int(rows.argmax())} at step {step}"
        expected = "at least one 1 for each part of the action"
        raise InputError(problem, key=MASK_KEY, expected=expected, remedy="allow one, or end the episode")


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
    on_step: Callable[[StepResult, dict[str, Any]], bool] = lambda result, taken: True,
    imitation: Imitation | None = None,
) -> Rollout | None:
    """Play ``steps`` steps of every environment, from ``training_state``, which is updated.

    A trial that a time limit ended is bootstrapped with the value of its last observation, given the memory at that
    time. The steps of void trials (:attr:`StepResult.void`) are marked as not valid, from the first step of the trial.

    Args:
        policy: what acts.
        env: trials that have been reset; :func:`metarl.tasks.vector.foreign.as_trials` makes them of any vector
            environment of Gymnasium's.
        training_state: where to continue; changed in place.
        steps: ``T``.
        generator: of the sampled actions, on the policy's device.
        gamma: discount per step.
        lam: lambda of :func:`metarl.functional.returns.gae`.
        reward_scale: a factor on the rewards in the advantage estimates.
        gae_horizon: the estimates end where a trial ends, or with "episode" at the end of every inner episode, so that
            an action gets credit only for what follows in its own episode.
        name: the environment in messages.
        first_step: the number of the first step in messages.
        on_step: is called with each step's result and what the policy chose: ``actions`` as the environment takes them
            (an array ``[B, ...]``), ``values`` and ``log_probs`` (tensors ``[B]``); when it returns False, collecting
            stops and returns None.
        imitation: who is imitated; None: nobody.

    Returns:
        The rollout ``[T, B, ...]``; None if ``on_step`` stopped it.

    Raises:
        NonFiniteError: an observation or reward is not finite.
        InputError: a mask allows no action.
    """
    device = next(policy.parameters()).device
    rows, now = env.num_envs, training_state
    imitation = imitation or Imitation()
    initial = now.memory  # the update needs it as it was, so acting gets a copy
    memory = tree.map_tensors(Tensor.clone, initial)
    buffer = {k: v.new_empty(steps, *v.shape) for k, v in policy.prepare(now.obs).items()}
    boundary = torch.empty(steps, rows, dtype=torch.long, device=device)
    actions = torch.empty(steps, rows, *policy.head.action_shape, dtype=policy.head.action_dtype, device=device)
    log_probs, values, rewards = (torch.empty(steps, rows, device=device) for _ in range(3))
    ends = torch.empty(steps, rows, dtype=torch.bool, device=device)
    valid = torch.ones(steps, rows, dtype=torch.bool, device=device)
    check_finite(now.obs, None, name, first_step)
    for t in range(steps):
        for key, part in policy.prepare(now.obs, learn=True).items():
            buffer[key][t] = part
        boundary[t] = torch.as_tensor(now.boundary)
        blocked = no_valid_action(policy, now.obs)
        if blocked is not None:  # the first step of a trial may turn out to be void
            check_masks(blocked & (now.boundary != Boundary.TRIAL), name, first_step + t)
        obs = {k: v[t] for k, v in buffer.items()}
        imitation.look(now.obs, now.boundary, policy.head, device)
        step, memory = policy(obs, memory, boundary[t], generator=generator, donate=True)
        actions[t], log_probs[t], values[t] = step
        played = policy.head.to_env(step.action.cpu().numpy())
        result = env.advance(played)
        reward = result.reward.astype(np.float32)
        check_finite(result.obs, reward, name, first_step + t)
        rewards[t] = torch.as_tensor(reward) * reward_scale
        ends[t] = torch.as_tensor(result.ended)
        if blocked is not None:
            check_masks(blocked & ~result.void, name, first_step + t)
        for i in np.flatnonzero(result.void).tolist():
            starts = (boundary[: t + 1, i] == Boundary.TRIAL).nonzero()
            valid[int(starts[-1]) if len(starts) else 0 : t + 1, i] = False
        cut = result.truncated & ~result.episode_ended if gae_horizon == "episode" else result.truncated
        timed_out = np.flatnonzero(cut).tolist()
        if timed_out and result.final_obs is not None:
            final = {k: v[timed_out] for k, v in result.final_obs.items()}
            check_finite(final, None, name, first_step + t, timed_out)
            at_end = np.where(result.episode_ended[timed_out], Boundary.EPISODE, Boundary.INSIDE)
            rewards[t, timed_out] += gamma * policy.value(
                policy.prepare(final),
                tree.index(memory, timed_out),
                torch.as_tensor(at_end, device=device),
            )
        now.obs, now.boundary, now.memory = result.obs, result.boundary, memory
        if not on_step(result, {"actions": played, "values": step.value, "log_probs": step.log_prob}):
            return None
    following = torch.as_tensor(now.boundary, device=device)
    if bool((following == Boundary.TRIAL).all()):
        last = torch.zeros(rows, device=device)
    else:
        last = policy.value(policy.prepare(now.obs), memory, following)
    if gae_horizon == "episode":
        ends = torch.cat([boundary[1:], following[None]]) != Boundary.INSIDE
    advantages, returns = gae(rewards, values, ends, last, gamma, lam)
    counts = None if bool(valid.all()) else valid
    return Rollout(
        buffer, boundary, initial, actions, log_probs, values, advantages, returns, counts, *imitation.record()
    )

"""Playing trials with the policy that learns, and keeping what it saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from metarl import tree
from metarl.functional.returns import gae
from metarl.memory.contract import State
from metarl.nets.encoders import MASK_KEY
from metarl.nets.policy import MemoryPolicy
from metarl.types import Array, Bools, Boundary, Floats, Ints, NonFiniteError, TrialObservation

Cut = Literal["trial", "episode"]
"""Where the credit of an action ends at the latest."""


class VecEnv(Protocol):
    """The part of SB3's VecEnv that collecting needs; a trial is its episode."""

    num_envs: int

    def step(self, actions: Array) -> Any:
        """Returns observations, rewards ``[B]``, trial ends ``[B]`` and a list of infos; see :func:`collect`."""
        ...


@dataclass
class Carry:
    """Where collecting goes on."""

    obs: TrialObservation
    start: Bools
    """``[B]``: a trial begins with ``obs``."""
    state: State
    """The memory before ``obs``."""


class Rollout(NamedTuple):
    """``T`` steps of ``B`` environments."""

    obs: dict[str, Tensor]
    """``[T, B, d]``, pictures ``[T, B, H, W, C]`` uint8."""
    begin: Tensor
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


def begins(obs: Mapping[str, Array], start: Bools) -> Ints:
    """What begins at each row's input: a trial where ``start``, else an episode where the last one has just ended."""
    done = obs.get("prev_done")
    inner = np.zeros(len(start), bool) if done is None else np.greater(done, 0.5)[:, 0]
    return np.where(start, Boundary.TRIAL, np.where(inner, Boundary.EPISODE, Boundary.INSIDE))


def to_tensors(obs: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """A batch of observations as tensors on ``device``: pictures as they are, the rest as float32."""
    return {k: torch.as_tensor(np.asarray(v), dtype=kept_as(np.asarray(v)), device=device) for k, v in obs.items()}


def kept_as(part: Array) -> torch.dtype:
    """The type in which a batch of a part is kept: bytes for pictures ``[n, H, W, C]``, which would be large."""
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


def stuck(policy: MemoryPolicy, obs: Mapping[str, Array]) -> Bools | None:
    """``[n]``: rows whose mask leaves no action; None where there is none, or no mask."""
    if MASK_KEY not in obs:
        return None
    rows = policy.head.no_valid_action(obs[MASK_KEY])
    return rows if rows.any() else None


def check_masks(rows: Bools | None, env: str, step: int) -> None:
    """Raise ValueError naming environment and step if a row is stuck, as :func:`stuck` says."""
    if rows is not None and rows.any():
        raise ValueError(
            f"{env} gave an {MASK_KEY} that forbids every choice in environment {int(rows.argmax())} at step {step}; "
            "expected at least one 1 for each part of the action: allow one, or end the episode"
        )


@torch.no_grad()
def collect(
    policy: MemoryPolicy,
    env: VecEnv,
    carry: Carry,
    steps: int,
    *,
    generator: torch.Generator,
    gamma: float,
    lam: float,
    reward_scale: float = 1.0,
    cut: Cut = "trial",
    name: str = "the environment",
    first_step: int = 0,
    on_step: Callable[[Floats, Bools, list[dict[str, Any]]], bool] = lambda rewards, ends, infos: True,
) -> Rollout | None:
    """Play ``steps`` steps of every environment; ``carry`` moves on.

    A trial that was cut by a time limit is bootstrapped with the value of its last observation, read by the memory as
    it was then. Credit ends where a trial ends, or with ``cut="episode"`` at every inner episode's end, so that nothing
    but the own episode speaks for an action. ``on_step`` gets rewards, trial ends and infos after each step; when it
    returns False, collecting stops and None is returned.

    A row that is done may say in its info why steps of it don't count: ``dead_step``, this step began a trial and its
    action was ignored (Gymnasium's NEXT_STEP); ``broken_trial``, the environment failed, and the whole trial is void.

    Raises:
        NonFiniteError: an observation or reward is not finite.
        ValueError: a mask forbids every action.
    """
    device = next(policy.parameters()).device
    rows = env.num_envs
    initial = carry.state  # donated only after a copy: the update needs it as it was
    state = tree.map_tensors(Tensor.clone, initial)
    buffer = {k: torch.empty(steps, *v.shape, dtype=kept_as(v), device=device) for k, v in carry.obs.items()}
    begin = torch.empty(steps, rows, dtype=torch.long, device=device)
    actions = torch.empty(steps, rows, *policy.head.action_shape, dtype=policy.head.action_dtype, device=device)
    log_probs, values, rewards = (torch.empty(steps, rows, device=device) for _ in range(3))
    ends = torch.empty(steps, rows, dtype=torch.bool, device=device)
    valid = torch.ones(steps, rows, dtype=torch.bool, device=device)
    check_finite(carry.obs, None, name, first_step)
    for t in range(steps):
        for key, part in carry.obs.items():
            buffer[key][t] = torch.as_tensor(part)
        begin[t] = torch.as_tensor(begins(carry.obs, carry.start))
        blocked = stuck(policy, carry.obs)
        if blocked is not None:  # the first step of a trial may turn out to be dead
            check_masks(blocked & ~carry.start, name, first_step + t)
        step, state = policy({k: v[t] for k, v in buffer.items()}, state, begin[t], generator=generator, donate=True)
        actions[t], log_probs[t], values[t] = step
        obs, reward, end, infos = env.step(policy.head.to_env(step.action.cpu().numpy()))
        check_finite(obs, reward, name, first_step + t)
        rewards[t], ends[t] = torch.as_tensor(reward) * reward_scale, torch.as_tensor(end)
        done = np.flatnonzero(end).tolist()
        dead = [i for i in done if infos[i].get("dead_step", False)]
        valid[t, dead] = False
        if blocked is not None:
            blocked[dead] = False
            check_masks(blocked, name, first_step + t)
        for i in done:
            if infos[i].get("broken_trial", False):
                began = (begin[: t + 1, i] == Boundary.TRIAL).nonzero()
                valid[int(began[-1]) if len(began) else 0 : t + 1, i] = False
        timed_out = [i for i in done if infos[i].get("TimeLimit.truncated", False)]
        if timed_out:
            final = {k: np.stack([infos[i]["terminal_observation"][k] for i in timed_out]) for k in obs}
            check_finite(final, None, name, first_step + t, timed_out)
            inner = torch.as_tensor(begins(final, np.zeros(len(timed_out), bool)), device=device)
            rewards[t, timed_out] += gamma * policy.value(
                to_tensors(final, device), tree.index(state, timed_out), inner
            )
        carry.obs, carry.start, carry.state = obs, np.asarray(end), state
        if not on_step(reward, end, infos):
            return None
    if bool(carry.start.all()):
        last = torch.zeros(rows, device=device)
    else:
        last = policy.value(
            to_tensors(carry.obs, device), state, torch.as_tensor(begins(carry.obs, carry.start), device=device)
        )
    if cut == "episode":
        following = torch.as_tensor(begins(carry.obs, carry.start), device=device)
        ends = torch.cat([begin[1:], following[None]]) != Boundary.INSIDE
    advantages, returns = gae(rewards, values, ends, last, gamma, lam)
    counts = None if bool(valid.all()) else valid
    return Rollout(buffer, begin, initial, actions, log_probs, values, advantages, returns, counts)

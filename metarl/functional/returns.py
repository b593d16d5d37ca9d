"""Returns and advantages over batches of trials, time first."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    rewards: Tensor, values: Tensor, ends: Tensor, last_value: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16) and the returns they imply.

    A_t = delta_t + gamma lam (1 - end_t) A_{t+1},  delta_t = r_t + gamma (1 - end_t) V_{t+1} - V_t.

    The estimate is cut where ``ends`` says: where a trial ends, while it runs on over the ends of inner episodes,
    because what is learned in one episode pays in the next; or at those, too.

    Args:
        rewards: ``[T, B]``
        values: ``[T, B]`` V(o_t).
        ends: ``[T, B]`` bool, the trial (or episode) ended with this step.
        last_value: ``[B]`` V(o_T), used where the last step did not end one.
        gamma: discount per step.
        lam: lambda.

    Returns:
        Advantages ``[T, B]`` and returns ``[T, B]`` (advantages plus values).
    """
    advantages = torch.empty_like(rewards)
    goes_on = 1.0 - ends.to(rewards.dtype)
    following, running = last_value, torch.zeros_like(last_value)
    for t in range(rewards.shape[0] - 1, -1, -1):
        delta = rewards[t] + gamma * goes_on[t] * following - values[t]
        running = delta + gamma * lam * goes_on[t] * running
        advantages[t] = running
        following = values[t]
    return advantages, advantages + values

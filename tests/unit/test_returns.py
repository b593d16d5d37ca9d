"""Advantages by hand, and against the double sum of their definition."""

import pytest
import torch
from torch import Tensor

from metarl.functional.returns import gae

# Two trials of two episodes of two steps, one after the other.
TRIAL_ENDS = torch.tensor([0, 0, 0, 1, 0, 0, 0, 1]).bool()[:, None]
EPISODE_ENDS = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1]).bool()[:, None]
REWARDS = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])[:, None]


def test_the_estimate_runs_over_inner_ends_and_stops_at_trial_ends() -> None:
    """With V = 0 and gamma lambda = 1/2 an advantage is r_t + r_{t+1} / 2 + r_{t+2} / 4 + ... within the trial."""
    nothing = torch.zeros(8, 1)
    advantages, returns = gae(REWARDS, nothing, TRIAL_ENDS, torch.full((1,), 1e6), gamma=1.0, lam=0.5)
    by_hand = [1 + 1 + 1 + 1, 2 + 2 + 2, 4 + 4, 8, 16 * 4, 32 * 3, 64 * 2, 128]
    assert advantages[:, 0].tolist() == by_hand
    assert torch.equal(returns, advantages)
    cut_too_early, _ = gae(REWARDS, nothing, EPISODE_ENDS, torch.zeros(1), gamma=1.0, lam=0.5)
    assert cut_too_early[:, 0].tolist() == [1 + 1, 2, 4 + 4, 8, 16 + 16, 32, 64 + 64, 128]


def slow(rewards: Tensor, values: Tensor, ends: Tensor, last: Tensor, gamma: float, lam: float) -> Tensor:
    """The definition: A_t = sum over k of (gamma lambda)^k delta_{t+k}, up to the end of the trial."""
    steps, rows = rewards.shape
    following = torch.cat([values[1:], last[None]])
    out = torch.zeros_like(rewards)
    for b in range(rows):
        for t in range(steps):
            for k in range(steps - t):
                s = t + k
                bootstrap = 0.0 if ends[s, b] else gamma * following[s, b]
                out[t, b] += (gamma * lam) ** k * (rewards[s, b] + bootstrap - values[s, b])
                if ends[s, b]:
                    break
    return out


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.8), (1.0, 1.0), (0.9, 0.0), (0.0, 0.5)])
def test_equals_the_slow_double_loop(gamma: float, lam: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 12, 5, generator=generator, dtype=torch.float64)
    ends = torch.rand(12, 5, generator=generator) < 0.25
    ends[-1, :2] = True
    last = torch.randn(5, generator=generator, dtype=torch.float64)
    advantages, returns = gae(rewards, values, ends, last, gamma, lam)
    torch.testing.assert_close(advantages, slow(rewards, values, ends, last, gamma, lam), atol=1e-12, rtol=0)
    torch.testing.assert_close(returns, advantages + values, atol=0, rtol=0)

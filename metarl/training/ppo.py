"""Proximal policy optimisation over whole sequences (Schulman et al. 2017)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from metarl import tree
from metarl.nets.policy import MemoryPolicy
from metarl.training.collect import GaeHorizon, Rollout
from metarl.training.optim import descend


@dataclass(frozen=True)
class PPOOptions:
    """Options of the outer learner; names follow stable-baselines3."""

    learning_rate: Annotated[float, Ge(0)] = 2e-3
    """Adam's step size at the beginning."""
    learning_rate_end: Annotated[float, Ge(0)] = 0.0
    """Its value when the schedule ends; linear in between."""
    gamma: Annotated[float, Ge(0), Le(1)] = 0.99
    """Discount per step of the trial at the beginning; a short horizon is learned sooner."""
    gamma_end: Annotated[float, Ge(0), Le(1)] | None = None
    """Its value when the schedule ends, linear in between; None: as at the beginning."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 0.8
    """Lambda of the advantage estimates."""
    gae_horizon: GaeHorizon = "trial"
    """Where advantage estimates end: with the "trial", as in RL², so that exploring pays off in later episodes; or with
    the inner "episode", for tasks that reward each step survived, where failing would otherwise cost only one of the
    trial's episodes."""
    n_epochs: Annotated[int, Ge(1)] = 4
    """How often each rollout is gone through."""
    n_minibatches: Annotated[int, Ge(1)] = 16
    """Parts that a rollout is cut into, each of whole sequences."""
    clip_range: Annotated[float, Gt(0)] = 0.2
    """How far the probability ratio counts."""
    ent_coef: Annotated[float, Ge(0)] = 0.03
    """Weight of the entropy bonus at the beginning."""
    ent_coef_end: Annotated[float, Ge(0)] = 0.0
    """Its value when the schedule ends; linear in between."""
    vf_coef: Annotated[float, Ge(0)] = 0.5
    """Weight of the value loss."""
    max_grad_norm: Annotated[float, Gt(0)] = 0.5
    """Gradients are scaled down to this norm."""
    target_kl: Annotated[float, Gt(0)] | None = None
    """An update ends early once the policy has moved this far (approximate KL); None: never."""
    reward_scale: Annotated[float, Gt(0)] = 1.0
    """A fixed factor on the reward that is learned from, never on the one that is seen or reported."""

    def at(self, progress: float) -> tuple[float, float]:
        """Learning rate and entropy weight when the fraction ``progress`` of the schedule is behind."""
        return (
            between(self.learning_rate, self.learning_rate_end, progress),
            between(self.ent_coef, self.ent_coef_end, progress),
        )

    def gamma_at(self, progress: float) -> float:
        """The discount when the fraction ``progress`` of the schedule is behind."""
        return self.gamma if self.gamma_end is None else between(self.gamma, self.gamma_end, progress)


def between(start: float, end: float, progress: float) -> float:
    """Linear from ``start`` to ``end`` as ``progress`` goes from 0 to 1, and no further."""
    return start + min(max(progress, 0.0), 1.0) * (end - start)


def losses(
    policy: MemoryPolicy, batch: Rollout, options: PPOOptions, ent_coef: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a minibatch of whole sequences (Schulman et al. 2017, eq. 9) and what to report of it.

    The memory reads every step; only those that are valid count in anything else. At least one must be.
    """
    result = policy.evaluate(batch.obs, batch.state, batch.boundary, batch.actions)
    log_prob, entropies, values = (counted(part, batch) for part in result)
    advantages = counted(batch.advantages, batch)
    if advantages.numel() > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    log_ratio = log_prob - counted(batch.log_probs, batch)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - options.clip_range, 1 + options.clip_range)
    policy_loss = -torch.minimum(ratio * advantages, clipped * advantages).mean()
    value_loss = 0.5 * (values - counted(batch.returns, batch)).square().mean()
    entropy = entropies.mean()
    loss = policy_loss + options.vf_coef * value_loss - ent_coef * entropy
    with torch.no_grad():
        report = {
            "policy_gradient_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "approx_kl": ((ratio - 1) - log_ratio).mean(),
            "clip_fraction": ((ratio - 1).abs() > options.clip_range).float().mean(),
            "ratio_error": (ratio - 1).abs().max(),
        }
    return loss, report


def counted(part: Tensor, rollout: Rollout) -> Tensor:
    """What the valid steps of ``rollout`` have of ``part`` ``[T, B]``; ``part`` itself where all are."""
    return part if rollout.valid is None else part[rollout.valid]


def take(rollout: Rollout, rows: Tensor) -> Rollout:
    """Some sequences of a rollout."""
    parts = {
        name: part.index_select(1, rows)
        for name, part in rollout._asdict().items()
        if name not in ("obs", "state") and part is not None
    }
    return Rollout(
        obs={k: v.index_select(1, rows) for k, v in rollout.obs.items()}, state=tree.index(rollout.state, rows), **parts
    )


def update(
    policy: MemoryPolicy,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    options: PPOOptions,
    *,
    progress: float,
    generator: torch.Generator,
    name: str = "the environment",
    step: int = 0,
    go_on: Callable[[], bool] = lambda: True,
) -> dict[str, float]:
    """One update of ``n_epochs`` over ``rollout``; returns the means of what :func:`losses` reports.

    Minibatches without a valid step are left out; a rollout without any changes nothing and reports only the schedule.
    It ends early, after a minibatch, once ``go_on`` returns False.

    Raises:
        NonFiniteError: a loss or gradient is not finite; the parameters stay as they were before that minibatch.
    """
    rate, ent_coef = options.at(progress)
    for group in optimizer.param_groups:
        group["lr"] = rate
    count = rollout.boundary.shape[1]
    parts = min(options.n_minibatches, count)
    schedule = {"learning_rate": rate, "ent_coef": ent_coef}
    if rollout.valid is not None and not rollout.valid.any():
        return schedule
    reports: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.n_epochs):
        order = torch.randperm(count, generator=generator)
        for rows in order.tensor_split(parts):  # an uneven remainder is spread, never a part of its own
            batch = take(rollout, rows)
            if batch.valid is not None and not batch.valid.any():
                continue
            loss, report = losses(policy, batch, options, ent_coef)
            norm = descend(
                policy,
                loss,
                optimizer,
                options.max_grad_norm,
                where=f"{name} at step {step}",
                name="the PPO loss",
                advice="try a lower learning_rate or a smaller reward_scale",
            )
            for key, number in report.items():
                reports[key].append(float(number))
            reports["grad_norm"].append(norm)
            if not go_on():
                break
        if not go_on() or (options.target_kl is not None and reports["approx_kl"][-1] > options.target_kl):
            break
    policy.consolidate(rollout.obs, rollout.boundary)  # only now, so that training recomputed what acting saw
    returns, values = counted(rollout.returns, rollout), counted(rollout.values, rollout)
    variance = float(returns.var()) if returns.numel() > 1 else 0.0
    residual = float((returns - values).var()) if returns.numel() > 1 else 0.0
    result = {key: sum(numbers) / len(numbers) for key, numbers in reports.items()}
    result["ratio_error"] = reports["ratio_error"][0]
    result["explained_variance"] = 1 - residual / variance if variance > 0 else 0.0
    return result | schedule

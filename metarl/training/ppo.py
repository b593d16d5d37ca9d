"""Proximal policy optimisation over whole sequences (Schulman et al. 2017)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from metarl import parallel, tree
from metarl.functional.schedules import linear
from metarl.nets.policy import MemoryPolicy
from metarl.training.collect import GaeHorizon, Rollout
from metarl.training.imitation import imitation_loss
from metarl.training.optim import optimizer_step

LARGEST = ("ratio_error", "imitation_weight")  # of what a loss reports: the largest of its steps, and not a mean


@dataclass(frozen=True)
class PPOOptions:
    """Options of proximal policy optimisation; names follow stable-baselines3.

    Args:
        learning_rate: Adam's step size at the beginning.
        learning_rate_end: its value when the schedule ends; linear in between.
        gamma: discount per step of the trial at the beginning; a lower one is easier to learn with.
        gamma_end: its value when the schedule ends, linear in between; None: as at the beginning.
        gae_lambda: lambda of the advantage estimates.
        gae_horizon: where advantage estimates end: with the "trial", as in RL², so that exploring pays off in later
            episodes; or with the inner "episode", for tasks with a reward for each step survived.
        n_epochs: passes over each rollout.
        n_minibatches: parts that a rollout is split into, by whole sequences.
        steps_at_once: environment steps through which gradients flow back at once, which bounds the memory that an
            update takes: a larger minibatch is computed in parts of whole sequences, one at least, whose gradients add
            up to its own; None: each minibatch as a whole.
        clip_range: probability ratios are clipped to 1 ± this (epsilon of Schulman et al. 2017, eq. 7) at the
            beginning.
        clip_range_end: its value when the schedule ends, linear in between; None: as at the beginning.
        ent_coef: weight of the entropy bonus at the beginning.
        ent_coef_end: its value when the schedule ends; linear in between.
        vf_coef: weight of the value loss.
        max_grad_norm: gradients are scaled down to this norm.
        target_kl: an update ends early once the policy has moved this far (approximate KL); None: never.
        reward_scale: a fixed factor on the reward in the loss; observed and reported rewards are not scaled.
    """

    learning_rate: Annotated[float, Ge(0)] = 2e-3
    learning_rate_end: Annotated[float, Ge(0)] = 0.0
    gamma: Annotated[float, Ge(0), Le(1)] = 0.99
    gamma_end: Annotated[float, Ge(0), Le(1)] | None = None
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 0.8
    gae_horizon: GaeHorizon = "trial"
    n_epochs: Annotated[int, Ge(1)] = 4
    n_minibatches: Annotated[int, Ge(1)] = 16
    steps_at_once: Annotated[int, Ge(1)] | None = 8192
    clip_range: Annotated[float, Gt(0)] = 0.2
    clip_range_end: Annotated[float, Ge(0)] | None = None
    ent_coef: Annotated[float, Ge(0)] = 0.03
    ent_coef_end: Annotated[float, Ge(0)] = 0.0
    vf_coef: Annotated[float, Ge(0)] = 0.5
    max_grad_norm: Annotated[float, Gt(0)] = 0.5
    target_kl: Annotated[float, Gt(0)] | None = None
    reward_scale: Annotated[float, Gt(0)] = 1.0

    def at(self, progress: float) -> tuple[float, float]:
        """Learning rate and entropy weight at ``progress``, a fraction of the schedule from 0 to 1."""
        rate = linear(self.learning_rate, self.learning_rate_end, progress)
        return rate, linear(self.ent_coef, self.ent_coef_end, progress)

    def clip_range_at(self, progress: float) -> float:
        """The clip range at ``progress``, a fraction of the schedule from 0 to 1."""
        return (
            self.clip_range if self.clip_range_end is None else linear(self.clip_range, self.clip_range_end, progress)
        )

    def gamma_at(self, progress: float) -> float:
        """The discount at ``progress``, a fraction of the schedule from 0 to 1."""
        return self.gamma if self.gamma_end is None else linear(self.gamma, self.gamma_end, progress)


def ppo_loss(
    policy: MemoryPolicy, batch: Rollout, options: PPOOptions, ent_coef: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a minibatch of whole sequences, or of a part of one (Schulman et al. 2017, eq. 9); its statistics.

    The memory sees every step; only valid steps enter the loss and the statistics.

    Args:
        policy: evaluated on the sequences.
        batch: sequences ``[T, B, ...]`` with at least one valid step; their advantages count as they are.
        options: clip range and weight of the value loss.
        ent_coef: weight of the entropy bonus.

    Returns:
        The loss, a scalar ``[]``, and scalars without gradient by name: ``policy_gradient_loss``, ``value_loss``,
        ``entropy`` (nats), ``approx_kl`` (nats), ``clip_fraction`` and ``ratio_error``, the largest |ratio - 1|; and
        what :func:`metarl.training.imitation.imitation_loss` reports where an expert is imitated.
    """
    result = policy.evaluate(batch.obs, batch.state, batch.boundary, batch.actions, expert=batch.expert)
    log_prob, entropies, values = (select_valid(part, batch) for part in result[:3])
    advantages = select_valid(batch.advantages, batch)
    log_ratio = log_prob - select_valid(batch.log_probs, batch)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - options.clip_range, 1 + options.clip_range)
    policy_loss = -torch.minimum(ratio * advantages, clipped * advantages).mean()
    value_loss = 0.5 * (values - select_valid(batch.returns, batch)).square().mean()
    entropy = entropies.mean()
    loss = policy_loss + options.vf_coef * value_loss - ent_coef * entropy
    imitation: dict[str, Tensor] = {}
    if result.expert is not None and batch.imitation is not None:
        imitated, imitation = imitation_loss(*(select_valid(part, batch) for part in (result.expert, batch.imitation)))
        loss = loss + imitated
    with torch.no_grad():
        report = {
            **imitation,
            "policy_gradient_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "approx_kl": ((ratio - 1) - log_ratio).mean(),
            "clip_fraction": ((ratio - 1).abs() > options.clip_range).to(ratio.dtype).mean(),
            "ratio_error": (ratio - 1).abs().max(),
        }
    return loss, report


def select_valid(part: Tensor, rollout: Rollout) -> Tensor:
    """The entries ``[N]`` of ``part`` ``[T, B]`` at the valid steps; ``part`` itself if all steps are valid."""
    return part if rollout.valid is None else part[rollout.valid]


def minibatch(rollout: Rollout, rows: Tensor) -> Rollout:
    """The sequences ``rows`` (indices ``[N]`` along the batch axis) of a rollout."""
    parts = {k: v.index_select(1, rows) for k, v in rollout._asdict().items() if isinstance(v, Tensor)}
    obs = {k: v.index_select(1, rows) for k, v in rollout.obs.items()}
    return rollout._replace(**{**parts, "obs": obs, "state": tree.index(rollout.state, rows)})


def scaled(batch: Rollout) -> Rollout:
    """A minibatch whose advantages have mean 0 and standard deviation 1 over its valid steps, if it has several.

    Those of its shares in other processes count too.
    """
    count, mean, std = parallel.mean_std(select_valid(batch.advantages, batch).flatten())
    return batch if count < 2 else batch._replace(advantages=(batch.advantages - mean) / (std + 1e-8))


def parts_of(batch: Rollout, steps: int | None) -> Iterator[Rollout]:
    """A minibatch in parts of about equal numbers of whole sequences.

    Args:
        batch: ``T`` steps of ``B`` sequences.
        steps: that a part has at most, where a single sequence has no more; None: the minibatch is the only part.
    """
    length, count = batch.boundary.shape
    rows = count if steps is None else max(1, steps // length)
    if rows >= count:
        yield batch
        return
    for some in torch.arange(count, device=batch.boundary.device).tensor_split(-(-count // rows)):
        yield minibatch(batch, some)


def in_parts(
    policy: MemoryPolicy,
    batch: Rollout,
    options: PPOOptions,
    ent_coef: float,
    reports: dict[str, list[float]],
) -> Iterator[Tensor]:
    """The loss of a minibatch as terms that add up to it, each made when the one before is done with.

    Args:
        policy: evaluated on the sequences.
        batch: whose advantages are :func:`scaled`; without a valid step there are no terms.
        options: see :func:`ppo_loss`, and the size of the parts.
        ent_coef: weight of the entropy bonus.
        reports: gets what :func:`ppo_loss` reports, of the whole minibatch, after the last term.
    """
    found: list[tuple[dict[str, Tensor], dict[str, float]]] = []
    whole = _counts(batch)
    for part in parts_of(batch, options.steps_at_once):
        counts = _counts(part)
        if not counts["steps"]:
            continue
        loss, report = ppo_loss(policy, part, options, ent_coef)
        found.append((report, {name: count / max(whole[name], 1) for name, count in counts.items()}))
        yield loss if len(part.boundary[0]) == len(batch.boundary[0]) else loss * found[-1][1]["steps"]
    for key in found[0][0] if found else ():
        if key in LARGEST:
            reports[key].append(max(float(report[key]) for report, _ in found))
        else:
            by = "imitated" if key == "imitation_loss" else "steps"
            reports[key].append(sum(float(report[key]) * shares[by] for report, shares in found))


def _counts(batch: Rollout) -> dict[str, int]:
    """How many steps of a minibatch count, and in how many of these an expert is imitated."""
    steps = select_valid(batch.boundary, batch).numel()
    return {
        "steps": steps,
        "imitated": 0 if batch.imitation is None else int((select_valid(batch.imitation, batch) > 0).sum()),
    }


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
    """One update (Schulman et al. 2017, algorithm 1): ``n_epochs`` passes over ``rollout`` in minibatches.

    Minibatches without a valid step are skipped; a rollout without any changes nothing. Where several processes train
    together, ``rollout`` is the share of this one, and each minibatch consists of one of each process.

    Args:
        policy: trained in place.
        optimizer: of the policy's parameters.
        rollout: ``T`` steps of ``B`` sequences.
        options: all are used except for ``gamma`` and ``gae_lambda``, which the rollout's advantages contain.
        progress: the position in the schedule, from 0 to 1.
        generator: shuffles the sequences; on any device.
        name: of the environment, for errors.
        step: environment steps so far, for errors.
        go_on: called after each minibatch; False ends the update early, and must be so in all processes.

    Returns:
        The means over minibatches, and over processes in the first of them, of what :func:`ppo_loss` reports and of
        ``grad_norm`` (before clipping), except for ``ratio_error``, which is the largest of the first minibatch;
        ``explained_variance`` of the returns; ``learning_rate`` and ``ent_coef``. Only these two if no step is valid.

    Raises:
        NonFiniteError: a loss or gradient is not finite; the parameters are those before that minibatch.
    """
    rate, ent_coef = options.at(progress)
    options = replace(options, clip_range=options.clip_range_at(progress))
    for group in optimizer.param_groups:
        group["lr"] = rate
    count = rollout.boundary.shape[1]
    parts = min(options.n_minibatches, count)
    schedule = {"learning_rate": rate, "ent_coef": ent_coef}
    void = parallel.any_of(rollout.valid is not None)  # whether any step of any process is
    if void and not parallel.any_of(rollout.valid is None or bool(rollout.valid.any())):
        return schedule
    reports: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.n_epochs):
        order = torch.randperm(count, generator=generator, device=generator.device).to(rollout.boundary.device)
        for rows in order.tensor_split(parts):  # an uneven remainder is spread over the minibatches
            batch = minibatch(rollout, rows)
            counted = _counts(batch)["steps"]
            if void and not parallel.any_of(counted > 0):
                continue
            steps = counted
            norm = optimizer_step(
                policy,
                in_parts(policy, scaled(batch), options, ent_coef, reports),
                optimizer,
                options.max_grad_norm,
                where=f"{name} at step {step}",
                name="the PPO loss",
                advice="try a lower learning_rate or a smaller reward_scale",
                weight=steps,
            )
            reports["grad_norm"].append(norm)
            if not go_on():
                break
        if not go_on() or (options.target_kl is not None and moved(reports, steps) > options.target_kl):
            break
    policy.consolidate(rollout.obs, rollout.boundary)  # only now, so that training recomputed what acting saw
    returns, values = select_valid(rollout.returns, rollout), select_valid(rollout.values, rollout)
    variance, residual = (float(parallel.moments(x.flatten()).var) for x in (returns, returns - values))
    result = {key: sum(numbers) / len(numbers) for key, numbers in reports.items()}
    result["ratio_error"] = max(reports["ratio_error"][:1], default=0.0)
    everyone = parallel.gathered(result) or [result]
    for key in dict.fromkeys(key for one in everyone for key in one):
        found = [one[key] for one in everyone if key in one]
        result[key] = max(found) if key in LARGEST else sum(found) / len(found)
    result["explained_variance"] = 1 - residual / variance if variance > 0 else 0.0
    return result | schedule


def moved(reports: Mapping[str, list[float]], steps: int) -> float:
    """How far the policy is from the one that acted, by the last minibatch: the approximate KL over all processes.

    Args:
        reports: of this process, by minibatch.
        steps: that count in the last minibatch here.
    """
    return parallel.mean(reports["approx_kl"][-1] if steps else 0.0, steps)

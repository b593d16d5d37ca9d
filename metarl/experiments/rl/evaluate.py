"""Evaluating an agent on held-out tasks, beside its ablations and the references."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from metarl.agents import baselines
from metarl.agents.rl2_room import policy_for
from metarl.envs import distribution
from metarl.evaluation.play import TrialBatch, rollout_trials, steps_to_adapt
from metarl.evaluation.results import ActorResult, AgentEvaluation, Difference, ReferenceResult
from metarl.functional.stats import Interval, bootstrap_mean, standard_error
from metarl.memory.ablation import ABLATIONS, Ablation, ablated
from metarl.nets.policy import MemoryPolicy
from metarl.runs.progress import Progress
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.trial.told import SUCCESS, reported_names
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.actor import PolicyActor
from metarl.types import Actor, Split

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

Plain = int | float | str | None


def evaluate(
    agent: RL2PPO,
    family: TaskDistribution | str,
    *,
    inputs: TrialInputs | None = None,
    split: Split = "test",
    trials: int = 10_000,
    tuning_trials: int = 2_000,
    rows: int = 500,
    seed: int = 0,
    quiet: bool = False,
    alone: bool = False,
) -> AgentEvaluation:
    """Play held-out tasks with the agent, its ablations and the references, all on the same tasks.

    The agent samples its actions, as in training; ``greedy`` is the same agent taking the most probable ones.

    Args:
        agent: trained; its memory gets room for trials that are longer than those of training.
        family: the tasks, or the id of their family.
        inputs: what the agent sees beside the observation; None: the default.
        split: validation or test.
        trials: held-out tasks, one trial each.
        tuning_trials: validation tasks on which the parameters of references are chosen.
        rows: trials played side by side.
        seed: of the tasks.
        quiet: no progress bar.
        alone: neither the greedy agent nor ablations and references.

    Raises:
        ValueError: ``split`` is "train", the agent was trained on other observations or actions, or the memories of
            ``rows`` trials take more bytes than there are.
    """
    family = (distribution(family) if isinstance(family, str) else family).with_split(split)

    seen = inputs or TrialInputs()

    def make_env(of: Split, n: int, seen: TrialInputs = seen) -> TrialVectorEnv:
        return TrialVectorEnv(family.with_split(of), n, inputs=seen, max_restarts=0)

    unscaled = partial(make_env, seen=replace(seen, prev_reward_scale=1.0))  # references count rewards as they are
    layout = make_env(split, 1).layout
    if (agent.observation_space, agent.action_space) != (layout.observation_space, layout.action_space):
        raise ValueError(
            f"the agent observes {agent.observation_space} and chooses from {agent.action_space}, but trials of "
            f"{family.family} have {layout.observation_space} and {layout.action_space}; give the family and inputs "
            "that it was trained with"
        )
    policy = policy_for(agent, family.trial_steps, min(rows, trials))
    prior = None if family.reveal or alone else family.prior

    def validated(actor: Actor) -> float:
        played = rollout_trials(actor, partial(unscaled, "validation"), tuning_trials, seed=seed)
        return float(played.returns.mean())

    tuned = baselines.tune(prior, validated) if prior else {}
    references: dict[str, Callable[[], Actor]] = {}
    if not (family.reveal or alone):
        references["random"] = partial(baselines.Random, family.action_space)
        references |= baselines.references(prior, tuned) if prior else {}
    names, own = ([], 1) if alone else (ablations(policy, family), 2)
    with Progress("evaluating", trials * (own + len(names) + len(references)), "trial", quiet=quiet) as progress:
        played_before = 0

        def run(name: str, actor: Actor, make: Callable[..., TrialVectorEnv] = make_env) -> TrialBatch:
            nonlocal played_before
            progress.now(f"evaluating {name}")

            def on_batch(done: int) -> None:
                progress.reach(played_before + done)

            batch = rollout_trials(
                actor, partial(make, split), trials, seed=seed, rows=min(rows, trials), on_batch=on_batch
            )
            played_before += trials
            return batch

        sampled = run("agent", PolicyActor(policy))
        greedy = {} if alone else {"greedy": run("agent, greedy", PolicyActor(policy, deterministic=True))}
        if sampled.ends.all():  # where every step is an episode, emptying memory so often is memory off
            names = [name for name in names if name not in ("episode", "step")]
        elif names and not hasattr(policy.core, "memory"):  # without a store, "off" and "episode" are the same
            names.remove("off")
        progress.now(total=trials * (own + len(names) + len(references)))
        without: dict[str, TrialBatch] = {}
        for name in names:
            with ablated(policy.core, name):
                without[name] = run(name, PolicyActor(policy))
        played = {name: run(name, make(), unscaled) for name, make in references.items()}
    batches = {"agent": sampled, **greedy, **without, **{f"reference {k}": v for k, v in played.items()}}
    done = {name: summary(one, not family.looks_change) for name, one in with_success(family, batches).items()}
    return AgentEvaluation(
        env=family.family,
        env_options={k: v if isinstance(v, Plain) else str(v) for k, v in family.options().items() if k != "split"},
        split=split,
        in_distribution=family.in_distribution,
        trials=trials,
        seed=seed,
        steps_per_trial=family.trial_steps,
        greedy=ActorResult(**done["greedy"]) if greedy else None,
        references={
            name: ReferenceResult(**done[f"reference {name}"], agent_minus=difference(sampled, one))
            for name, one in played.items()
        },
        tuned=tuned,
        ceilings={} if alone else ceilings(family),
        ablations={name: ActorResult(**done[name]) for name in without},
        **done["agent"],
    )


def with_success(family: TaskDistribution, batches: Mapping[str, TrialBatch]) -> dict[str, TrialBatch]:
    """The batches; an actor that was told of no success had none, where others were told of some.

    Keys that the family names and that never came are warned of.
    """
    told, names = {name for batch in batches.values() for name in batch.told}, reported_names(family.infos)
    for key in family.infos:
        if names[key] not in told:
            warnings.warn(f"info never had the key {key!r} that infos names; its number is missing here", stacklevel=3)
    none = {SUCCESS} & told
    return {
        name: one._replace(told={**{k: np.zeros_like(one.rewards) for k in none}, **one.told})
        for name, one in batches.items()
    }


def told(played: TrialBatch) -> dict[str, Any]:
    """The fields of an actor's result that hold what environments told."""
    infos: dict[str, tuple[float | None, ...]] = {}
    errors: dict[str, tuple[float | None, ...]] = {}
    for name, numbers in played.told_by_episode().items():
        known = [column[~np.isnan(column)] for column in numbers.T]
        infos[name] = tuple(float(column.mean()) if len(column) else None for column in known)
        errors[name] = tuple(float(standard_error(column)) if len(column) else None for column in known)
    return {"infos": infos, "infos_se": errors}


def summary(played: TrialBatch, recognisable: bool) -> dict[str, Any]:
    """The fields of an actor's result; ``recognisable``: a context looks the same each time it is met."""
    returns, episodes, finished = played.returns, played.by_episode(), played.finished
    interval, exposures, each = bootstrap_mean(returns), played.by_exposure() if recognisable else None, {}
    if 0 < finished.min() == finished.max():
        means = episodes.mean(1)
        whole = Interval(*(number / int(finished[0]) for number in interval))
        mean = bootstrap_mean(means) if played.cut.any() else whole
        each = {"episode_mean": mean.mean, "episode_se": standard_error(means), "episode_interval": mean[1:]}
    return (
        each
        | told(played)
        | {
            "return_mean": interval.mean,
            "return_se": standard_error(returns),
            "return_interval": interval[1:],
            "by_episode": tuple(episodes.mean(0).tolist()),
            "by_episode_se": tuple(map(standard_error, episodes.T)),
            "cut": float(played.cut.mean()),
            "steps_to_adapt": steps_to_adapt(played.rewards) if played.equal_lengths else None,
            "by_exposure": None if exposures is None else tuple(exposures.tolist()),
        }
    )


def difference(agent: TrialBatch, reference: TrialBatch) -> Difference:
    """The agent's return minus the reference's, task by task."""
    interval = bootstrap_mean(agent.returns - reference.returns)
    return Difference(interval.mean, interval[1:])


def ablations(policy: MemoryPolicy, family: TaskDistribution) -> list[Ablation]:
    """What can be taken from the agent; keys are shuffled where there are several contexts to shuffle them among."""
    one_context = isinstance(family.observation_space, spaces.Discrete) and family.observation_space.n == 1
    memory = getattr(policy.core, "memory", None)
    shuffles = memory is not None and memory.access is not None and not one_context
    return [name for name in ABLATIONS if name != "shuffled" or shuffles]


def ceilings(family: TaskDistribution) -> dict[str, float]:
    """Exact values for the family; none where none is claimed."""
    if family.prior is None or getattr(family.prior, "each_arm_best_once", False):
        return {}
    return baselines.ceilings(family.prior)

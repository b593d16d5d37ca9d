"""Evaluating a trained agent on held-out tasks: beside its ablations and the references, and step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from tqdm import tqdm

from metarl.agents import baselines
from metarl.evaluation.play import TrialBatch, rollout_trials, steps_to_adapt
from metarl.evaluation.trace import record
from metarl.experiments.rl.experiment import Experiment
from metarl.functional.stats import bootstrap_mean, standard_error
from metarl.memory.ablation import ABLATIONS, Ablation, ablated
from metarl.report import trials as kept
from metarl.runs.folder import RunFolder, write_json_atomic
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.family.priors import Prior
from metarl.types import Actor, Array, Split

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

GREEDY = ("return_mean", "return_se", "return_interval", "steps_to_adapt")
"""What is kept of playing greedily."""


def summary(played: TrialBatch) -> dict[str, Any]:
    """What an evaluation says of one actor: plain numbers."""
    returns, episodes = played.returns, played.by_episode()
    interval = bootstrap_mean(returns)
    count = np.sum(~np.isnan(episodes), 0)
    result: dict[str, Any] = {
        "return_mean": interval.mean,
        "return_se": standard_error(returns),
        "return_interval": [interval.low, interval.high],
        "by_episode": np.nanmean(episodes, 0).tolist(),
        "by_episode_se": (np.nanstd(episodes, 0) / np.sqrt(count)).tolist(),
    }
    if played.equal_lengths and (steps := steps_to_adapt(played.rewards)) is not None:
        result["steps_to_adapt"] = steps
    exposures = played.by_exposure()
    if exposures is not None:
        result["by_exposure"] = exposures.tolist()
    return result


def evaluate(
    agent: RL2PPO,
    experiment: Experiment,
    *,
    split: Split = "test",
    trials: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Play held-out tasks with the agent, its ablations and the references, all on the same tasks.

    The headline samples actions, as in training; ``greedy`` takes the most probable one.

    Raises:
        ValueError: ``split`` is "train".
    """
    trials = experiment.eval.trials if trials is None else trials
    family = experiment.make_distribution(split)
    rows = min(experiment.eval.rows, trials)
    prior = None if family.reveal else family.prior
    tuned = tune(experiment, prior, seed) if prior else {}
    references: dict[str, Callable[[], Actor]] = {}
    if not family.reveal:
        references["random"] = partial(baselines.Random, family.action_space)
        references |= baselines.references(prior, tuned) if prior else {}
    names = ablations(agent, family)
    with tqdm(unit="trial", unit_scale=True, disable=quiet or None) as bar:
        bar.total = trials * (2 + len(names) + len(references))

        def run(name: str, actor: Actor) -> TrialBatch:
            bar.set_description(f"evaluating {name}", refresh=False)
            on_batch = partial(advance, bar, int(bar.n))
            return rollout_trials(
                actor, lambda n: experiment.make_env(split, n), trials, seed=seed, rows=rows, on_batch=on_batch
            )

        sampled = run("agent", agent.actor())
        greedy = run("agent, greedy", agent.actor(deterministic=True))
        if sampled.ends.all():  # where every step is an episode, memory that is emptied so often is memory off
            names = [name for name in names if name not in ("episode", "step")]
        elif not hasattr(agent.policy.core, "memory"):  # without a store, "off" and "episode" are the same
            names.remove("off")
        bar.total = trials * (2 + len(names) + len(references))
        without: dict[str, TrialBatch] = {}
        for name in names:
            with ablated(agent.policy.core, name):
                without[name] = run(name, agent.actor())
        played = {name: run(name, make()) for name, make in references.items()}
    result: dict[str, Any] = {
        "env": experiment.env_name,
        "env_options": {k: v for k, v in experiment.env.items() if k != "id"},
        "split": split,
        "in_distribution": family.in_distribution,
        "trials": trials,
        "seed": seed,
        "steps_per_trial": family.trial_steps,
        **summary(sampled),
        **{f"greedy_{k}": v for k, v in summary(greedy).items() if k in GREEDY},
        "references": {name: summary(one) for name, one in played.items()},
        "tuned": tuned,
        "ceilings": ceilings(family),
        "ablations": {name: summary(one) for name, one in without.items()},
    }
    for name, entry in result["references"].items():
        difference = bootstrap_mean(sampled.returns - played[name].returns)
        entry["agent_minus"] = {"mean": difference.mean, "interval": [difference.low, difference.high]}
    return result


def advance(bar: tqdm[Any], start: int, done: int) -> None:
    """Move a bar to ``done`` beyond ``start``."""
    bar.update(start + done - bar.n)


def tune(experiment: Experiment, prior: Prior, seed: int) -> dict[str, float]:
    """The references' parameters that do best on validation tasks."""

    def on_validation(actor: Actor) -> float:
        trials = experiment.eval.tuning_trials
        return float(
            rollout_trials(actor, lambda n: experiment.make_env("validation", n), trials, seed=seed).returns.mean()
        )

    return baselines.tune(prior, on_validation)


def ablations(agent: RL2PPO, family: TaskDistribution) -> list[Ablation]:
    """What can be taken from the agent; keys are shuffled where there are several contexts to shuffle them among."""
    one_context = isinstance(family.observation_space, spaces.Discrete) and family.observation_space.n == 1
    memory = getattr(agent.policy.core, "memory", None)
    shuffles = memory is not None and memory.access is not None and not one_context
    return [name for name in ABLATIONS if name != "shuffled" or shuffles]


def ceilings(family: TaskDistribution) -> dict[str, float]:
    """Exact values for the family; none where none is claimed."""
    if family.prior is None or getattr(family.prior, "each_arm_best_once", False):
        return {}
    return baselines.ceilings(family.prior)


def save_evaluation(run: RunFolder, evaluation: Mapping[str, Any]) -> None:
    """Write the evaluation on test tasks into the run folder, where the report finds it."""
    write_json_atomic(run.evaluation, evaluation)


def record_trials(
    agent: RL2PPO, experiment: Experiment, *, split: Split = "test", seed: int = 0, n: int = 4
) -> dict[str, Array]:
    """Play ``n`` held-out trials and keep them step by step; see :func:`metarl.evaluation.trace.record`."""
    return record(agent.actor(), agent.policy.core, lambda rows: experiment.make_env(split, rows), n, seed=seed)


def save_trials(run: RunFolder, trials: Mapping[str, Array]) -> None:
    """Write recorded trials of test tasks into the run folder, where the report finds them."""
    kept.save(kept.path_of(run), trials)

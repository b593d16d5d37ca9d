"""What tables and images say of an agent's evaluation: names, units, and the share of the way to the best reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from metarl.evaluation.results import ActorResult, AgentEvaluation, Evaluation

Unit = Literal["trial", "episode"]

ABLATIONS = {
    "off": "memory off",
    "shuffled": "keys shuffled",
    "episode": "emptied at each episode",
    "step": "emptied at each step",
}
"""The keys of ``ablations``, in the order of display, and what they are called."""
_BEST = ("Bayes-optimal", "Gittins", "ideal memory")
"""Optimal players, in the order in which they are looked for."""


def one_step_episodes(evaluation: AgentEvaluation) -> bool:
    """Whether every inner episode is a single step, as in a bandit without contexts."""
    return evaluation.steps_per_trial == len(evaluation.by_episode)


def step_word(evaluation: AgentEvaluation) -> str:
    """What the field calls a step: a ``pull`` of a bandit's arm, else a ``step``."""
    return "pull" if "bandit" in evaluation.env.lower() else "step"


def return_unit(evaluations: Iterable[AgentEvaluation]) -> Unit:
    """What returns are given per: the episode, where there are longer ones and all actors finish as many of them."""
    for one in evaluations:
        results = [one, *filter(None, [one.greedy]), *one.ablations.values(), *one.references.values()]
        if one_step_episodes(one) or any(result.episode_mean is None for result in results):
            return "trial"
    return "episode"


def mean_return(result: ActorResult, unit: Unit) -> float:
    """The mean return of a trial, or of an episode where these can be compared."""
    return result.return_mean if unit == "trial" or result.episode_mean is None else result.episode_mean


def env_name(env: str, options: dict[str, object]) -> str:
    """Environment and options, such as ``metarl/BernoulliBandit-v0 (arms=10, pulls=100)``."""
    given = ", ".join(f"{name}={value}" for name, value in options.items())
    return f"{env} ({given})" if given else env


def headline(evaluation: AgentEvaluation) -> str:
    """:func:`env_name` of an evaluation."""
    return env_name(evaluation.env, evaluation.env_options)


def held_out(evaluation: AgentEvaluation) -> str:
    """How many trials of which split, such as ``10,000 trials of test tasks``; or that none could be held out."""
    if evaluation.in_distribution:
        return f"{evaluation.trials:,} trials in distribution (no tasks are held out)"
    return f"{evaluation.trials:,} trials of {evaluation.split} tasks"


def kept(evaluation: Evaluation, unit: str) -> Iterator[str]:
    """Which model was evaluated, where it isn't the last one.

    Args:
        evaluation: of any kind.
        unit: what its steps are called.
    """
    if evaluation.kept_step is not None:
        of = "" if evaluation.train_steps is None else f" of {evaluation.train_steps:,}"
        yield f"evaluated: the model after {evaluation.kept_step:,}{of} {unit}, the best in validation"


def best_reference(evaluation: AgentEvaluation) -> str | None:
    """What shares are measured against: the first of ``_BEST``, or else the best reference that is not random."""
    references = {name: value for name, value in evaluation.references.items() if name != "random"}
    for name in _BEST:
        if name in references:
            return name
    return max(references, key=lambda name: references[name].return_mean, default=None)


def ends_of_scale(evaluation: AgentEvaluation, unit: Unit) -> tuple[float, float] | None:
    """The returns of random actions and of the best reference per ``unit``; None where either is unknown."""
    best = best_reference(evaluation)
    if best is None or "random" not in evaluation.references:
        return None
    return mean_return(evaluation.references["random"], unit), mean_return(evaluation.references[best], unit)


def share(mean: float, ends: tuple[float, float] | None) -> str:
    """How far a return is on the way between two others, in per cent; ``-`` where there is no way."""
    if ends is None or ends[1] <= ends[0]:
        return "-"
    return f"{100 * (mean - ends[0]) / (ends[1] - ends[0]):.1f} %"


def ours(evaluation: AgentEvaluation) -> list[tuple[str, ActorResult]]:
    """The agent and its ablations, each with its name."""
    rows: list[tuple[str, ActorResult]] = [("agent (sampled actions)", evaluation)]
    rows += [("agent (greedy actions)", evaluation.greedy)] if evaluation.greedy else []
    return rows + [(name, evaluation.ablations[key]) for key, name in ABLATIONS.items() if key in evaluation.ablations]


def mean_and_half(result: ActorResult, unit: Unit) -> str:
    """``82.61 ± 0.17``: a return with half the width of its 95 % interval."""
    low, high = (unit == "episode" and result.episode_interval) or result.return_interval
    return f"{mean_return(result, unit):.2f} ± {(high - low) / 2:.2f}"

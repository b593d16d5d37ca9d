"""Several runs side by side: which are the same setting, what tells settings apart, and means over their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarl.report.evaluation import Evaluation, floats, one_step_episodes, read_evaluation
from metarl.runs.folder import RunError, RunFolder
from metarl.tasks.trial.layout import INPUTS
from metarl.types import Floats

_IDLE = ("seed", "about", "eval", "train.threads", "train.workers", "env.import")
"""What makes no other setting: which run it is, what is said of it, how it is tested and on how many cores it runs."""
_NORMAL95 = 1.96
_DEFAULT = "default"  # of an option that was left out
_WIDE = 70
_FIRST = ("memory", "env", "ppo")
_UNSEEN = (*INPUTS, "reveal")
"""Options of a family that change what is seen of a task, and not the tasks."""


@dataclass(frozen=True)
class Member:
    """One run with what lies in its folder."""

    run: RunFolder
    config: dict[str, Any]
    evaluation: dict[str, Any] | None
    metrics: list[dict[str, Any]]

    @property
    def seed(self) -> Any:
        """The seed that it was trained with."""
        return self.config.get("seed")


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seeds alone."""

    label: str
    """What tells it from the other settings."""
    options: dict[str, str]
    """The same, by option."""
    members: list[Member]

    @property
    def evaluated(self) -> list[Evaluation]:
        """The evaluations of those members that have one."""
        return [member.evaluation for member in self.members if member.evaluation is not None]

    @property
    def name(self) -> str:
        """The label with the number of runs that a mean is over."""
        runs = len(self.members)
        return self.label if runs == 1 else f"{self.label} (mean of {runs} runs)"


def gather(runs: Sequence[RunFolder]) -> list[Setting]:
    """Read the runs and group them by setting, in the order given.

    Raises:
        RunError: a run is given twice, a file of one is damaged, or the runs cannot be compared: they differ in the
            family, in the split that they were evaluated on or in what an episode is.
    """
    paths = [run.path.resolve() for run in runs]
    if twice := [str(run.path) for run, path in zip(runs, paths, strict=True) if paths.count(path) > 1]:
        raise RunError(f"the run {twice[-1]} is given twice; name every run once")
    members = [Member(run, run.config, read_evaluation(run), run.metrics()) for run in runs]
    _check_alike(members)
    flat = [flatten(member.config) for member in members]
    names = list(dict.fromkeys(name for one in flat for name in one))
    differing = [name for name in names if len({one.get(name, _DEFAULT) for one in flat}) > 1]
    groups: dict[tuple[str, ...], list[Member]] = {}
    for member, one in zip(members, flat, strict=True):
        groups.setdefault(tuple(one.get(name, _DEFAULT) for name in differing), []).append(member)
    named = dict(zip(differing, _short(differing), strict=True))
    every = [dict(zip(differing, values, strict=True)) for values in groups]
    told = _telling(every)
    settings = []
    for options, group in zip(every, groups.values(), strict=True):
        label = ", ".join(f"{named[name]}={value}" for name, value in options.items())
        if len(label) > _WIDE:
            label = ", ".join([*(f"{named[name]}={options[name]}" for name in told), "..."])
        settings.append(Setting(label or "agent", options, group))
    return settings


def _short(names: Sequence[str]) -> list[str]:
    """The last parts of the options' names, where these tell them apart."""
    ends = [name.rpartition(".")[2] for name in names]
    return [end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)]


def _telling(every: Sequence[Mapping[str, str]]) -> list[str]:
    """A few options that are enough to tell all settings apart, those of the memory first."""
    order = {section: place for place, section in enumerate(_FIRST)}
    told: list[str] = []
    apart = 1
    for name in sorted(every[0], key=lambda name: order.get(name.partition(".")[0], len(order))):
        now = len({tuple(options[one] for one in (*told, name)) for options in every})
        if now > apart:
            told, apart = [*told, name], now
    return told


def _check_alike(members: Sequence[Member]) -> None:
    first = members[0]
    for other in members[1:]:
        told = f"{first.run.path} and {other.run.path} cannot be compared: "
        ids = [_env(member).get("id") for member in (first, other)]
        if ids[0] != ids[1]:
            raise RunError(f"{told}their environments are {ids[0]} and {ids[1]}; give runs of one family")
    evaluated = [member for member in members if member.evaluation is not None]
    for other in evaluated[1:]:
        a, b = evaluated[0].evaluation, other.evaluation
        assert a is not None
        assert b is not None
        told = f"{evaluated[0].run.path} and {other.run.path} cannot be compared: "
        if a["split"] != b["split"]:
            raise RunError(f"{told}they were evaluated on {a['split']} and {b['split']} tasks; evaluate both on one")
        if one_step_episodes(a) != one_step_episodes(b):
            raise RunError(f"{told}the episodes of one alone are single steps; give runs with episodes alike")


def _env(member: Member) -> Mapping[str, Any]:
    env = member.config.get("env")
    return env if isinstance(env, dict) else {}


def flatten(config: Mapping[str, Any], leave_out: Sequence[str] = _IDLE, before: str = "") -> dict[str, str]:
    """Nested options as ``{"memory.store": "episodic", ...}``."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        full = f"{before}{name}"
        if full in leave_out:
            continue
        if isinstance(value, dict):
            flat |= flatten(value, leave_out, f"{full}.")
        else:
            flat[full] = shown(value)
    return flat


def shown(value: Any) -> str:
    """A value of a configuration as its reader writes it."""
    if value is None:
        return _DEFAULT
    return str(value).lower() if isinstance(value, bool) else str(value)


def common_env(members: Sequence[Member]) -> Evaluation:
    """The environment's id and the options that all runs share, as in an evaluation."""
    envs = [_env(member) for member in members]
    shared = {name: value for name, value in envs[0].items() if all(env.get(name) == value for env in envs)}
    name = shared.pop("id", "unknown")
    return {"env": name if isinstance(name, str) else ", ".join(map(str, name)), "env_options": shared}


def same_tasks(members: Sequence[Member]) -> bool:
    """Whether all runs were made on the same family of tasks, however much of them is seen."""
    tasks = [{name: value for name, value in _env(member).items() if name not in _UNSEEN} for member in members]
    return all(one == tasks[0] for one in tasks)


def mean_over_seeds(means: Floats, errors: Floats, shared: bool) -> tuple[Floats, Floats]:
    """The mean over runs with half the width of its 95 % interval over tasks and seeds.

    With tasks of its own for each of S runs, the variance between runs is that of seeds and tasks together; it is taken
    to be at least the mean squared error over tasks, and divided by S. Where all runs were tested on the same tasks, it
    is that of the seeds alone, and the error over tasks is added undivided. The width is that of Student's t with S - 1
    degrees of freedom (1.96 for a single run), which covers at least 95 %, and says little with two runs.

    Args:
        means: ``[S, ...]`` of each run.
        errors: ``[S, ...]`` standard errors over tasks.
        shared: whether all runs were tested on the same tasks.

    Returns:
        Mean and half width, each ``[...]``.
    """
    runs = len(means)
    within = np.square(errors).mean(0)
    if runs == 1:
        return means[0], _NORMAL95 * np.sqrt(within)
    from scipy.stats import t

    between = means.var(0, ddof=1)
    variance = between / runs + within if shared else np.maximum(between, within) / runs
    return means.mean(0), float(t.ppf(0.975, runs - 1)) * np.sqrt(variance)


def pooled(evaluations: Sequence[Evaluation], field: str) -> tuple[Floats, Floats] | None:
    """:func:`mean_over_seeds` of a ``field`` such as ``by_episode`` or ``return_mean``; None where one run lacks it.

    Of lists, as much is used as all runs have.
    """
    error = "return_se" if field == "return_mean" else f"{field}_se"
    if not evaluations or any(field not in one for one in evaluations):
        return None
    means = [np.atleast_1d(floats(one[field])) for one in evaluations]
    length = min(map(len, means))
    errors = [
        np.atleast_1d(floats(one[error])) if error in one else np.zeros(len(mean))
        for one, mean in zip(evaluations, means, strict=True)
    ]
    seeds = [one.get("seed") for one in evaluations]
    shared = len(set(seeds)) < len(seeds)
    return mean_over_seeds(np.stack([m[:length] for m in means]), np.stack([e[:length] for e in errors]), shared)

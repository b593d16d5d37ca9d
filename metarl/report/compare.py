"""Several runs side by side: which differ in their seeds alone, and in what settings the others differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metarl.evaluation.results import KINDS, AgentEvaluation, Evaluation, read_evaluation
from metarl.report.agent import one_step_episodes
from metarl.report.learning import Metrics, drawn_metrics
from metarl.report.verdict import planned_steps
from metarl.runs.folder import RunError, RunFolder
from metarl.tasks.trial.layout import INPUTS

_IDLE = (
    *("kind", "name", "about", "seed", "eval", "device", "threads"),
    *("train.workers", "train.worker_timeout", "train.start_timeout", "env.import", "env.infos"),
)
"""What makes no other setting: which run it is, what is said of it, how it is tested and on what it runs."""
_DEFAULT = "default"  # of an option that was left out
_WIDE = 70
_FIRST = ("memory", "env", "ppo")
_UNSEEN = (*INPUTS, "reveal", "infos")  # options of a family that change what is seen of a task, and not the tasks


@dataclass(frozen=True)
class Member:
    """One run with what lies in its folder."""

    run: RunFolder
    config: dict[str, Any]
    evaluation: Evaluation | None
    metrics: Metrics

    @property
    def kind(self) -> str:
        """The kind of the run, as its config.json says.

        Raises:
            RunError: it names no kind, or an unknown one.
        """
        kind = str(self.config.get("kind"))
        if kind not in KINDS:
            problem = f"{self.run.path} is of no known kind: config.json says {kind}"
            remedy = "a run of an older version has to be trained again"
            raise RunError(problem, key="kind", given=kind, expected=", ".join(KINDS), remedy=remedy)
        return kind

    @property
    def seed(self) -> Any:
        """The seed that it was trained with."""
        return self.config.get("seed")


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seeds alone.

    Args:
        label: in what it differs from the other settings.
        options: the same, by option.
    """

    label: str
    options: dict[str, str]
    members: list[Member]

    @property
    def evaluated(self) -> list[AgentEvaluation]:
        """The evaluations of those members that have one."""
        return [member.evaluation for member in self.members if isinstance(member.evaluation, AgentEvaluation)]

    @property
    def name(self) -> str:
        """The label with the number of runs that a mean is over."""
        runs = len(self.members)
        return self.label if runs == 1 else f"{self.label} (mean of {runs} runs)"


def members_of(runs: Sequence[RunFolder]) -> list[Member]:
    """Read what lies in the folders of runs of one kind.

    Raises:
        RunError: a run is given twice, a file of one is damaged, or they are of different kinds.
    """
    paths = [run.path.resolve() for run in runs]
    if twice := [str(run.path) for run, path in zip(runs, paths, strict=True) if paths.count(path) > 1]:
        raise RunError(f"the run {twice[-1]} is given twice; name every run once")
    members = [Member(run, run.config, read_evaluation(run), drawn_metrics(run)) for run in runs]
    _check_equal(members, lambda member: member.kind, "they are of the kinds", "give runs of one kind")
    return members


def gather(members: Sequence[Member]) -> list[Setting]:
    """Group the runs of agents by setting, in the order given.

    Raises:
        RunError: the runs cannot be compared: they differ in the family, in the split that they were evaluated on or
            in what an episode is.
    """
    _check_alike(members)
    flat = [flatten(member.config) | _trained(member) for member in members]
    names = list(dict.fromkeys(name for one in flat for name in one))
    differing = [name for name in names if len({one.get(name, _DEFAULT) for one in flat}) > 1]
    groups: dict[tuple[str, ...], list[Member]] = {}
    for member, one in zip(members, flat, strict=True):
        groups.setdefault(tuple(one.get(name, _DEFAULT) for name in differing), []).append(member)
    named = dict(zip(differing, _short(differing), strict=True))
    every = [dict(zip(differing, values, strict=True)) for values in groups]
    told = _distinguishing(every)
    settings = []
    for options, group in zip(every, groups.values(), strict=True):
        label = ", ".join(f"{named[name]}={short(value)}" for name, value in options.items())
        if len(label) > _WIDE:
            label = ", ".join([*(f"{named[name]}={short(options[name])}" for name in told), "..."])
        settings.append(Setting(label or "agent", options, group))
    return settings


def _trained(member: Member) -> dict[str, str]:
    """The steps of a training that was cut off, in place of those that were planned."""
    planned = planned_steps(member.config)
    try:
        steps = int(member.run.status.get("train_steps") or 0)
    except RunError:  # told where the run is shown
        return {}
    cut = planned is not None and 0 < steps < planned
    return {"train.total_timesteps": f"{steps:,} of {planned:,}"} if cut else {}


def families(members: Sequence[Member]) -> list[list[Member]]:
    """The runs of agents by the id of their environment, in the order given."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(str(_env(member).get("id")), []).append(member)
    return list(found.values())


def _short(names: Sequence[str]) -> list[str]:
    """The last parts of the options' names, where these are unique."""
    ends = [name.rpartition(".")[2] for name in names]
    return [end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)]


def _distinguishing(every: Sequence[Mapping[str, str]]) -> list[str]:
    """A few options that are enough to distinguish all settings, those of the memory first."""
    order = {section: place for place, section in enumerate(_FIRST)}
    told: list[str] = []
    distinct = 1
    for name in sorted(every[0], key=lambda name: order.get(name.partition(".")[0], len(order))):
        now = len({tuple(options[one] for one in (*told, name)) for options in every})
        if now > distinct:
            told, distinct = [*told, name], now
    return told


def _check_alike(members: Sequence[Member]) -> None:
    evaluated = [m for m in members if isinstance(m.evaluation, AgentEvaluation)]
    _check_equal(members, lambda m: str(_env(m).get("id")), "their environments are", "give runs of one family")
    _check_equal(evaluated, lambda m: m.evaluation.split, "they were evaluated on the splits", "evaluate both on one")
    lengths = {True: "single steps", False: "longer"}
    remedy = "give runs whose episodes are alike"
    _check_equal(evaluated, lambda m: lengths[one_step_episodes(m.evaluation)], "their episodes are", remedy)


def _check_equal(members: Sequence[Member], value: Callable[[Any], str], what: str, remedy: str) -> None:
    for other in members[1:]:
        expected, given = value(members[0]), value(other)
        if given != expected:
            problem = f"{members[0].run.path} and {other.run.path} cannot be compared: {what} {expected} and {given}"
            raise RunError(problem, given=given, expected=f"{expected} for both", remedy=remedy)


def _env(member: Member) -> Mapping[str, Any]:
    env = member.config.get("env")
    return env if isinstance(env, dict) else {}


def flatten(config: Mapping[str, Any], leave_out: Sequence[str] = _IDLE, before: str = "") -> dict[str, str]:
    """Nested options as one level.

    Args:
        config: nested tables.
        leave_out: options or whole tables, by their full names.
        before: what the names begin with.

    Returns:
        Texts by full name, such as ``{"memory.store": "episodic"}``.
    """
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


def common_env(members: Sequence[Member]) -> tuple[str, dict[str, Any]]:
    """The environment's id and the options that all runs share."""
    envs = [_env(member) for member in members]
    shared = {name: value for name, value in envs[0].items() if all(env.get(name) == value for env in envs)}
    name = shared.pop("id", "unknown")
    return name if isinstance(name, str) else ", ".join(map(str, name)), shared


def same_tasks(members: Sequence[Member]) -> bool:
    """Whether all runs were made on the same family of tasks, however much of them is seen."""
    tasks = [{name: value for name, value in _env(member).items() if name not in _UNSEEN} for member in members]
    return all(one == tasks[0] for one in tasks)


def short(text: str) -> str:
    """A long number with four digits; anything else as it is.

    >>> short("0.009369600378282461"), short("gru")
    ('0.00937', 'gru')
    """
    try:
        number = float(text)
    except ValueError:
        return text
    return text if len(text) <= 7 else f"{number:.4g}"

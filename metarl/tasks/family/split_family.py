"""Families with lists of tasks of one's own for training, validation or testing."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, overload

import numpy as np

from metarl.config import InputError, did_you_mean, one_of
from metarl.tasks.family.checks import SpacesError
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.family.env_family import LEVEL, WHICH, EnvFamily
from metarl.tasks.family.members import InnerEnv
from metarl.tasks.family.options import as_held, several
from metarl.tasks.family.ranges import key_of
from metarl.tasks.family.splits import HELD
from metarl.types import SPLITS, Array, Split

MOST_COMPARED = 10_000  # tasks of one split that are looked for in another
LENGTHS = {"episodes", "steps"}  # options that say nothing of the tasks
NAMES = {"id": "env", "import": "imports"}  # options that presets call otherwise


def _of_now(name: str) -> Any:
    return property(lambda family: getattr(family.now, name), doc=f"See :attr:`TaskDistribution.{name}`.")


@dataclass(frozen=True, kw_only=True)
class SplitFamily(TaskDistribution):
    """A family for each split, with equal spaces; everything is that of the split at hand.

    Args:
        train: what is trained on.
        validation: what choices may be based on.
        test: what is tested.
        shared: the splits that the tasks of one family are parted among.

    Raises:
        SpacesError: the families differ in their spaces.
        InputError: two splits have a task in common, or one is no family.
    """

    train: TaskDistribution
    validation: TaskDistribution
    test: TaskDistribution
    shared: Sequence[Split] = ()

    family: ClassVar[str] = "SplitFamily"

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in SPLITS:
            if not isinstance(part := getattr(self, split), TaskDistribution):
                raise InputError(key=split, given=part, expected="a task distribution")
            object.__setattr__(self, split, part if part.split == split else part.with_split(split))
        parts = {split: getattr(self, split) for split in SPLITS}
        self._name()
        object.__setattr__(self, "reveal", self.train.reveal)
        for split in HELD:
            part = parts[split]
            for kind in ("observation", "action", *(["task"] if self.reveal else [])):
                here, there = (getattr(one, f"{kind}_space") for one in (self.train, part))
                if here != there:
                    told = f"the {kind} space of training tasks is {here}, but that of {split} tasks {there}"
                    raise SpacesError(f"{told}; make them alike with a wrapper")
        for i, one in enumerate(SPLITS):
            for other in SPLITS[i + 1 :]:
                if not {one, other} <= set(self.shared) and (task := common_task(parts[one], parts[other])):
                    problem = f"the task {task} is in {one} and in {other}; leave it out of one of them"
                    raise InputError(problem, key=other, given=task)

    @property
    def now(self) -> TaskDistribution:
        """The family of the split at hand."""
        part: TaskDistribution = getattr(self, self.split)
        return part

    @property
    def trial_steps(self) -> int:
        """Steps in a trial; the most in any split where the time limits of environments decide."""
        by_limit = [part for part in (self.train, self.validation, self.test) if _ends_by_limit(part)]
        return max(part.trial_steps for part in by_limit) if _ends_by_limit(self.now) else self.now.trial_steps

    @property
    def in_distribution(self) -> bool:
        """Whether the split shares a family with training that is too small to part."""
        if self.split == "train":
            return any(self.with_split(split).in_distribution for split in HELD)
        return {"train", self.split} <= set(self.shared) and self.now.in_distribution

    trial_episodes = _of_now("trial_episodes")
    observation_space = _of_now("observation_space")
    action_space = _of_now("action_space")
    task_space = _of_now("task_space")
    prior = _of_now("prior")
    infos = _of_now("infos")
    render_mode = _of_now("render_mode")

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """See :class:`TaskDistribution`."""
        return self.now.sample_batch(rng, n)

    def make(self, task: Mapping[str, Array]) -> InnerEnv:
        """See :class:`TaskDistribution`."""
        return self.now.make(task)

    def remake(self, env: InnerEnv, task: Mapping[str, Array]) -> InnerEnv:
        """See :class:`TaskDistribution`."""
        return self.now.remake(env, task)

    def batched(self, n: int) -> BatchedEnv | None:
        """See :class:`TaskDistribution`."""
        return self.now.batched(n)

    def drift(self, env: InnerEnv, task: Mapping[str, Array]) -> dict[str, Any]:
        """See :meth:`EnvFamily.drift`; nothing for other families."""
        return self.now.drift(env, task) if isinstance(self.now, EnvFamily) else {}

    def with_split(self, split: Split) -> Self:
        """The same families, drawing from another split; nothing is made again."""
        return self._with("split", split)

    def with_weights(self, weights: Mapping[str, Sequence[float]]) -> Self:
        """See :meth:`EnvFamily.with_weights`, for the split at hand.

        Raises:
            InputError: its family is none of an environment's.
        """
        if not isinstance(self.now, EnvFamily):
            raise InputError(key="weights", given=weights, expected=f"none: {self.now.family} has no counted values")
        return self._with(self.split, self.now.with_weights(weights))

    def rendered(self, mode: str) -> Self:
        """See :class:`TaskDistribution`."""
        made = self
        for split in SPLITS:
            made = made._with(split, getattr(self, split).rendered(mode))
        return made

    def _with(self, name: str, value: Any) -> Self:
        other = copy.copy(self)
        object.__setattr__(other, name, value)
        TaskDistribution.__post_init__(other)
        other._name()
        return other

    def _name(self) -> None:
        """Name the family at hand, so that no task is taken for one of another split: both may be called level 3."""
        own = "" if self.split in self.shared else f" ({self.split})"
        object.__setattr__(self, "family", f"{self.now.family}{own}")

    def options(self) -> dict[str, Any]:
        """The options of the three families by split."""
        own = ("split", "reveal")
        parts: dict[str, dict[str, Any]] = {split: getattr(self, split).options() for split in SPLITS}
        told = {split: {k: v for k, v in options.items() if k not in own} for split, options in parts.items()}
        return {"split": self.split, "reveal": self.reveal, **told}


def _ends_by_limit(family: TaskDistribution) -> bool:
    return isinstance(family, EnvFamily) and family.steps is None


def common_task(one: TaskDistribution, other: TaskDistribution) -> dict[str, Any] | None:
    """A task that two families of environments have in common, as values by name; None where none was found.

    Of large families 10,000 tasks are looked for. Where numbers are drawn from a range, no task appears twice.
    """
    if not isinstance(one, EnvFamily) or not isinstance(other, EnvFamily):
        return None
    if (one.wrap, one.apply) != (other.wrap, other.apply) or not (one.finite and other.finite):
        return None
    first, second = sorted((one, other), key=lambda family: family.members.count(family.split))
    many = first.members.count(first.split)
    if many <= MOST_COMPARED:
        tasks = first.members.at(np.arange(many), first.split)
    else:
        tasks = first.members.draw(np.random.default_rng(0), MOST_COMPARED, first.split)
    fixed, wanted = _fixed(first), _fixed(second)
    for i in range(min(many, MOST_COMPARED)):
        values = {**fixed, **{name: part.value(tasks[name][i]) for name, part in first.parts.items()}}
        alike = values.keys() == wanted.keys() | second.parts.keys()
        alike = alike and all(key_of(values[name]) == key_of(value) for name, value in wanted.items())
        if alike and second.members.has(values, second.split):
            return {name: value for name, value in values.items() if value is not None}
    return None


def _fixed(family: EnvFamily) -> dict[str, Any]:
    """What is the same in all tasks of a family, by name."""
    level = family.levels[0] if family.levels is not None else None
    values = {WHICH: family.env, LEVEL: level, **family.kwargs}
    return {name: value for name, value in values.items() if name not in family.parts}


@overload
def from_env(
    env: Any, vary: Any = ..., *, train: None = ..., validation: None = ..., test: None = ..., **options: Any
) -> EnvFamily: ...


@overload
def from_env(
    env: Any, vary: Any = ..., *, train: Any = ..., validation: Any = ..., test: Any = ..., **options: Any
) -> SplitFamily: ...


def from_env(
    env: Any, vary: Any = None, *, train: Any = None, validation: Any = None, test: Any = None, **options: Any
) -> EnvFamily | SplitFamily:
    """The tasks of any Gymnasium environment, such as ``from_env("CartPole-v1", {"force_mag": Uniform(5, 15)})``.

    Args:
        env: an id, a function that makes an environment, or several; see :class:`EnvFamily`.
        vary: what differs from task to task.
        train: tasks of its own for this split, all of which are played: a mapping of options that replace those of the
            family, such as ``{"levels": range(100)}``, the levels alone, or a task distribution. The splits without any
            share the others.
        validation: likewise.
        test: likewise.
        options: the others of :class:`EnvFamily`.

    Raises:
        ValueError: as :class:`EnvFamily` and :class:`SplitFamily` do.
    """
    given = {split: own for split, own in zip(SPLITS, (train, validation, test), strict=True) if own is not None}
    _check_names(options)
    base = {"env": env, **({} if vary is None else {"vary": vary}), **options}
    if not given:
        return EnvFamily(**base)
    split = base.pop("split", "train")
    tables = {name: _table(base, name, own) for name, own in given.items()}
    shared = [name for name in SPLITS if name not in given or set(tables[name]) <= LENGTHS]
    held = tuple(name for name in as_held(base.pop("hold_out", HELD)) if name in shared)
    if "train" not in shared:  # nobody trains on the rest: validation takes its tenth, testing all others
        held = ("validation",) if len(shared) == len(HELD) else ()
    parts: dict[str, Any] = {}
    rest: EnvFamily | None = None
    for name in SPLITS:
        try:
            if isinstance(given.get(name), TaskDistribution):
                parts[name] = given[name]
            elif name not in given and rest is not None:
                parts[name] = rest.with_split(name)  # whose environments were made and compared already
            else:
                options = {**base, **tables.get(name, {}), "hold_out": held if name in shared else (), "split": name}
                parts[name] = EnvFamily(**options)
                rest = rest if name in given else parts[name]
        except SpacesError:
            raise
        except ValueError as error:
            where = name if name in given else f"{name}, for which no tasks of their own are given"
            raise InputError.of(error, where) from error
    return SplitFamily(**parts, shared=shared, split=split)


def _table(base: Mapping[str, Any], split: Split, given: Any) -> dict[str, Any]:
    """The options that a split replaces."""
    if isinstance(given, TaskDistribution):
        return {"family": given}
    table: Mapping[str, Any] = given if isinstance(given, Mapping) else {"levels": given}
    options = {NAMES.get(name, name): value for name, value in table.items()}
    _check_names(options, f"{split}.", ("split", "reveal", "hold_out"))
    if "imports" in options:
        options["imports"] = [*several(base.get("imports", ())), *several(options["imports"])]
    return options


def _check_names(options: Mapping[str, Any], before: str = "", without: Sequence[str] = ()) -> None:
    """Refuse what is no option of :class:`EnvFamily`, or one of ``without``."""
    valid = [f.name for f in fields(EnvFamily) if f.name not in without]
    for name in options:
        if name not in valid:
            key, near = f"{before}{name}", did_you_mean(name, valid)
            raise InputError(f"EnvFamily has no option {key}", key=key, expected=one_of(valid), remedy=near)

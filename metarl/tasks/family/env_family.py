"""A task distribution from any Gymnasium environment: what varies is drawn anew for every task."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium import spaces

from metarl.config import InputError
from metarl.tasks.family import splits as finite
from metarl.tasks.family.checks import SpacesError, info_names, whole_number
from metarl.tasks.family.distribution import TaskBatch, TaskDistribution
from metarl.tasks.family.members import (
    ActionMask,
    EnvFactory,
    InnerEnv,
    TaskEnv,
    env_factory,
    find,
    import_modules,
    says_masks,
    time_limit,
)
from metarl.tasks.family.ranges import Choice, Finite, Range, as_range, parse_levels
from metarl.types import Array, Ints, Split

EPISODES = 5  # inner episodes of a trial where nothing else is said
WHICH, LEVEL = "env", "level"  # the task parameters that say which of several ids, and which of the levels


@dataclass(frozen=True, kw_only=True)
class EnvFamily(TaskDistribution):
    """The family of any Gymnasium environment in which something varies from task to task; ``metarl.from_env``.

    A task is what varies: a value for each name in ``vary``, one of several ids (``env``: its index), one of the levels
    (``level``: its index). Choices are indices in a task, too.

    A value goes to the constructor if that takes an argument of its name, and is else set as an attribute of
    ``env.unwrapped``, which is fast: the environment at hand is changed instead of making another.

    **Setting an attribute leaves stale what the environment computed from it before**: CartPole's constructor computes
    ``polemass_length = masspole * length`` and ``total_mass`` once, so that a new ``length`` alone changes only part of
    the physics. Give ``apply`` and put such quantities right there; with it every task gets a new environment.

    Where ids, levels, integers and choices have 20 combinations or more, those are split into disjoint sets for
    training, validation and testing (80, 10, 10 %; fixed, whatever the seed). Families with fewer combinations, and
    nothing else that varies, play the same tasks in all splits: see :attr:`in_distribution`.

    An environment with a method ``action_masks()``, or with ``info["action_mask"]``, gets the mask as a part of its
    observation, so that policies obey it.

    Args:
        env: an id (``module:Id-v0`` imports the module first), several ids, or a function that makes an environment
            and takes what varies as keyword arguments.
        vary: name to :class:`metarl.tasks.family.ranges.Range`, or to its text, such as ``"0.3..1.0"``.
        levels: seeds, each of which is a task: every episode of it is reset with that seed; or text, ``"0..999"``.
        apply: ``apply(env, values)`` is called with every new environment and the values of its task, last of all.
        episodes: inner episodes of a trial; 5 unless ``steps`` are given.
        steps: the most steps of a trial; alone, without ``episodes``, all trials have exactly this length. Left out: as
            many as the episodes have with the environment's time limit.
        kwargs: arguments of the constructor that stay the same in all tasks.
        imports: modules to import first, because they register the ids.
        infos: keys of the environments' ``info`` whose numbers are reported, beside ``success`` and ``is_success``.

    Raises:
        ValueError: nothing varies, no argument or attribute has a name, a range cannot be read, there is neither a
            time limit nor ``steps``, or an id is unknown.
        SpacesError: tasks differ in their spaces.
    """

    env: str | Sequence[str] | Callable[..., InnerEnv] = field(kw_only=False)
    vary: Mapping[str, Any] = field(default_factory=dict, kw_only=False)
    levels: Any = None
    apply: Callable[[InnerEnv, dict[str, Any]], object] | None = None
    episodes: int | None = None
    steps: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    imports: str | Sequence[str] = ()
    infos: Sequence[str] = ()

    family: ClassVar[str] = "EnvFamily"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in self._read_options().items():
            object.__setattr__(self, name, value)
        import_modules(self.imports)
        for one in self.env if isinstance(self.env, tuple) else (self.env,):
            find(one)
        object.__setattr__(self, "family", "+".join(one.name for one in self._factories))
        _ = self._total, self.trial_steps  # the latter makes environments, and compares them

    def _read_options(self) -> dict[str, Any]:
        """The options in the one form that they are kept in."""
        env = tuple(self.env) if isinstance(self.env, list | tuple) else self.env
        if isinstance(env, tuple) and (len(env) < 2 or not all(isinstance(one, str) for one in env)):
            raise InputError(key="env", given=self.env, expected="two or more ids in a list")
        if not isinstance(env, str | tuple) and not callable(env):
            expected = "an id, several ids, or a function that makes an environment"
            raise InputError(key="env", given=env, expected=expected)
        for name in ("vary", "kwargs"):
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(key=name, given=getattr(self, name), expected="a dict of names and values")
        if both := sorted(set(self.vary) & set(self.kwargs)):
            raise ValueError(f"{both[0]!r} is in vary and in kwargs; it cannot both vary and stay the same")
        if self.apply is not None and not callable(self.apply):
            expected = "a function of an environment and the values of a task"
            raise InputError(key="apply", given=self.apply, expected=expected)
        for name in ("episodes", "steps"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), at_least=1)
        imports = (self.imports,) if isinstance(self.imports, str) else tuple(self.imports)
        return {
            "env": env,
            "vary": {str(name): as_range(str(name), given) for name, given in self.vary.items()},
            "levels": None if self.levels is None else parse_levels(self.levels),
            "episodes": EPISODES if self.episodes is None and self.steps is None else self.episodes,
            "kwargs": dict(self.kwargs),
            "imports": imports,
            "infos": info_names(self.infos),
        }

    @cached_property
    def _parts(self) -> dict[str, Range]:
        """All that varies."""
        parts: dict[str, Range] = {WHICH: Choice(self.env)} if isinstance(self.env, tuple) else {}
        if self.levels is not None and len(self.levels) > 1:
            parts[LEVEL] = Choice(self.levels)
        if clash := sorted(parts.keys() & self.vary.keys()):
            raise ValueError(f"{clash[0]!r} is taken by the ids or levels of this family; vary another name")
        if not parts and not self.vary:
            raise ValueError(
                "nothing varies, so there is one task only; say what does: vary={name: Uniform(low, high)} "
                "(--vary name=low..high), levels=range(1000) (--levels 0..999), or several ids"
            )
        return {**parts, **self.vary}

    @cached_property
    def _finite(self) -> dict[str, Finite]:
        """What varies over countable values."""
        return {name: part for name, part in self._parts.items() if isinstance(part, Finite)}

    @cached_property
    def _total(self) -> int:
        """The combinations of :attr:`_finite`."""
        total = math.prod(part.size for part in self._finite.values())
        if total > 2**62:
            raise ValueError(f"the integers and choices have {total:.1e} combinations; narrow them to 2^62")
        return total

    @cached_property
    def _factories(self) -> list[EnvFactory]:
        """One for each id."""
        ids = self.env if isinstance(self.env, tuple) else (self.env,)
        values, applied = self._values(self._probes()[0]), self.apply is not None
        return [env_factory(one, self.kwargs, self.vary, applied, values) for one in ids]

    @cached_property
    def _probed(self) -> tuple[spaces.Space[Any], spaces.Space[Any], bool]:
        """What one environment shows, which the others must show too: both spaces, and whether it has masks."""
        env = self._new(self._probes()[0])
        try:
            if isinstance(getattr(env.unwrapped, "distribution", None), TaskDistribution):
                raise ValueError(f"{self.family} is a family of tasks already; metarl.envs.distribution(id) gives it")
            masked = says_masks(env)
            shown = ActionMask(env) if masked else env
            return shown.observation_space, shown.action_space, masked
        finally:
            env.close()

    def probe(self) -> dict[str, Array]:
        """A task to try the environments with, a number for each name in :attr:`task_space`."""
        return self._probes()[0]

    def _probes(self) -> list[dict[str, Array]]:
        """Tasks to try: with every choice (but one level), and with both ends of every range."""
        each = {name: part.probes[: 1 if name == LEVEL else None] for name, part in self._parts.items()}
        most = max(map(len, each.values()))
        return [{name: values[i % len(values)] for name, values in each.items()} for i in range(most)]

    @cached_property
    def trial_steps(self) -> int:  # cached, as it makes environments
        """Steps in a trial, from the time limits of the environments; the most it can have where episodes end it."""
        limits: dict[Any, int | None] = {}
        for task in self._probes():
            if (made := self._made_from(task)) not in limits:
                env = self.make(task)
                limits[made] = time_limit(env)
                env.close()
        if self.steps is not None:
            return self.steps
        known = [limit for limit in limits.values() if limit is not None]
        if self.episodes is None or len(known) < len(limits):
            raise ValueError(
                f"{self.family} has no time limit, so that a trial of {self.episodes} episodes has no end; give steps, "
                "the most that a trial may have"
            )
        return self.episodes * max(known)

    @property
    def trial_episodes(self) -> int | None:
        """The inner episodes of a trial; None where only ``steps`` were given."""
        return self.episodes

    @property
    def render_mode(self) -> str | None:
        """That of ``kwargs``."""
        return self.kwargs.get("render_mode")

    @property
    def in_distribution(self) -> bool:
        """Whether all splits play the same tasks: nothing varies but fewer than 20 combinations."""
        return len(self._finite) == len(self._parts) and self._total < finite.FEWEST

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """That of the environment; with the mask, where it has one."""
        return self._probed[0]

    @property
    def action_space(self) -> spaces.Space[Any]:
        """That of the environment."""
        return self._probed[1]

    @property
    def task_space(self) -> spaces.Dict:
        """What varies: a number for each."""
        return spaces.Dict({name: part.space for name, part in self._parts.items()})

    def with_split(self, split: Split) -> Self:
        """The same family, drawing from another split; no environment is made again."""
        other = copy.copy(self)
        object.__setattr__(other, "split", split)
        TaskDistribution.__post_init__(other)
        return other

    def options(self) -> dict[str, Any]:
        """The options as plain data, where they can be."""
        levels = self.levels
        if isinstance(levels, range) and levels.step == 1:
            levels = f"{levels.start}..{levels.stop - 1}"
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "env": list(self.env) if isinstance(self.env, tuple) else self.env,
            "vary": {name: part.plain() for name, part in self.vary.items()},
            "levels": list(levels) if isinstance(levels, range | tuple) else levels,
            "imports": list(self.imports),
            "infos": list(self.infos),
        }

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """Arrays ``[n]``, one for each thing that varies, independent of each other."""
        is_split = self._total >= finite.FEWEST
        index: Ints = rng.integers(finite.count(self._total, self.split) if is_split else self._total, size=n)
        if is_split:
            index = finite.members(index, self._total, self.split)
        which = np.unravel_index(index, [part.size for part in self._finite.values()]) if self._finite else ()
        batch = {name: part.at(i) for (name, part), i in zip(self._finite.items(), which, strict=True)}
        return {name: batch[name] if name in batch else part.sample(rng, n) for name, part in self._parts.items()}

    def make(self, task: Mapping[str, Array]) -> InnerEnv:
        """A new environment in ``task``, a number for each name in :attr:`task_space`.

        Raises:
            SpacesError: its spaces are not those of the family.
        """
        env = self._new(task)
        task_env = TaskEnv(ActionMask(env) if self._probed[2] else env, self._made_from(task))
        inner, given = env.unwrapped, self._values(task)
        own = [name for name in given if hasattr(inner, name)]
        task_env.mirrored_attributes = [name for name in own if np.array_equal(getattr(inner, name), given[name])]
        return self._enter(task_env, task)

    def remake(self, env: InnerEnv, task: Mapping[str, Array]) -> InnerEnv:
        """``env`` with the attributes of ``task``, where a new environment would differ only in those; else a new one.

        Args:
            env: what :meth:`make` returned for another task.
            task: a number for each name in :attr:`task_space`.
        """
        if self.apply is not None or not isinstance(env, TaskEnv) or env.made != self._made_from(task):
            env.close()
            return self.make(task)
        self._factories[self._which(task)].put(env, self._values(task))
        return self._enter(env, task)

    def drift(self, env: InnerEnv, task: Mapping[str, Array]) -> dict[str, Any]:
        """The attributes of ``env`` that no longer have the values that the task gave them, with their values now.

        Args:
            env: what :meth:`make` returned.
            task: the numbers that it was made from.
        """
        wanted = self._values(task) if self.apply is None else {}  # a function may set them as it likes
        names = [name for name in getattr(env, "mirrored_attributes", ()) if name in wanted]
        now = {name: getattr(env.unwrapped, name) for name in names}
        return {name: value for name, value in now.items() if not np.array_equal(value, wanted[name])}

    def _values(self, task: Mapping[str, Array]) -> dict[str, Any]:
        """What the environment gets."""
        return {name: part.value(task[name]) for name, part in self._parts.items()}

    def _which(self, task: Mapping[str, Array]) -> int:
        return int(task[WHICH]) if isinstance(self.env, tuple) else 0

    def _made_from(self, task: Mapping[str, Array]) -> tuple[Any, ...]:
        """What an environment of ``task`` is made from; the rest can be changed later."""
        which = self._which(task)
        return (which, *(np.asarray(task[name]).item() for name in self._factories[which].arguments))

    def _new(self, task: Mapping[str, Array]) -> InnerEnv:
        import_modules(self.imports)  # in a worker, too
        one, values = self._factories[self._which(task)], self._values(task)
        env = one.make(**{name: values[name] for name in one.arguments})
        one.put(env, values)
        if self.apply is not None:
            self.apply(env, values)
        return env

    def _enter(self, env: TaskEnv, task: Mapping[str, Array]) -> TaskEnv:
        """Tell the environment its level, and make sure of its spaces."""
        if self.levels is not None:
            env.seed = self.levels[int(task[LEVEL]) if LEVEL in task else 0]
        shown = env.observation_space, env.action_space
        if env.known is not None and all(a is b for a, b in zip(shown, env.known, strict=True)):
            return env  # comparing spaces is slow, and these have been compared
        wanted_spaces = self.observation_space, self.action_space
        for name, space, wanted in zip(("observation", "action"), shown, wanted_spaces, strict=True):
            if space != wanted:
                env.close()
                raise SpacesError(
                    f"the {name} space of {self.family} changes between tasks: it is {space} in the task "
                    f"{self._values(task)}, and {wanted} in others; vary what keeps the spaces, or make them "
                    "alike with a wrapper"
                )
        env.known = shown
        return env


from_env = EnvFamily  # the public name: ``metarl.from_env("CartPole-v1", {"length": Uniform(0.3, 1.0)})``

"""A task distribution from any Gymnasium environment: what varies is drawn anew for every task."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium import spaces

from metarl.config import InputError
from metarl.tasks.family.checks import SpacesError
from metarl.tasks.family.code import as_callable, import_modules
from metarl.tasks.family.distribution import TaskBatch, TaskDistribution
from metarl.tasks.family.errors import told
from metarl.tasks.family.members import (
    OWN_LIMITS,
    ActionMask,
    EnvFactory,
    InnerEnv,
    TaskEnv,
    env_factory,
    find,
    says_masks,
    time_limit,
)
from metarl.tasks.family.options import read_options, varied
from metarl.tasks.family.places import OPTIONS, find_place, same
from metarl.tasks.family.plain import plain
from metarl.tasks.family.ranges import Choice, Finite, Integers, Range
from metarl.tasks.family.samplers import Sampler, Together
from metarl.tasks.family.splits import HELD, Members
from metarl.types import Array, Split

WHICH, LEVEL = "env", "level"  # the task parameters that say which of several ids, and which of the levels
SEEDS = Integers(0, 2**31 - 1)  # the levels where a task is an episode
DRAWN = 64  # tasks of functions that are looked at for equal ones


@dataclass(frozen=True, kw_only=True)
class EnvFamily(TaskDistribution):
    """The family of any Gymnasium environment in which something varies from task to task; ``metarl.from_env``.

    A task is what varies: a value for each name in ``vary``, one of several environments (``env``: its index), one of
    the levels (``level``: its index). Choices are indices in a task, too. With ``episodes=1`` nothing need vary: a task
    is an episode, and ``level`` its seed.

    A value goes to the constructor if that takes an argument of its name, and is else put at the place of its name in
    ``env.unwrapped``, such as ``length`` or ``model.opt.gravity[2]``, which is fast: the environment at hand is changed
    instead of making another. ``options.NAME`` goes to ``reset(options={NAME: value})`` of every episode.

    **Setting an attribute leaves stale what the environment computed from it before**: CartPole's constructor computes
    ``polemass_length = masspole * length`` and ``total_mass`` once, so that a new ``length`` alone changes only part of
    the physics. Give ``apply`` and put such quantities right there; with it every task gets a new environment.

    Where ids, levels, integers and choices have 20 combinations or more, those are split into disjoint sets for
    training, validation and testing (80, 10, 10 %; fixed, whatever the seed). Families with fewer combinations, and
    nothing else that varies, play the same tasks in all splits: see :attr:`in_distribution`.

    An environment with a method ``action_masks()``, or with ``info["action_mask"]``, gets the mask as a part of its
    observation, so that policies obey it.

    Args:
        env: an id (``module:Id-v0`` imports the module first), a function that makes an environment and takes what
            varies as keyword arguments, the name of one (``module:function``), or several of these.
        vary: name to :class:`metarl.tasks.family.ranges.Range`, to its text, such as ``"0.3..1.0"``, to a list to
            choose from, or to a function of a generator that draws a value; or one function for all of them,
            ``rng -> {name: value, ...}``.
        levels: seeds, each of which is a task: every episode of it is reset with that seed; or text, ``"0..999"``.
        apply: ``apply(env, values)`` is called with every new environment and the values of its task, last of all; or
            ``"module:function"``.
        wrap: one wrapper or several, ``env -> env`` or ``"module:Wrapper"``, put around every environment, the first
            innermost.
        episodes: inner episodes of a trial; 5 unless ``steps`` are given.
        steps: the most steps of a trial; alone, without ``episodes``, all trials have exactly this length. Left out: as
            many as the episodes have with the environment's time limit.
        kwargs: arguments of the constructor that stay the same in all tasks.
        imports: modules to import first, because they register the ids.
        observe: how parts of the observation are seen, by name (``obs`` where there is one only, ``a.b`` in nested
            ones): one of :data:`metarl.tasks.family.plain.KINDS`.
        hold_out: the splits that members of a finite family are held out for; the others play those of training. With
            none, all splits play all members.
        weights: how often levels, ids, choices and integers are drawn, by name; see :meth:`with_weights`.
        infos: keys of the environments' ``info`` whose numbers are reported, beside ``success`` and ``is_success``.

    Raises:
        ValueError: nothing varies, no argument or attribute has a name, a range cannot be read, there is neither a
            time limit nor ``steps``, or an id is unknown.
        SpacesError: tasks differ in their spaces.
    """

    env: str | Callable[..., InnerEnv] | Sequence[str | Callable[..., InnerEnv]] = field(kw_only=False)
    vary: Any = field(default_factory=dict, kw_only=False)
    levels: Any = None
    apply: str | Callable[[InnerEnv, dict[str, Any]], object] | None = None
    wrap: Any = ()
    episodes: int | None = None
    steps: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    imports: str | Sequence[str] = ()
    observe: Mapping[str, str] = field(default_factory=dict)
    hold_out: Sequence[Split] = ("validation", "test")
    weights: Mapping[str, Sequence[float]] = field(default_factory=dict)
    infos: Sequence[str] = ()

    family: ClassVar[str] = "EnvFamily"
    members: ClassVar[Members]
    """What varies over countable values, of each family its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in read_options({f.name: getattr(self, f.name) for f in fields(self)}).items():
            object.__setattr__(self, name, value)
        import_modules(self.imports)
        for one in self.env if isinstance(self.env, tuple) else (self.env,):
            find(one)
        object.__setattr__(self, "family", "+".join(one.name for one in self._factories))
        self._weigh(self.weights)
        _ = self.trial_steps  # makes environments, and compares them
        if not self.members.parts and all(isinstance(part, Sampler) for part in self.parts.values()):
            drawn = self.sample_batch(np.random.default_rng(0), DRAWN)
            if len({self.task(drawn, i) for i in range(DRAWN)}) < DRAWN:
                raise InputError(
                    f"the function draws the same task twice in {DRAWN}, so that splits share tasks",
                    key="vary",
                    given=self.vary,
                    remedy="give Integers or a list to choose from, which are parted between the splits",
                )

    @cached_property
    def parts(self) -> dict[str, Range]:
        """All that varies."""
        named = varied(self.vary)
        parts: dict[str, Range] = {WHICH: Choice(self.env)} if isinstance(self.env, tuple) else {}
        if self.levels is not None and len(self.levels) > 1:
            parts[LEVEL] = Choice(self.levels)
        if self._is_episode:
            parts[LEVEL] = SEEDS
        if clash := sorted(parts.keys() & named.keys()):
            raise ValueError(f"{clash[0]!r} is taken by the ids or levels of this family; vary another name")
        if not parts and not named:
            raise ValueError(
                "nothing varies, so there is one task only; say what does: vary={name: Uniform(low, high)} "
                "(--vary name=low..high), levels=range(1000) (--levels 0..999), or several ids; or let a task be an "
                "episode: episodes=1 (--episodes 1)"
            )
        return {**parts, **named}

    @property
    def _is_episode(self) -> bool:
        """Whether a task is an episode."""
        varies = isinstance(self.env, tuple) or self.levels is not None or varied(self.vary)
        return self.episodes == 1 and not varies

    @cached_property
    def _factories(self) -> list[EnvFactory]:
        """One for each id."""
        ids = self.env if isinstance(self.env, tuple) else (self.env,)
        values, applied = self._values(self._probes()[0]), self.apply is not None
        values = {name: values[name] for name in varied(self.vary)}
        wrappers = [as_callable("wrap", one) for one in self.wrap]
        return [env_factory(one, self.kwargs, values, wrappers=wrappers, applied=applied) for one in ids]

    @cached_property
    def _apply(self) -> Callable[[InnerEnv, dict[str, Any]], object] | None:
        return None if self.apply is None else as_callable("apply", self.apply)

    @cached_property
    def _probed(self) -> tuple[spaces.Space[Any], spaces.Space[Any], bool]:
        """What one environment shows, which the others must show too: both spaces, and whether it has masks."""
        env = self._new(self._probes()[0])
        try:
            if isinstance(getattr(env.unwrapped, "distribution", None), TaskDistribution):
                raise ValueError(f"{self.family} is a family of tasks already; metarl.envs.distribution(id) gives it")
            masked = says_masks(env, self._reset_options(self._probes()[0]))
            shown = ActionMask(env) if masked else env
            return shown.observation_space, shown.action_space, masked
        finally:
            env.close()

    def probe(self) -> dict[str, Array]:
        """A task to try the environments with, a number for each name in :attr:`task_space`."""
        return self._probes()[0]

    def _probes(self) -> list[dict[str, Array]]:
        """Tasks to try: with every choice (but one level), and with both ends of every range."""
        seeds = LEVEL not in varied(self.vary)
        each = {n: part.probes[: 1 if n == LEVEL and seeds else None] for n, part in self.parts.items()}
        most = max(map(len, each.values()))
        return [{name: values[i % len(values)] for name, values in each.items()} for i in range(most)]

    @cached_property
    def trial_steps(self) -> int:  # cached, as it makes environments
        """Steps in a trial, from the time limits of the environments; the most it can have where episodes end it."""
        limits: dict[Any, int | None] = {}
        limiting = [name for name in self.parts if name.rpartition(".")[2] in OWN_LIMITS]  # may be attributes
        for task in self._probes():
            made = (*self._made_from(task), *(np.asarray(task[name]).tobytes() for name in limiting))
            if made not in limits:
                env = self.make(task)
                limits[made] = time_limit(env)
                if self.steps is None and limits[made] is None:
                    env.reset(seed=0)  # which may set it
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

    def rendered(self, mode: str) -> Self:
        """See :class:`TaskDistribution`; the mode becomes one of ``kwargs``."""
        return replace(self, kwargs={**self.kwargs, "render_mode": mode})

    @property
    def in_distribution(self) -> bool:
        """Whether the split shares its tasks with training, or training with others.

        Nothing varies but fewer than 20 combinations, or :attr:`hold_out` doesn't name the split.
        """
        held = self.members.held
        parted = held == HELD if self.split == "train" else self.split in held
        return self.finite and not parted

    @property
    def finite(self) -> bool:
        """Whether all that varies has countable values."""
        return len(self.members.parts) == len(self.parts)

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
        return spaces.Dict({name: part.space for name, part in self.parts.items()})

    def with_split(self, split: Split) -> Self:
        """The same family, drawing from another split; no environment is made again."""
        other = copy.copy(self)
        object.__setattr__(other, "split", split)
        TaskDistribution.__post_init__(other)
        return other

    def with_weights(self, weights: Mapping[str, Sequence[float]]) -> Self:
        """The same family, whose tasks are drawn with unequal probabilities; no environment is made again.

        Args:
            weights: for some of the levels, ids, choices and integers a non-negative weight for each value, by the name
                of the task parameter. A task is drawn with a probability proportional to the product of its weights,
                among those of the split.

        Raises:
            InputError: a name that has no countable values, a wrong number of weights, a negative or infinite one, or
                no task is left.
        """
        other = copy.copy(self)
        other._weigh(weights)
        return other

    def _weigh(self, weights: Mapping[str, Sequence[float]]) -> None:
        finite = {name: part for name, part in self.parts.items() if isinstance(part, Finite)}
        members = Members(finite, self.hold_out, weights)
        if weights:
            members.chances(self.split)  # refuses weights that leave no task
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "weights", members.weights)

    def options(self) -> dict[str, Any]:
        """The options as plain data, where they can be."""
        levels, vary = self.levels, self.vary
        if isinstance(levels, range) and levels.step == 1:
            levels = f"{levels.start}..{levels.stop - 1}"
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "env": list(self.env) if isinstance(self.env, tuple) else self.env,
            "vary": vary.function if isinstance(vary, Together) else {n: part.plain() for n, part in vary.items()},
            "levels": list(levels) if isinstance(levels, range | tuple) else levels,
            **{name: list(getattr(self, name)) for name in ("imports", "wrap", "hold_out", "infos")},
        }

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """Arrays ``[n]``, one for each thing that varies, independent of each other."""
        batch = self.members.draw(rng, n, self.split)
        batch |= self.vary.sample(rng, n) if isinstance(self.vary, Together) else {}
        return {name: batch[name] if name in batch else part.sample(rng, n) for name, part in self.parts.items()}

    def make(self, task: Mapping[str, Array]) -> InnerEnv:
        """A new environment in ``task``, a number for each name in :attr:`task_space`.

        Raises:
            SpacesError: its spaces are not those of the family.
        """
        env = self._new(task)
        task_env = TaskEnv(ActionMask(env) if self._probed[2] else env, self._made_from(task))
        inner, given = env.unwrapped, self._values(task)
        where = self._factories[self._which(task)]
        own = [n for n in given if n in where.attributes or (n.isidentifier() and hasattr(inner, n))]
        task_env.mirrored_attributes = [name for name in own if same(find_place(env, name), given[name])]
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
        now = {name: find_place(env, name) for name in names}
        return {name: value for name, value in now.items() if not same(value, wanted[name])}

    def _values(self, task: Mapping[str, Array]) -> dict[str, Any]:
        """What the environment gets."""
        return {name: part.value(task[name]) for name, part in self.parts.items()}

    def _which(self, task: Mapping[str, Array]) -> int:
        return int(task[WHICH]) if isinstance(self.env, tuple) else 0

    def _made_from(self, task: Mapping[str, Array]) -> tuple[Any, ...]:
        """What an environment of ``task`` is made from; the rest can be changed later."""
        which = self._which(task)
        given = [np.asarray(task[name]) for name in self._factories[which].arguments]
        return (which, *(one.tobytes() if one.ndim else one.item() for one in given))

    def _new(self, task: Mapping[str, Array]) -> InnerEnv:
        import_modules(self.imports)  # in a worker, too
        one, values = self._factories[self._which(task)], self._values(task)
        env = one.make(**{name: values[name] for name in one.arguments})
        one.put(env, values, final=self._apply is None)
        if self._apply is not None:
            try:
                self._apply(env, values)
            except Exception as error:  # whatever a user's function may raise
                raise InputError(f"apply fails with {values}: {told(error)}", key="apply") from error
        return plain(env, self.observe)

    def _reset_options(self, task: Mapping[str, Array]) -> dict[str, Any]:
        """What a task gives to every reset."""
        named = {name: part for name, part in self.parts.items() if name.startswith(OPTIONS)}
        return {name.removeprefix(OPTIONS): part.value(task[name]) for name, part in named.items()}

    def _enter(self, env: TaskEnv, task: Mapping[str, Array]) -> TaskEnv:
        """Tell the environment its level, and make sure of its spaces."""
        if self.levels is not None:
            env.seed = self.levels[int(task[LEVEL]) if LEVEL in task else 0]
        elif self._is_episode:
            env.seed = int(task[LEVEL])
        env.options = self._reset_options(task)
        shown = env.observation_space, env.action_space
        if env.known is not None and all(a is b for a, b in zip(shown, env.known, strict=True)):
            return env  # comparing spaces is slow, and these have been compared
        for name, space, wanted in zip(("observation", "action"), shown, self._probed[:2], strict=True):
            if space != wanted:
                env.close()
                raise SpacesError(
                    f"the {name} space of {self.family} changes between tasks: it is {space} in the task "
                    f"{self._values(task)}, and {wanted} in others; vary what keeps the spaces, or make them "
                    "alike with a wrapper"
                )
        env.known = shown
        return env

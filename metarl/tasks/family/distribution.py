"""Task distributions: pure, seeded families of tasks with train, validation and test splits."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from metarl.config import InputError, choice
from metarl.seeding import numpy_rng, split_key
from metarl.tasks.family.checks import limits, true_or_false, whole_number
from metarl.tasks.family.priors import Prior
from metarl.types import SPLITS, Array, Bools, Floats, Ints, Observations, Split

TaskBatch = dict[str, Array]
"""``n`` tasks as arrays ``[n, ...]``, one entry per parameter of :attr:`TaskDistribution.task_space`."""


@dataclass(frozen=True)
class Task:
    """One member of a family: hashable, and plain JSON through :meth:`to_json`."""

    family: str
    values: tuple[tuple[str, Any], ...]

    @classmethod
    def from_arrays(cls, family: str, values: Mapping[str, Array]) -> Self:
        """Freeze arrays into nested tuples of Python numbers.

        Args:
            family: its name.
            values: one array, of any shape, for each parameter of the task.
        """
        return cls(family, tuple((k, _freeze(np.asarray(v).tolist())) for k, v in sorted(values.items())))

    def to_json(self) -> dict[str, Any]:
        """``{"family": ..., "values": {...}}`` of plain numbers and lists."""
        return {"family": self.family, "values": {k: _thaw(v) for k, v in self.values}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(data["family"], tuple((k, _freeze(v)) for k, v in sorted(data["values"].items())))


def _freeze(value: Any) -> Any:
    return tuple(_freeze(v) for v in value) if isinstance(value, list | tuple) else value


def _thaw(value: Any) -> Any:
    return [_thaw(v) for v in value] if isinstance(value, tuple) else value


class BatchedEnv(ABC):
    """``n`` inner environments of one family stepped as arrays: the fast path behind a vector environment.

    An inner episode that ends begins again at once, in the same task and in the same call (SAME_STEP), so every
    step is a real one. Observations are arrays ``[n, ...]``, or dicts of them where the space is a Dict.
    """

    broken: Bools | None = None
    """``[n]``: rows whose environment failed in the last step, so that their trial is void; None: no row."""
    told: Mapping[str, Floats] | None = None
    """What the last step told beside the reward, such as ``success``: ``[n]`` each, NaN in rows that did not; None:
    nothing."""
    saved: ClassVar[tuple[str, ...]] = ()
    """The attributes that :meth:`step` reads and changes: arrays and plain numbers. With none, training in these
    environments cannot be resumed in the middle of a trial."""

    @abstractmethod
    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Observations:
        """Put rows into tasks and begin their first episodes.

        Args:
            tasks: one for each of ``rows``.
            rng: for what is random in how an episode begins.
            rows: the rows ``[m]``; None: all of them. Given only where trials end after a number of episodes
                (:attr:`TaskDistribution.trial_episodes`) or rows can break.

        Returns:
            The observations ``[m, ...]`` of these rows.
        """

    @abstractmethod
    def step(self, actions: Array, rng: np.random.Generator) -> tuple[Observations, Array, Bools]:
        """Play one step in every row.

        Args:
            actions: ``[n, ...]``
            rng: for what is random in the dynamics.

        Returns:
            Observations ``[n, ...]`` (of the next episode where one ended), rewards ``[n]`` and episode ends ``[n]``.
        """

    def state_dict(self) -> dict[str, Any]:
        """Copies of the attributes named in :attr:`saved`, for a checkpoint.

        Raises:
            TypeError: there are none.
        """
        if not self.saved:
            raise TypeError(
                f"{type(self).__name__} has no state that could be saved: it names no attributes in 'saved'"
            )
        return {name: copy.deepcopy(getattr(self, name)) for name in self.saved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        for name in self.saved:
            setattr(self, name, copy.deepcopy(state[name]))

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Close the environments."""


@dataclass(frozen=True, kw_only=True)
class TaskDistribution(ABC):
    """A family to sample tasks from.

    A continuous prior is split by seed streams: train, validation and test draw from the same prior with
    generators that never meet.

    Args:
        split: the split that tasks are drawn from.
        reveal: append the task's parameters to ``obs``; only for a reference that is told the task, never for a learner
            under test.
    """

    split: Split = "train"
    reveal: bool = False

    family: ClassVar[str]
    counts: ClassVar[Mapping[str, int]] = {}
    """The options that are whole numbers, with the least value of each."""

    def __post_init__(self) -> None:
        choice(self.split, SPLITS, "split")
        true_or_false("reveal", self.reveal)
        for name, least in self.counts.items():
            whole_number(name, getattr(self, name), at_least=least)

    @property
    @abstractmethod
    def trial_steps(self) -> int:
        """Steps in a trial; the most it can have where :attr:`trial_episodes` is given."""

    @property
    def trial_episodes(self) -> int | None:
        """Inner episodes after which a trial ends, if not by its steps before; None: trials have equal lengths."""
        return None

    @property
    def infos(self) -> Sequence[str]:
        """The keys of the inner environments' ``info`` whose numbers are reported, beside those of success."""
        return ()

    @property
    def render_mode(self) -> str | None:
        """How the inner environments are rendered, in Gymnasium's words; None: not at all."""
        mode: str | None = vars(self).get("_render_mode")
        return mode

    def rendered(self, mode: str) -> Self:
        """The same family, whose inner environments are rendered.

        Args:
            mode: one of Gymnasium's.

        Raises:
            InputError: another one than "rgb_array", which is what a family of arrays can have.
        """
        if mode != "rgb_array":
            remedy = f"gymnasium.make(id, render_mode={mode!r}) makes of it what it can"
            raise InputError(key="render_mode", given=mode, expected="rgb_array", remedy=remedy)
        made = copy.copy(self)
        object.__setattr__(made, "_render_mode", mode)
        return made

    @property
    def in_distribution(self) -> bool:
        """Whether all splits draw the same tasks, because there are too few to hold any out."""
        return False

    @property
    def looks_change(self) -> bool:
        """Whether a context looks different when it is met again, so that its observation can't tell how often it was.

        Nothing is then reported by exposure.
        """
        return False

    @property
    @abstractmethod
    def observation_space(self) -> spaces.Space[Any]:
        """What the inner environment shows."""

    @property
    @abstractmethod
    def action_space(self) -> spaces.Space[Any]:
        """What the inner environment accepts."""

    @property
    @abstractmethod
    def task_space(self) -> spaces.Dict:
        """The parameters that tell one task from another: a Dict of Boxes, Discretes and MultiDiscretes."""

    @property
    def prior(self) -> Prior | None:
        """What hand-written baselines may know, or None where no baseline exists."""
        return None

    @abstractmethod
    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """Draw ``n`` tasks, arrays ``[n, ...]`` for each parameter; nothing else than ``rng`` decides them."""

    @abstractmethod
    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        """The inner environment of one task.

        Args:
            task: one array for each parameter, of the shape in :attr:`task_space` (no batch axis).
        """

    def remake(self, env: gym.Env[Any, Any], task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        """The inner environment of ``task``, made from that of another task: changed, or closed and replaced.

        Args:
            env: what :meth:`make` returned for the other task.
            task: one array for each parameter, of the shape in :attr:`task_space` (no batch axis).
        """
        env.close()
        return self.make(task)

    def batched(self, n: int) -> BatchedEnv | None:
        """``n`` inner environments as arrays, or None where the family has no fast path."""
        return None

    def check_tasks(self, tasks: Mapping[str, Any], n: int) -> TaskBatch:
        """``n`` tasks as arrays of the dtypes of the task space.

        Args:
            tasks: an array ``[n, ...]`` for each parameter of :attr:`task_space`.
            n: how many tasks there must be.

        Raises:
            InputError: a parameter is missing, unknown, of the wrong shape, or outside its space.
        """
        space = self.task_space.spaces
        if set(tasks) != set(space):
            raise InputError(key=f"a task of {self.family}", given=sorted(tasks), expected=f"the keys {sorted(space)}")
        out = {}
        for name, part in space.items():
            key, shape = f"task parameter {name!r}", (n, *(part.shape or ()))
            try:
                values = np.array(tasks[name], dtype=part.dtype)
            except ValueError as error:
                raise InputError(f"{key} is not an array of {part.dtype}: {error}", key=name) from None
            if values.shape != shape:
                raise InputError(f"{key} has the shape {values.shape}", key=name, expected=str(shape))
            if values.dtype.kind in "iu" and not np.array_equal(values, tasks[name]):
                raise InputError(f"{key} is {tasks[name]}", key=name, expected="whole numbers")
            low, high = limits(part)
            if not ((values >= low) & (values <= high)).all():
                raise InputError(f"{key} lies outside {part}", key=name)
            out[name] = values
        return out

    def task_rng(self, seed: int, *key: int) -> np.random.Generator:
        """The generator of this split's tasks: streams of different splits never meet."""
        return numpy_rng(seed, "tasks", split_key(self.split), *key)

    def with_split(self, split: Split) -> Self:
        """The same family, drawing from another split."""
        made = replace(self, split=split)
        return made if self.render_mode is None else made.rendered(self.render_mode)

    def task(self, batch: TaskBatch, i: int) -> Task:
        """Row ``i`` of a batch as a frozen value."""
        return Task.from_arrays(self.family, {k: v[i] for k, v in batch.items()})

    def options(self) -> dict[str, Any]:
        """The family's options as plain data, for a configuration file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

"""Names that every floor shares: axes, keys of observations, boundaries, the step of a trial, and protocols.

Axes, everywhere and in this order: ``T`` time, ``B`` batch (environments or few-shot episodes), ``Q`` queries,
``N`` memory slots, ``D`` width, ``A`` actions. This module imports no torch, so that environments can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = float(np.finfo(np.float32).max)
"""No number that is learned, measured or logged is further from zero."""
Number = Annotated[float, Ge(-LARGEST), Le(LARGEST)]
Positive = Annotated[float, Ge(0), Le(LARGEST)]
Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0), Le(2**63 - 1)]
Size = Annotated[int, Ge(1), Le(2**63 - 1)]

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Observations = Array | dict[str, Array]  # inner observations: an array, or a dict of arrays where the space is a Dict
TrialObservation = dict[str, npt.NDArray[Any]]
"""The flat observation of a trial ``{key: [n, ...]}``: ``obs`` (or ``obs.NAME``), and any of :data:`FEEDBACK_KEYS` and
:data:`MASK_KEY`; float32 vectors, and uint8 where ``obs`` is an image ``[n, H, W, C]``."""
OBS_KEY, PREV_ACTION, PREV_REWARD, PREV_DONE, TIME = "obs", "prev_action", "prev_reward", "prev_done", "time"
FEEDBACK_KEYS = (PREV_ACTION, PREV_REWARD, PREV_DONE, TIME)
"""The keys of a trial observation that describe the previous step."""
MASK_KEY = "action_mask"  # the key that says which actions are allowed (1) and which are not (0)


def is_obs_key(key: str) -> bool:
    """Whether ``key`` holds what the inner environment shows: ``obs``, or ``obs.NAME`` for a part of a Dict."""
    return key == OBS_KEY or key.startswith(f"{OBS_KEY}.")


Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Boundary(IntEnum):
    """What begins AT this input.

    The flag travels with the input that it precedes. A trial of two episodes of two steps reads::

        input       o0 (TRIAL)   o1 (INSIDE)   o2 (EPISODE)   o3 (INSIDE)   o0' (TRIAL)
        feedback    none         a0, r0        a1, r1, done   a2, r2        none
    """

    INSIDE = 0
    EPISODE = 1
    TRIAL = 2


class VoidTrialWarning(RuntimeWarning):
    """An environment failed, so that its trial counts for nothing; the message says which, and why."""


class NonFiniteError(FloatingPointError):
    """A number is NaN or infinite; the message says where it came from, and when."""


def boundaries(trial_starts: Bools, episode_starts: Bools) -> Ints:
    """What begins at each input ``[n]``, as :class:`Boundary`; a trial goes before an episode."""
    return np.where(trial_starts, Boundary.TRIAL, np.where(episode_starts, Boundary.EPISODE, Boundary.INSIDE))


class StepResult(NamedTuple):
    """What ``n`` trials side by side answer to one action each.

    Args:
        obs: ``[n, ...]``, what the next actions answer to; where a trial ended, the first observation of the next one.
        reward: ``[n]``
        episode_ended: ``[n]``: an inner episode ended with this step.
        ended: ``[n]``: the trial ended with this step.
        truncated: ``[n]``: it was a time limit around the trial that ended it, so that the value of ``final_obs``
            counts.
        void: ``[n]``: the trial that ended does not count: its environment failed, or it is the dead step, without an
            action, between two trials of Gymnasium's NEXT_STEP mode.
        final_obs: ``[n, ...]``, the last observations of the trials that ended, meaningless in other rows; None: no
            trial ended.
        told: what environments told in ``info`` with this step, by name, ``[n]`` each; NaN in rows that told nothing;
            None: no row told anything.
    """

    obs: TrialObservation
    reward: Floats
    episode_ended: Bools
    ended: Bools
    truncated: Bools
    void: Bools
    final_obs: TrialObservation | None
    told: Mapping[str, Floats] | None = None

    @property
    def boundary(self) -> Ints:
        """``[n]``, the :class:`Boundary` of ``obs``."""
        return boundaries(self.ended, self.episode_ended)


class TrialVector(Protocol):
    """``num_envs`` trials side by side: what collecting and playing step."""

    num_envs: int

    @property
    def trial_steps(self) -> int:
        """Steps in a trial, the most it can have where trials end by themselves."""

    @property
    def split(self) -> str:
        """The split that tasks are drawn from."""

    @property
    def knows_episodes(self) -> bool:
        """Whether :attr:`StepResult.episode_ended` can be told; asked after :meth:`reset`."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[TrialObservation, dict[str, Any]]:
        """Begin a trial in every row; returns observations ``[n, ...]`` and Gymnasium's info."""

    def advance(self, actions: Array) -> StepResult:
        """Play one step in every row, with actions ``[n, ...]``."""


class CoreInput(NamedTuple):
    """What a memory core reads at one step: the present, and the outcome of the step before.

    Args:
        now: the observation o_t (or an image), ``[B, D]`` or ``[T, B, D]``.
        feedback: the previous action, reward and end-of-episode flag (or the previous label), of as many axes; zero
            where a trial begins.
        allowed: which actions may be taken, ``[B, A]`` or ``[T, B, A]``, 0 where one may not; None: all.
    """

    now: Tensor
    feedback: Tensor
    allowed: Tensor | None = None

    def map(self, fn: Callable[[Tensor], Tensor]) -> CoreInput:
        """Each part that there is, by ``fn``."""
        allowed = None if self.allowed is None else fn(self.allowed)
        return CoreInput(fn(self.now), fn(self.feedback), allowed)


class Read(NamedTuple):
    """What a memory returns for ``Q`` queries.

    Args:
        value: ``[B, Q, V]``; all zeros is the empty read.
        log_weights: ``[B, Q, N]`` or None where a fused kernel was used; the weights sum to at most one.
    """

    value: Tensor
    log_weights: Tensor | None


class Actor(Protocol):
    """Anything that can play a batch of trials: a trained agent with its memory, or a hand-written baseline."""

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Prepare to play ``n`` trials side by side; all own randomness comes from ``rng``."""

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose actions ``[n, ...]`` for observations ``[n, ...]`` and the :class:`Boundary` ``[n]`` of each."""

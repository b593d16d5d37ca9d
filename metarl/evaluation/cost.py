"""What acting costs: the state that a memory keeps, and the time of a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl import tree
from metarl.evaluation.play import rollout_trials
from metarl.memory.contract import MemoryCore, State
from metarl.nets.policy import MemoryPolicy
from metarl.training.actor import PolicyActor
from metarl.types import Array, Ints, TrialObservation


class Cost(NamedTuple):
    """What acting in whole trials costs.

    Args:
        state_bytes: that are in use of the state of a trial at its last step; see :func:`live_bytes`.
        room_bytes: that the state of a trial takes.
        step_seconds: of one step of all trials side by side, the environment left out: the median of the last tenth.
    """

    state_bytes: float
    room_bytes: int
    step_seconds: float


class _Metered(PolicyActor):
    """A policy that notes how long each step takes."""

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """See :class:`metarl.types.Actor`."""
        super().reset(n, rng)
        self.seconds: list[float] = []

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """See :class:`metarl.types.Actor`."""
        began = time.perf_counter()
        actions = super().act(obs, boundary)
        self.seconds.append(time.perf_counter() - began)
        return actions


def cost(policy: MemoryPolicy, make_env: Callable[[int], Any], rows: int, *, seed: int = 0) -> Cost:
    """Play one batch of trials to the end and see what it costs.

    Args:
        policy: that plays.
        make_env: makes trials of held-out tasks, given how many; see :func:`metarl.evaluation.play.rollout_trials`.
        rows: trials side by side.
        seed: of tasks and actions.
    """
    actor = _Metered(policy)
    rollout_trials(actor, make_env, rows, seed=seed, rows=rows)
    last = actor.seconds[-max(1, len(actor.seconds) // 10) :]
    live = float(live_bytes(policy.core, actor.state).double().mean())
    return Cost(live, _row_bytes(actor.state), float(np.median(last)))


def live_bytes(core: MemoryCore, state: State) -> Tensor:
    """The bytes of each row's state that say something, ``[B]``: all of it but slots that nothing was written to.

    Args:
        core: whose state it is.
        state: leaves ``[B, ...]``.
    """
    rows, total = len(next(tree.leaves(state))), _row_bytes(state)
    memory = getattr(core, "memory", None)
    capacity = getattr(getattr(memory, "store", None), "capacity", None)
    if memory is None or capacity is None:
        return torch.full((rows,), total)
    slots = [leaf for leaf in tree.leaves(state.store) if leaf.dim() > 1 and leaf.shape[1] == capacity]
    used = memory.store.content(state.store).valid.sum(1)
    return total - (capacity - used) * sum(leaf[0, 0].numel() * leaf.element_size() for leaf in slots)


def _row_bytes(state: State) -> int:
    return sum(leaf[0].numel() * leaf.element_size() for leaf in tree.leaves(state))

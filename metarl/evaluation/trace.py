"""A few trials kept step by step, for figures: observations, actions, rewards, and what was read of the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from metarl.evaluation.play import rollout_trials
from metarl.memory.actions import ActionColumns
from metarl.memory.contract import MemoryCore
from metarl.memory.memory import Memory
from metarl.types import Actor, Array, Ints, Read, TrialObservation, is_obs_key

STEPS = 5_000  # steps that are kept of a trial
READS = 2_000  # steps of the first trial whose reading weights are kept
SIDE = 48  # pixels that are kept of each side of an image


class RecordingActor:
    """An actor that acts as another one and records what it saw and did."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.observations: dict[str, list[Array]] = {}
        self.actions: list[Array] = []

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """See :class:`metarl.types.Actor`."""
        self.actor.reset(n, rng)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """See :class:`metarl.types.Actor`."""
        actions = self.actor.act(obs, boundary)
        if len(self.actions) < STEPS:
            for key, part in obs.items():
                if is_obs_key(key):
                    self.observations.setdefault(key, []).append(downsample(part))
            self.actions.append(np.array(actions))
        return actions


@contextmanager
def recorded_reads(core: MemoryCore) -> Iterator[list[Tensor | None]]:
    """Within, the list gets the weights ``[Q, N_t]`` of the first row at each read of ``core``, if it has a store."""
    memory: Memory | None = getattr(core, "memory", None)
    weights: list[Tensor | None] = []
    reader = None if memory is None else memory.access
    if reader is None:
        yield weights
        return

    def keep(access: nn.Module, args: Any, read: Read) -> None:
        if len(weights) < READS:
            known = read.log_weights
            if known is None and args[0].key.shape[1] > 1:  # several queries may be answered without
                with torch.no_grad():
                    known = reader.weigh(*args).log_weights
            weights.append(None if known is None else known[0].detach().exp().cpu())

    hook = reader.register_forward_hook(keep)
    try:
        yield weights
    finally:
        hook.remove()


def record(
    actor: Actor, core: MemoryCore, make_env: Callable[[int], Any], trials: int, *, seed: int = 0
) -> dict[str, Array]:
    """Play ``trials`` trials of held-out tasks side by side and keep them step by step.

    Args:
        actor: who plays.
        core: the actor's memory.
        make_env: makes a vector environment of trials with the given number of rows.
        trials: how many.
        seed: as in :func:`metarl.evaluation.play.rollout_trials`.

    Returns:
        ``obs`` (or ``obs.NAME``) ``[n, T, ...]``, ``actions`` ``[n, T, ...]``, ``rewards`` ``[n, T]``, ``ends``
        ``[n, T]`` (an inner episode ended with this step) and ``lengths`` ``[n]`` (steps of each trial; what follows
        them means nothing), at most :data:`STEPS` steps, and images at most :data:`SIDE` pixels a side. Where the
        agent has a store whose access tells its weights: ``weights`` ``[R, N]`` float16 over the slots at each of the
        first :data:`READS` steps of the first trial, nan for slots that were not there yet; those of the action that
        was taken, where the memory is asked for each.

    Raises:
        ValueError: no trials, or an environment that draws training tasks.
    """
    recorder = RecordingActor(actor)
    starts: list[Any] = []

    def watched(rows: int) -> Any:
        env = make_env(rows)
        starts.append(getattr(env.single_action_space, "start", 0))
        return env

    with recorded_reads(core) as reads:
        batch = rollout_trials(recorder, watched, trials, seed=seed, rows=max(1, trials))
    steps = min(int(batch.lengths.max()), len(recorder.actions))
    kept: dict[str, Array] = {
        **{key: np.stack(parts[:steps], 1) for key, parts in recorder.observations.items()},
        "actions": np.stack(recorder.actions[:steps], 1),
        "rewards": batch.rewards[:, :steps],
        "ends": batch.ends[:, :steps],
        "lengths": np.minimum(batch.lengths, steps),
    }
    first = reads[: int(kept["lengths"][0])]
    taken = asked_for(core, kept["actions"][0, : len(first)] - starts[0]) if starts else []
    weights = [row[which].mean(0) for row, which in zip(first, taken, strict=True) if row is not None]
    if weights and len(weights) == len(first) and any(map(len, weights)):
        kept["weights"] = pad_sequence(weights, batch_first=True, padding_value=math.nan).numpy().astype(np.float16)
    return kept


def asked_for(core: MemoryCore, actions: Array) -> list[list[int]]:
    """Which of the queries of a step are about the action that was taken.

    Args:
        core: a memory core.
        actions: ``[T, ...]``, counted from 0.

    Returns:
        For each step, the query for each part of its action; the only one, where the memory is asked once.
    """
    columns: ActionColumns | None = getattr(core, "actions", None)
    if columns is None or not len(actions):
        return [[0]] * len(actions)
    first = np.cumsum([0, *columns.sizes[:-1]])
    indices: list[list[int]] = (actions.reshape(len(actions), -1) + first).tolist()
    return indices


def downsample(part: Array) -> Array:
    """A copy of observations ``[n, ...]``; images ``[n, H, W, C]`` have at most :data:`SIDE` pixels a side."""
    if part.ndim != 4:
        return np.array(part)
    tall, wide = (-(-size // SIDE) for size in part.shape[1:3])
    return np.array(part[:, ::tall, ::wide])

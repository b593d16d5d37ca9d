"""A few trials kept step by step, for pictures: what was seen, done and paid, and what of its memory the agent read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from torch import nn

from metarl.evaluation.play import VectorEnv, play
from metarl.memory.contract import MemoryCore
from metarl.memory.memory import Memory
from metarl.types import Actor, Array, Floats, Ints, Read, TrialObservation

STEPS = 5_000
"""Steps that are kept of a trial."""
READS = 2_000
"""Steps of the first trial whose reading weights are kept: a square of this side."""
SIDE = 48
"""Pixels that are kept of each side of a picture."""


class Noting:
    """An actor that does as another one and notes what it saw and did."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.observations: dict[str, list[Array]] = {}
        self.actions: list[Array] = []

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """See :class:`metarl.types.Actor`."""
        self.actor.reset(n, rng)

    def act(self, obs: TrialObservation, begin: Ints) -> Array:
        """See :class:`metarl.types.Actor`."""
        actions = self.actor.act(obs, begin)
        if len(self.actions) < STEPS:
            for key, part in obs.items():
                if key == "obs" or key.startswith("obs."):
                    self.observations.setdefault(key, []).append(thinned(part))
            self.actions.append(np.array(actions))
        return actions


@contextmanager
def noted_reads(core: MemoryCore) -> Iterator[list[Floats | None]]:
    """Within, the list gets the weights ``[N_t]`` of the first row at each read of ``core``; none without a store."""
    memory: Memory | None = getattr(core, "memory", None)
    access = None if memory is None else memory.access
    notes: list[Floats | None] = []
    if access is None:
        yield notes
        return

    def note(_access: nn.Module, _inputs: object, read: Read) -> None:
        if len(notes) < READS:
            known = read.log_weights  # acting reads with one query at a time, for which weights are returned
            notes.append(None if known is None else known[0, -1].detach().exp().cpu().numpy())

    hook = access.register_forward_hook(note)
    try:
        yield notes
    finally:
        hook.remove()


def record(
    actor: Actor, core: MemoryCore, make_env: Callable[[int], VectorEnv], trials: int, *, seed: int = 0
) -> dict[str, Array]:
    """Play ``trials`` trials of held-out tasks side by side and keep them step by step.

    Args:
        actor: who plays.
        core: the actor's memory.
        make_env: makes a vector environment of so many rows.
        trials: how many.
        seed: as in :func:`metarl.evaluation.play.play`.

    Returns:
        ``obs`` (or ``obs.NAME``) ``[n, T, ...]``, ``actions`` ``[n, T, ...]``, ``rewards`` ``[n, T]``, ``ends``
        ``[n, T]`` (an inner episode ended with this step) and ``lengths`` ``[n]`` (steps of each trial; what follows
        them means nothing), at most :data:`STEPS` steps, and pictures at most :data:`SIDE` pixels a side. Where the
        agent has a store whose access tells its weights: ``weights`` ``[R, N]`` float16 over the slots at each of the
        first :data:`READS` steps of the first trial, nan for slots that were not there yet.

    Raises:
        ValueError: no trials, or an environment that draws training tasks.
    """
    noting = Noting(actor)
    with noted_reads(core) as reads:
        played = play(noting, make_env, trials, seed=seed, rows=max(1, trials))
    steps = min(int(played.lengths.max()), len(noting.actions))
    kept: dict[str, Array] = {
        **{key: np.stack(parts[:steps], 1) for key, parts in noting.observations.items()},
        "actions": np.stack(noting.actions[:steps], 1),
        "rewards": played.rewards[:, :steps],
        "ends": played.ends[:, :steps],
        "lengths": np.minimum(played.lengths, steps),
    }
    first = reads[: int(kept["lengths"][0])]
    weights = [row for row in first if row is not None]
    if len(weights) == len(first) and any(map(len, weights)):
        kept["weights"] = square(weights)
    return kept


def square(rows: list[Floats]) -> Floats:
    """Rows ``[N_t]`` of growing width as one array ``[R, N]``, with nan to the right of each."""
    out = np.full((len(rows), max(map(len, rows))), np.nan, np.float16)
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return out


def thinned(part: Array) -> Array:
    """A copy of observations ``[n, ...]``; of pictures ``[n, H, W, C]`` only every so many pixels."""
    if part.ndim != 4:
        return np.array(part)
    tall, wide = (-(-size // SIDE) for size in part.shape[1:3])
    return np.array(part[:, ::tall, ::wide])

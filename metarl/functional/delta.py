"""The gated delta rule, and the plain sum: a memory that is a matrix, step by step and over many steps at once.

A memory ``W`` ``[K, V]`` maps keys to values. At each step it decays, and what it holds for a key is moved towards a
value (Schlag et al. 2021, "Linear Transformers Are Secretly Fast Weight Programmers", eq. 23-24; with the decay Yang
et al. 2025, "Gated Delta Networks", eq. 10)::

    W_t = a_t W_{t-1} + k_t u_t^T       u_t = b_t (v_t - a_t W_{t-1}^T k_t)       read_t = W_t^T q_t

or the value is added to what is held, u_t = b_t v_t, as in linear attention (Katharopoulos et al. 2020, eq. 18-20;
gated, Yang et al. 2024).

Over a chunk of steps from W_0, with D_ts = a_{s+1} ... a_t, the u solve a unit lower triangular system (the UT
transform of Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", eq. 10)::

    u_t + b_t sum_{s<t} D_ts (k_t . k_s) u_s = b_t (v_t - D_t0 W_0^T k_t)

Nothing overflows: decays enter as exp of sums of logarithms, none of which is above 0. With keys of at most unit
length and b from 0 to 1 no step makes a difference between two memories larger.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 25  # steps solved at once: measured at widths of 64, forward and backward, and flat from 20 to 34
LOG_NOTHING = -1e4  # the logarithm of a decay to nothing, as a reset is one: exp of it is 0, and so is its gradient


def delta_step(
    memory: Tensor,
    key: Tensor,
    value: Tensor,
    strength: Tensor,
    decay: Tensor,
    donate: bool = False,
    *,
    add: bool = False,
) -> Tensor:
    """W_t of one step; ``[N, K, V]``.

    Args:
        memory: W_{t-1} ``[N, K, V]``.
        key: k ``[N, K]``, of at most unit length.
        value: v ``[N, V]``.
        strength: b ``[N]`` from 0 to 1.
        decay: a ``[N]`` from 0 to 1.
        donate: reuse the buffer of ``memory``; without gradients only.
        add: the value is added to what is held for its key, instead of replacing it.
    """
    if not add:
        value = value - decay[:, None] * torch.bmm(key[:, None], memory)[:, 0]
    change = strength[:, None] * value
    kept = memory.mul_(decay[:, None, None]) if donate else memory * decay[:, None, None]
    return kept.addcmul_(key[:, :, None], change[:, None])


def delta_unroll(
    memory: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    strength: Tensor,
    log_decay: Tensor,
    chunk: int = CHUNK,
    *,
    add: bool = False,
) -> tuple[Tensor, Tensor]:
    """All reads ``[N, T, Q, V]`` of a sequence, each after the write of its own step, and W_T ``[N, K, V]``.

    Args:
        memory: W_0 ``[N, K, V]``.
        query: q ``[N, T, Q, K]``.
        key: k ``[N, T, K]``, of at most unit length.
        value: v ``[N, T, V]``.
        strength: b ``[N, T]`` from 0 to 1; 0 where nothing is written.
        log_decay: log a ``[N, T]``, at most 0; ``LOG_NOTHING`` where the memory is emptied before the step's write.
        chunk: steps solved at once; the result is the same for all but rounding.
        add: see :func:`delta_step`.
    """
    reads = []
    for part in zip(*(x.split(chunk, 1) for x in (query, key, value, strength, log_decay)), strict=True):
        read, memory = _chunk(memory, *part, add=add)
        reads.append(read)
    return torch.cat(reads, 1), memory


def _chunk(
    memory: Tensor, query: Tensor, key: Tensor, value: Tensor, strength: Tensor, log_decay: Tensor, *, add: bool
) -> tuple[Tensor, Tensor]:
    decay = _decay_between(log_decay)
    from_start = log_decay.cumsum(1).exp()[..., None]
    strength = strength[..., None]
    if add:
        change = strength * value
    else:
        system = strength * decay * (key @ key.mT)  # the diagonal is taken as 1 by the solver
        wanted = strength * (value - from_start * (key @ memory))
        change = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    queries, asked = query.shape[2], query.flatten(1, 2)
    since_start, since = from_start, decay
    if queries > 1:
        since_start, since = (x.repeat_interleave(queries, 1) for x in (from_start, decay))
    reads = torch.baddbmm(since_start * (asked @ memory), since * (asked @ key.mT), change)
    kept = key * decay[:, -1, :, None]
    return reads.unflatten(1, (-1, queries)), torch.baddbmm(from_start[:, -1:] * memory, kept.mT, change)


def _decay_between(log_decay: Tensor) -> Tensor:
    """D ``[N, L, L]``: D_ts = a_{s+1} ... a_t for s <= t, else 0.

    The logarithms are summed anew for every pair, by one product with zeros and ones: a difference of running sums
    would lose a small decay behind a large one.
    """
    steps = log_decay.shape[1]
    at = torch.arange(steps, device=log_decay.device)
    passed, to, since = at[:, None, None], at[:, None], at
    within = ((since < passed) & (passed <= to)).flatten(1).to(log_decay)
    return (log_decay @ within).unflatten(1, (steps, steps)).exp().tril()

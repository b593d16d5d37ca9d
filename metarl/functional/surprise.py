"""Networks that learn while they are used: steps of gradient descent with momentum and forgetting, as values.

A network f(k) = tanh(k A) C, with weights A ``[K, H]`` and C ``[H, V]`` of each row's own, is taught v at k by a step
down its associative loss l = |f(k) - v|^2 / 2 (Behrouz et al. 2024, "Titans", eq. 12-14), for W either of A and C::

    S_t = eta_t S_{t-1} - theta_t grad l / n_t           W_t = (1 - alpha_t) W_{t-1} + S_t

Each gradient is an outer product, x_t e_t^T of a layer's input and its output's error. So over a chunk of steps the
weights are a sum that need not be formed::

    W_t = F_t W_0 + m_t S_0 + sum_{s<=t} M_ts x_s e_s^T

whose coefficients follow from eta and alpha alone. Only vectors are computed step by step; the reads come at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.functional.delta import LOG_NOTHING, decay_between
from metarl.functional.kernels import NORM_FLOOR

CHUNK = 10
"""Steps between which weights are formed."""


class Layers(NamedTuple):
    """Something of both layers: weights, momentum, or the weights all rows begin with (those without N)."""

    inner: Tensor
    """``[N, K, H]``"""
    outer: Tensor
    """``[N, H, V]``"""


class Rates(NamedTuple):
    """How each step is taken, ``[N, T]``."""

    step: Tensor
    """theta; 0 where nothing is written."""
    log_keep: Tensor
    """log eta; 0 where nothing is written."""
    log_hold: Tensor
    """log (1 - alpha); 0 where nothing is written."""
    written: Tensor
    """1 where something is written, else 0: elsewhere momentum stands still."""
    reset: Tensor
    """Bool: where weights are the initial ones again before the step, and momentum is zero."""


class _Made(NamedTuple):
    """What the weights of each step are made of; ``[N, L]`` but for the last."""

    start: Tensor
    momentum: Tensor
    initial: Tensor
    """The weights of :class:`Layers` that a reset has brought back."""
    steps: Tensor
    """``[N, L, L]``: the gradients of the chunk's steps."""


def step_length(hidden: Tensor, error: Tensor, back: Tensor) -> Tensor:
    """n = 1 + |h|^2 + |grad_z l|^2 / |f - v|^2: what a gradient is divided by; ``[N]``.

    By it theta is, to first order, the share of the error that a step removes (normalised least mean squares), and the
    step is at most half as long as the error.

    Args:
        hidden: h ``[N, H]``
        error: f(k) - v ``[N, V]``
        back: the gradient ``[N, H]`` with respect to z = k A, for k of unit length.
    """
    return 1.0 + hidden.square().sum(-1) + back.square().sum(-1) / (error.square().sum(-1) + NORM_FLOOR)


def surprise_unroll(
    initial: Layers,
    weights: Layers,
    momentum: Layers,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rates: Rates,
    chunk: int = CHUNK,
) -> tuple[Tensor, Layers, Layers]:
    """All reads ``[N, T, V]`` of a sequence, each after the write of its own step, and the last weights and momentum.

    Args:
        initial: what a reset brings back.
        weights: W_0.
        momentum: S_0.
        query: ``[N, T, K]``
        key: ``[N, T, K]``, of at most unit length.
        value: ``[N, T, V]``
        rates: of every step.
        chunk: steps between which weights are formed; the result is the same for all but rounding.
    """
    reads = []
    for query_, key_, value_, *rates_ in zip(*(x.split(chunk, 1) for x in (query, key, value, *rates)), strict=True):
        read, weights, momentum = _chunk(initial, weights, momentum, query_, key_, value_, Rates(*rates_))
        reads.append(read)
    return torch.cat(reads, 1), weights, momentum


def _chunk(
    initial: Layers, weights: Layers, momentum: Layers, query: Tensor, key: Tensor, value: Tensor, rates: Rates
) -> tuple[Tensor, Layers, Layers]:
    before, after, keep = _made(rates)
    base = Layers(*(torch.cat(pair, 1) for pair in zip(weights, momentum, strict=True)))
    hidden, inner_errors, outer_errors = _learn(initial, base, key, value, rates.step, before)
    added = ((key, inner_errors), (hidden, outer_errors))

    drawn = _formed(query, initial.inner, base.inner, after)
    asked = torch.baddbmm(drawn, after.steps * (query @ key.mT), inner_errors).tanh()
    drawn = _formed(asked, initial.outer, base.outer, after)
    reads = torch.baddbmm(drawn, after.steps * (asked @ hidden.mT), outer_errors)

    last, last_keep = (_Made(*(x[:, -1, None] for x in made)) for made in (after, keep))
    new_weights, new_momentum = [], []
    for first, weight, old, (inputs, errors) in zip(initial, weights, momentum, added, strict=True):
        formed = last.start[..., None] * weight + last.momentum[..., None] * old + last.initial[..., None] * first
        new_weights.append(torch.baddbmm(formed, last.steps * inputs.mT, errors))
        new_momentum.append(torch.baddbmm(last_keep.momentum[..., None] * old, last_keep.steps * inputs.mT, errors))
    return reads, Layers(*new_weights), Layers(*new_momentum)


def _learn(
    initial: Layers, base: Layers, key: Tensor, value: Tensor, step: Tensor, before: _Made
) -> tuple[Tensor, Tensor, Tensor]:
    """Step through a chunk: hidden units ``[N, L, H]``, and -theta / n times the errors of z and of f.

    ``base`` is the weights and the momentum that the chunk starts from, one above the other.
    """
    drawn = _formed(key, initial.inner, base.inner, before).unbind(1)
    shared = (before.steps * (key @ key.mT)).unbind(1)
    values, made = value.unbind(1), [_Made(*parts) for parts in zip(*(x.unbind(1) for x in before), strict=True)]
    hiddens: list[Tensor] = []
    inner_errors: list[Tensor] = []
    outer_errors: list[Tensor] = []
    for t, (now, rate) in enumerate(zip(made, step.unbind(1), strict=True)):
        of_start, of_momentum, of_initial = (x[:, None] for x in now[:3])
        z = drawn[t]
        if t:
            past, past_errors = torch.stack(hiddens, 1), torch.stack(outer_errors, 1)
            z = torch.baddbmm(z[:, None], shared[t][:, None, :t], torch.stack(inner_errors, 1))[:, 0]
        hidden = z.tanh()
        both = torch.cat([of_start * hidden, of_momentum * hidden], 1)
        error = torch.baddbmm((of_initial * (hidden @ initial.outer) - values[t])[:, None], both[:, None], base.outer)
        if t:
            error = torch.baddbmm(error, now.steps[:, None, :t] * (hidden[:, None] @ past.mT), past_errors)
        of_weights, of_old = (error @ base.outer.mT)[:, 0].chunk(2, -1)
        back = of_initial * (error[:, 0] @ initial.outer.mT) + of_start * of_weights + of_momentum * of_old
        if t:
            back = torch.baddbmm(back[:, None], now.steps[:, None, :t] * (error @ past_errors.mT), past)[:, 0]
        error, back = error[:, 0], back * (1.0 - hidden * hidden)
        scale = (-rate / step_length(hidden, error, back))[:, None]
        hiddens.append(hidden)
        inner_errors.append(scale * back)
        outer_errors.append(scale * error)
    return torch.stack(hiddens, 1), torch.stack(inner_errors, 1), torch.stack(outer_errors, 1)


def _formed(x: Tensor, initial: Tensor, base: Tensor, made: _Made) -> Tensor:
    """``x`` ``[N, L, I]`` times the weights at each step, but for the gradients of the chunk's own steps."""
    both = torch.cat([made.start[..., None] * x, made.momentum[..., None] * x], -1)
    return torch.baddbmm(made.initial[..., None] * (x @ initial), both, base)


def _made(rates: Rates) -> tuple[_Made, _Made, _Made]:
    """What the weights are made of before each step's write (and after its reset) and after it, and the momentum after."""
    log_hold, log_keep = (x.masked_fill(rates.reset, LOG_NOTHING) for x in (rates.log_hold, rates.log_keep))
    keep, keep_start = decay_between(log_keep), log_keep.cumsum(1).exp()
    hold, hold_start = decay_between(log_hold), log_hold.cumsum(1).exp()
    added = hold * rates.written[:, None]  # of the momentum of step s, in the weights of step t
    back = rates.reset.to(hold) * rates.log_hold.exp()
    after = _Made(hold_start, (added @ keep_start[..., None])[..., 0], (hold @ back[..., None])[..., 0], added @ keep)
    first = torch.zeros_like(hold_start[:, :1])
    start = torch.cat([first + 1.0, after.start[:, :-1]], 1)
    momentum, initial = (torch.cat([first, x[:, :-1]], 1) for x in (after.momentum, after.initial))
    steps = torch.cat([torch.zeros_like(keep[:, :1]), after.steps[:, :-1]], 1)
    start, momentum, initial = (x.masked_fill(rates.reset, 0.0) for x in (start, momentum, initial))
    before = _Made(start, momentum, initial + rates.reset.to(initial), steps.masked_fill(rates.reset[..., None], 0.0))
    return before, after, _Made(torch.zeros_like(keep_start), keep_start, torch.zeros_like(keep_start), keep)

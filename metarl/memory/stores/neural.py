"""A memory that is a network: a small MLP per row that takes a gradient step with every write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn

from metarl.functional.kernels import NORM_FLOOR, unit
from metarl.memory.contract import Store, Write
from metarl.types import Read

START_CONTROL = (2.2, -2.2, -7.0)
"""theta = 0.9, eta = 0.1, alpha = 0.001: with its momentum a write removes its error once, and little is forgotten."""


@dataclass(frozen=True)
class NeuralOptions:
    """Options of the neural memory.

    Args:
        hidden_size: hidden units of each row's network.
    """

    hidden_size: Annotated[int, Ge(1)] = 32


class NeuralState(NamedTuple):
    """Each row's network, as what it differs from the initial one by, and its momentum; all zero to begin with.

    The inner layer ``[B, K, H]`` leads from keys to hidden units, the outer one ``[B, H, V]`` on to values.
    """

    inner: Tensor
    outer: Tensor
    inner_momentum: Tensor
    outer_momentum: Tensor


class NeuralMemory(Store):
    """The long-term memory of Titans (Behrouz et al. 2024, eq. 8-15), a network that learns while it is used.

    The network is f(k) = W2 tanh(W1 k), its associative loss l = |f(k) - v|^2 / 2 (eq. 12), and each write a step::

        S_t = eta S_{t-1} - theta grad l / n           W_t = (1 - alpha) W_{t-1} + S_t

    with theta, eta and alpha (eq. 13-14) the sigmoids of the write's control. W_0 are learned parameters. The outer
    gradient goes through every inner step, to second order too.

    Three things keep it bounded whatever comes in. Keys and queries have unit length; values enter as
    v / sqrt(1 + mean(v^2)); and a gradient is divided by n = 1 + |h|^2 + |grad_1 l|^2 / |f - v|^2, with h the hidden
    units, by which theta is, to first order, the share of the error that a step removes (normalised least mean
    squares), and no step is longer than half the error.

    It steps through time: each gradient depends on the weights that the one before has left.
    """

    control_size = 3

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: NeuralOptions) -> None:
        super().__init__()
        self.key_size, self.value_size, self.read_size, self.options = key_size, value_size, value_size, options
        # Orthogonal and odd: keys that have nothing in common share no features either, so pairs disturb each other
        # little before any training. The zeros make an empty memory read nothing.
        inner = nn.init.orthogonal_(torch.empty(key_size, options.hidden_size))
        self.inner = nn.Parameter(inner * max(key_size, options.hidden_size) ** 0.5)
        self.outer = nn.Parameter(torch.zeros(options.hidden_size, value_size))

    def initial_state(self, batch_size: int) -> NeuralState:
        """See :meth:`metarl.memory.contract.Store.initial_state`."""
        inner, outer = (w.new_zeros(batch_size, *w.shape) for w in (self.inner, self.outer))
        return NeuralState(inner, outer, torch.zeros_like(inner), torch.zeros_like(outer))

    def write(self, state: NeuralState, item: Write, donate: bool = False) -> NeuralState:
        """See :meth:`metarl.memory.contract.Store.write`: one step of gradient descent."""
        if item.control is None:
            raise TypeError("a write to a neural memory needs a control [B, 3]; got None")
        dtype = state.inner.dtype
        key, value = unit(item.key.to(dtype)), bounded(item.value.to(dtype))
        hidden, found = self._evaluate(state, key[:, None])
        hidden, error = hidden[:, 0], found[:, 0] - value
        back = error @ self.outer.mT + (state.outer @ error[:, :, None])[:, :, 0]
        back = back * (1.0 - hidden * hidden)  # through tanh: the error of W1 k
        squared = error.square().sum(-1) + NORM_FLOOR
        length = 1.0 + hidden.square().sum(-1) + back.square().sum(-1) / squared

        rate, momentum, forget = item.control.to(dtype).sigmoid().unbind(-1)
        step, weight = -rate / length, torch.ones_like(rate)
        if item.rows is not None:
            others, weight = ~item.rows, item.rows.to(dtype)
            step, momentum, forget = (
                x.masked_fill(others, kept) for x, kept in ((step, 0.0), (momentum, 1.0), (forget, 0.0))
            )
        scalars = (momentum[:, None, None], forget[:, None, None], weight[:, None, None])
        donate = donate and not torch.is_grad_enabled()  # autograd may need the weights as they were
        inner, inner_momentum = momentum_step(
            state.inner, state.inner_momentum, self.inner, key, step[:, None] * back, *scalars, donate
        )
        outer, outer_momentum = momentum_step(
            state.outer, state.outer_momentum, self.outer, hidden, step[:, None] * error, *scalars, donate
        )
        return NeuralState(inner, outer, inner_momentum, outer_momentum)

    def read(self, state: NeuralState, query: Tensor, control: Tensor | None = None) -> tuple[Read, NeuralState]:
        """See :meth:`metarl.memory.contract.Store.read`: the output of the network (eq. 15)."""
        _, found = self._evaluate(state, unit(query.to(state.inner.dtype)))
        return Read(found.to(query.dtype), None), state

    def start_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.start_control`: what a key held is replaced, little forgotten."""
        return torch.tensor(START_CONTROL)

    def _evaluate(self, state: NeuralState, key: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden units ``[B, Q, H]`` and outputs ``[B, Q, V]`` of every row's network for ``key`` ``[B, Q, K]``."""
        hidden = torch.baddbmm(key @ self.inner, key, state.inner).tanh()
        return hidden, torch.baddbmm(hidden @ self.outer, hidden, state.outer)


def bounded(value: Tensor) -> Tensor:
    """Scale ``[..., V]`` to v / sqrt(1 + mean(v^2)): nearly v where v is small, and of mean square below 1."""
    scale = value.detach().abs().amax(-1, keepdim=True).clamp_min(1.0)  # keeps the square of a huge value finite
    value = value / scale
    return value * torch.rsqrt((value * value).mean(-1, keepdim=True) + scale.reciprocal().square())


def momentum_step(
    change: Tensor,
    momentum: Tensor,
    initial: Tensor,
    inputs: Tensor,
    errors: Tensor,
    keep: Tensor,
    forget: Tensor,
    write_weight: Tensor,
    donate: bool,
) -> tuple[Tensor, Tensor]:
    """One layer's step (Behrouz et al. 2024, eq. 13-14) on weights that are ``initial`` + ``change``.

    Args:
        change: ``[B, I, O]``
        momentum: S ``[B, I, O]``
        initial: W_0 ``[I, O]``
        inputs: of the layer, ``[B, I]``.
        errors: ``[B, O]``; ``inputs`` times ``errors`` is what the gradient adds to S.
        keep: eta ``[B, 1, 1]``
        forget: alpha ``[B, 1, 1]``
        write_weight: 1 in the rows that are written, else 0; ``[B, 1, 1]``.
        donate: reuse the buffers of ``change`` and ``momentum``; without gradients only.

    Returns:
        The new ``change`` and ``momentum``.
    """
    momentum = momentum.mul_(keep) if donate else momentum * keep
    momentum = momentum.baddbmm_(inputs[:, :, None], errors[:, None])
    change = (change.lerp_ if donate else change.lerp)(-initial, forget)  # (1 - alpha) (W_0 + change) - W_0
    return change.addcmul_(momentum, write_weight), momentum

"""Heads: from what a core puts out to a distribution over actions and to a value."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.config import InputError
from metarl.memory.actions import ActionColumns
from metarl.types import Array, Bools

FORBIDDEN = -1e9
"""The logit of a masked choice: its probability is exactly 0, while its log probability and gradient stay finite."""


class Head(nn.Module, ABC):
    """A distribution over the actions of one space.

    Inside the policy actions are tensors in the head's own form, ``[..., *action_shape]`` of ``action_dtype``;
    :meth:`to_env` makes them what the environment takes.
    """

    action_shape: tuple[int, ...] = ()
    action_dtype: ClassVar[torch.dtype]
    choices: int | None = None
    """How many numbers a mask of actions has; None where there are no choices to mask."""

    @abstractmethod
    def forward(self, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """The parameters of the distribution, from ``y`` ``[..., O]``; ``mask`` ``[..., choices]`` forbids where 0."""

    @abstractmethod
    def sample(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """One action ``[..., *action_shape]`` for each row of ``parameters`` ``[..., P]``."""

    @abstractmethod
    def best(self, parameters: Tensor) -> Tensor:
        """The most probable action ``[..., *action_shape]`` of each row of ``parameters`` ``[..., P]``."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, actions: Tensor) -> Tensor:
        """Log probability ``[...]`` of the given actions."""

    @abstractmethod
    def entropy(self, parameters: Tensor) -> Tensor:
        """Entropy ``[...]`` of each row's distribution, in nats."""

    @abstractmethod
    def to_env(self, actions: Array) -> Array:
        """Actions ``[n, *action_shape]`` as the environment takes them."""

    def from_env(self, actions: Array) -> Array:
        """Actions of the environment ``[n, ...]`` in the head's own form ``[n, *action_shape]``."""
        raise TypeError(f"a {type(self).__name__} takes no actions of others")

    def no_valid_action(self, mask: Array) -> Bools:
        """``[n]``: rows whose mask ``[n, choices]`` leaves nothing to choose."""
        raise TypeError(f"a {type(self).__name__} takes no mask")


class CategoricalHead(Head):
    """A softmax policy over each part of a Discrete (one part) or a MultiDiscrete; starts almost uniform.

    The parts are independent given the input, which may end with its logits (``scores``). Its parameters are log
    probabilities ``[..., choices]``, those of the parts side by side; actions are indices from 0, ``[...]`` for a
    Discrete and ``[..., P]`` for a MultiDiscrete.
    """

    action_dtype = torch.long

    def __init__(self, input_size: int, space: spaces.Discrete | spaces.MultiDiscrete, scores: int = 0) -> None:
        super().__init__()
        self.sizes = choices_of(space)
        self.start: Any = space.start
        if isinstance(space, spaces.MultiDiscrete):
            self.action_shape = (len(self.sizes),)
        self.env_shape: tuple[int, ...] = space.shape or ()
        self.env_dtype = space.dtype
        self.choices: int = sum(self.sizes)
        self.linear = None if scores else _linear(input_size, self.choices, 0.01)

    def forward(self, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log probabilities ``[..., choices]``."""
        logits = y[..., y.shape[-1] - self.choices :] if self.linear is None else self.linear(y)
        if mask is not None:
            logits = logits.masked_fill(mask == 0, FORBIDDEN)
        if not self.action_shape:
            return logits.log_softmax(-1)
        return torch.cat([part.log_softmax(-1) for part in logits.split(self.sizes, -1)], -1)

    def sample(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """See :meth:`Head.sample`: the exponential race, argmax of p / Exp(1)."""
        device = parameters.device if generator is None else generator.device
        noise = torch.empty(parameters.shape, device=device).exponential_(generator=generator)
        return self.best(parameters.exp() / noise.to(parameters.device))

    def best(self, parameters: Tensor) -> Tensor:
        """See :meth:`Head.best`."""
        if not self.action_shape:
            return parameters.argmax(-1)
        return torch.stack([part.argmax(-1) for part in parameters.split(self.sizes, -1)], -1)

    def log_prob(self, parameters: Tensor, actions: Tensor) -> Tensor:
        """See :meth:`Head.log_prob`."""
        if not self.action_shape:
            return parameters.gather(-1, actions[..., None])[..., 0]
        first = np.cumsum([0, *self.sizes[:-1]])  # where each part begins among the choices
        return parameters.gather(-1, actions + torch.as_tensor(first, device=actions.device)).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        """See :meth:`Head.entropy`: -sum p log p, summed over the parts."""
        return -(parameters.exp() * parameters).sum(-1)

    def to_env(self, actions: Array) -> Array:
        """Indices ``[n]`` or ``[n, P]`` as actions of the space, which may count from elsewhere than 0."""
        moved = actions.reshape(len(actions), *self.env_shape) + self.start
        return moved.astype(self.env_dtype, copy=False)

    def from_env(self, actions: Array) -> Array:
        """The inverse of :meth:`to_env`, as int64."""
        return (actions.astype(np.int64) - self.start).reshape(len(actions), *self.action_shape)

    def no_valid_action(self, mask: Array) -> Bools:
        """``[n]``: rows whose mask forbids all choices of a part."""
        parts = np.split(np.asarray(mask) != 0, np.cumsum(self.sizes)[:-1], -1)
        return np.any([~part.any(-1) for part in parts], axis=0)


class GaussianHead(Head):
    """A diagonal Gaussian over a Box, with a standard deviation that does not depend on the input.

    It works in units in which [-1, 1] spans the space's bounds, in each dimension where both are finite, and in those
    of the space elsewhere. The environment gets the sample scaled and clipped to the bounds, while the log probability
    is that of the sample before clipping, as is usual in PPO. Means start near 0 and deviations at 0.5 (both as
    Andrychowicz et al. 2021, section 3.2, recommend).

    Its parameters are means ``[..., D]``; actions are samples ``[..., D]``, D being the size of the flattened space.
    """

    action_dtype = torch.float32

    def __init__(self, input_size: int, space: spaces.Box) -> None:
        super().__init__()
        size = int(np.prod(space.shape))
        self.action_shape = (size,)
        self.env_shape, self.env_dtype = space.shape, space.dtype
        self.low, self.high = space.low.astype(np.float64), space.high.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            middle, reach = (self.high + self.low) / 2, (self.high - self.low) / 2
        bounded = space.bounded_below & space.bounded_above & np.isfinite(reach)
        self.middle, self.reach = np.where(bounded, middle, 0.0), np.where(bounded, reach, 1.0)
        self.linear = _linear(input_size, size, 0.01)
        self.log_std = nn.Parameter(torch.full((size,), math.log(0.5)))

    def forward(self, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Means ``[..., D]``."""
        if mask is not None:
            raise TypeError("actions of a Box cannot be masked")
        return self.linear(y)

    def sample(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """See :meth:`Head.sample`: the mean and noise of the standard deviation, not clipped."""
        device = parameters.device if generator is None else generator.device
        noise = torch.randn(parameters.shape, device=device, generator=generator)
        return parameters + self.log_std.exp() * noise.to(parameters.device)

    def best(self, parameters: Tensor) -> Tensor:
        """See :meth:`Head.best`: the mean."""
        return parameters

    def log_prob(self, parameters: Tensor, actions: Tensor) -> Tensor:
        """See :meth:`Head.log_prob`: the log density of samples, summed over the dimensions."""
        scaled = (actions - parameters) * (-self.log_std).exp()
        return (-0.5 * (scaled.square() + math.log(2 * math.pi)) - self.log_std).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        """See :meth:`Head.entropy`: that of the Gaussian before clipping, the same in every row."""
        total = (0.5 * (1 + math.log(2 * math.pi)) + self.log_std).sum()
        return total.expand(parameters.shape[:-1])

    def to_env(self, actions: Array) -> Array:
        """Samples ``[n, D]`` scaled to the space and clipped to its bounds."""
        scaled = self.middle + self.reach * actions.reshape(len(actions), *self.env_shape)
        return scaled.clip(self.low, self.high).astype(self.env_dtype)


def choices_of(space: spaces.Discrete | spaces.MultiDiscrete) -> list[int]:
    """The number of choices of each part of an action."""
    return [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.ravel().tolist()


def action_columns(space: spaces.Space[Any], starts: tuple[int, ...]) -> ActionColumns:
    """Where feedback speaks of the actions of ``space``.

    Args:
        space: of the actions.
        starts: where the blocks begin that have one number for each choice.

    Raises:
        InputError: the space has no choices, or the feedback leaves the previous action out.
    """
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        expected = f"false for {space}: there is no list of actions to ask for"
        raise InputError(key="memory.per_action", given=True, expected=expected)
    if not starts:
        remedy = "leave prev_action=False out"
        raise InputError(key="memory.per_action", given=True, expected="prev_action in observations", remedy=remedy)
    return ActionColumns(tuple(choices_of(space)), starts)


def make_head(input_size: int, space: spaces.Space[Any], scores: int = 0) -> Head:
    """The head for an action space.

    Args:
        input_size: width of what the core puts out.
        space: of the actions.
        scores: how many of the outputs, the last ones, are logits already.

    Raises:
        InputError: a space that has no head.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return CategoricalHead(input_size, space, scores)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return GaussianHead(input_size, space)
    expected = "Discrete, MultiDiscrete or a Box of floating-point numbers"
    remedy = "wrap the environment so that it takes one of these"
    raise InputError(key="the action space", given=space, expected=expected, remedy=remedy)


def value_head(input_size: int) -> nn.Linear:
    """A linear value estimate, ``[..., input_size]`` to ``[..., 1]``."""
    return _linear(input_size, 1, 1.0)


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear

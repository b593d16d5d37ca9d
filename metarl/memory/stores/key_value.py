"""Key-value memory: learned slots, and slots that are written as those of the episodic buffer are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from metarl.config import ConfigError
from metarl.memory.stores.episodic import Episodic, EpisodicOptions

Transform = Literal["none", "linear", "mlp"]


@dataclass(frozen=True)
class KeyValueOptions(EpisodicOptions):
    """Options of the key-value store; those of written slots are the episodic store's.

    Args:
        learned: slots whose keys and values are parameters: the same in every trial, never replaced.
        learned_only: nothing is written: the classic layer of trainable keys and values.
        key_transform: what becomes of keys and queries alike before they are compared, so that it changes what is
            found.
        value_transform: what becomes of every value before the weighted sum.
    """

    learned: Annotated[int, Ge(0)] = 32
    learned_only: bool = False
    key_transform: Transform = "none"
    value_transform: Transform = "none"


class KeyValue(Episodic):
    """Softmax over query.keys, weighted sum of values (Miller et al. 2016, eq. 3-4; Sukhbaatar et al. 2015).

    Learned slots stand before the written ones and are seen by every query. Transforms come before the comparison and
    before the weighted sum; after the sum a key transform could not change what is found.
    """

    def __init__(self, key_size: int, value_size: int, trial_steps: int | None, options: KeyValueOptions) -> None:
        if options.learned_only and not (options.learned and options.capacity is None):
            raise ConfigError(
                key="memory.store_options.learned_only",
                given=True,
                expected="learned = 1 or more, and no capacity, beside it",
            )
        super().__init__(key_size, value_size, 1 if options.learned_only else trial_steps, options)
        self.writable = not options.learned_only
        self.key_transform = _transform(options.key_transform, key_size)
        self.value_transform = _transform(options.value_transform, value_size)
        self.keys = nn.Parameter(torch.randn(options.learned, key_size))
        self.values = nn.Parameter(torch.randn(options.learned, value_size) / value_size**0.5)

    def transform_key(self, address: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.transform_key`."""
        return self.key_transform(address)

    def transform_value(self, value: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.transform_value`."""
        return self.value_transform(value)

    def learned(self) -> tuple[Tensor, Tensor]:
        """See :meth:`metarl.memory.contract.Store.learned`."""
        return self.transform_key(self.keys), self.transform_value(self.values)


def _transform(kind: Transform, size: int) -> nn.Module:
    """A map of a width onto itself that is the identity, or near it, before training."""
    if kind == "none":
        return nn.Identity()
    if kind == "mlp":
        return Residual(size)
    linear = nn.Linear(size, size)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class Residual(nn.Module):
    """x + W_2 relu(W_1 x), W_2 being zero at first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        last = nn.Linear(2 * size, size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., size]`` to the same shape."""
        changed: Tensor = self.net(x)
        return x + changed

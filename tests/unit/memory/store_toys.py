"""What is done to a store: items drawn, and written one after another."""

from typing import Any

import torch
from torch import Tensor

from metarl.memory.contract import Store, Write


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(store: Store, keys: Tensor, values: Tensor) -> Any:
    """The state after items ``[items, rows, ...]`` have been written."""
    state = store.initial_state(keys.shape[1])
    for key, value in zip(keys, values, strict=True):
        state = store.write(state, Write(key, value))
    return state

"""What is done to a store: items written one after another."""

from typing import Any

from torch import Tensor

from metarl.memory.contract import Store, Write


def filled(store: Store, keys: Tensor, values: Tensor) -> Any:
    """The state after items ``[items, rows, ...]`` have been written."""
    state = store.initial_state(keys.shape[1])
    for key, value in zip(keys, values, strict=True):
        state = store.write(state, Write(key, value))
    return state

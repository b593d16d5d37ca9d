"""The precision of a memory: that of its parameters, whatever the caller's autocast says."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from metarl import tree
from metarl.memory.contract import State
from metarl.types import CoreInput

Method = TypeVar("Method", bound=Callable[..., Any])


def cast_like(model: Tensor, state: State) -> State:
    """``state`` in the precision and on the device of ``model``, a tensor ``[...]``."""
    return tree.map_tensors(lambda leaf: leaf.to(model if leaf.is_floating_point() else model.device), state)


def in_own_precision(method: Method) -> Method:
    """Keep ``torch.autocast`` out of a method: it computes in the precision of the module's parameters.

    What a memory holds is read again and again over a trial, so it isn't rounded to half precision on the way.
    """

    @wraps(method)
    def run(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        device = next((part.device.type for part in given if isinstance(part, Tensor)), "cpu")
        if not torch.is_autocast_enabled(device):
            return method(self, *args, **kwargs)
        dtype = next((p.dtype for p in self.parameters()), torch.float32)
        with torch.autocast(device, enabled=False):
            own = (_cast(part, dtype) for part in args)
            return method(self, *own, **{name: _cast(part, dtype) for name, part in kwargs.items()})

    return cast(Method, run)


def _cast(part: Any, dtype: torch.dtype) -> Any:
    if not isinstance(part, Tensor | tuple):
        return part

    def own(leaf: Tensor) -> Tensor:
        return leaf.to(dtype) if leaf.is_floating_point() else leaf

    return part.map(own) if isinstance(part, CoreInput) else tree.map_tensors(own, part)

"""Models whose size is told before they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from metarl.config import ConfigError
from metarl.limits import check_bytes

MAX_NUMBERS = 10**9  # of parameters, buffers and what is needed to make them
MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange)


class Allowance(TorchFunctionMode):
    """Within, what would have more than MAX_NUMBERS numbers, or more bytes than are free, is refused and not made.

    Args:
        key: what is made, named in an error.

    Raises:
        InputError: it is too large.
    """

    def __init__(self, key: str = "the model") -> None:
        super().__init__()
        self.key, self.numbers, self.bytes = key, 0, 0

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count what a function of torch would make."""
        kwargs = dict(kwargs or {})
        if function in MAKERS and "out" not in kwargs:
            plain = {name: value for name, value in kwargs.items() if name != "generator"}
            try:
                like = function(*args, **{**plain, "device": "meta"})  # has a size, and no memory
            except (OverflowError, RuntimeError, TypeError):  # of more numbers than 64 bits count
                like = None
            self._count(like, args)
        return function(*args, **kwargs)

    def _count(self, like: torch.Tensor | None, given: object) -> None:
        remedy = "give smaller sizes (key_size, value_size, capacity, hidden_size, ...)"
        if like is not None:
            self.numbers += like.numel()
            self.bytes += like.numel() * like.element_size()
        if like is None or self.numbers > MAX_NUMBERS:
            size = f"at least {self.numbers:,} numbers" if like is not None else f"of the sizes {given}"
            raise ConfigError(key=self.key, given=size, expected=f"at most {MAX_NUMBERS:,} numbers", remedy=remedy)
        if like.numel() > 10**6:  # small ones are not worth the look
            check_bytes(self.bytes, key=self.key, given=f"{self.numbers:,} numbers", remedy=remedy)

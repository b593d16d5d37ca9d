"""The best parameters of a training so far, by a score on validation tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Best:
    """The parameters with the highest score so far; of equal scores the first.

    Args:
        step: after which they were scored; None: none were.
        score: theirs.
        tensors: parameters and buffers ``[...]`` by name, copies.
    """

    step: int | None = None
    score: float = -math.inf
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, step: int, score: float, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        """Keep a copy of ``tensors()`` if ``score`` is higher than any before.

        Args:
            step: how far training is.
            score: on validation tasks; NaN is never kept.
            tensors: gives parameters and buffers.
        """
        if score > self.score:
            copies = {name: value.detach().clone() for name, value in tensors().items()}
            self.step, self.score, self.tensors = step, score, copies

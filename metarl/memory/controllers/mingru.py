"""minGRU: a gated linear recurrence, parallel over time but for an elementwise loop (Feng et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn

from metarl.functional.scan import linear_scan
from metarl.memory.contract import Controller


@dataclass(frozen=True)
class MinGRUOptions:
    """Options of the minGRU controller."""

    hidden_size: Annotated[int, Ge(1)] = 64
    """Units of each layer and width of the output."""
    layers: Annotated[int, Ge(1)] = 1
    """Number of layers."""


class MinGRUState(NamedTuple):
    """The state of a minGRU."""

    h: Tensor
    """``[B, L, H]``, the first layer first."""


class Layer(nn.Module):
    """z = sigmoid(W_z x); h_t = (1 - z) * h_{t-1} + z * W_h x."""

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, 2 * size)  # z and the candidate: one product costs less than two

    def forward(self, x: Tensor, h: Tensor, cleared: Tensor | None) -> Tensor:
        """``x`` ``[T, B, D]`` from ``h`` ``[B, H]`` to ``[T, B, H]``."""
        gate, candidate = self.linear(x).chunk(2, -1)
        z = torch.sigmoid(gate)
        keep = 1 - z
        if cleared is not None:
            keep = keep.masked_fill(cleared[..., None], 0.0)
        return linear_scan(keep, z * candidate, h)


class MinGRU(Controller):
    has_cell: ClassVar[bool] = True
    resets_inside: ClassVar[bool] = True

    def __init__(self, input_size: int, options: MinGRUOptions) -> None:
        super().__init__()
        size = options.hidden_size
        self.output_size = size
        self.layers = nn.ModuleList(Layer(size if n else input_size, size) for n in range(options.layers))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(options.layers - 1))

    def initial_state(self, batch_size: int) -> MinGRUState:
        weight = self.layers[0].linear.weight
        return MinGRUState(weight.new_zeros(batch_size, len(self.layers), self.output_size))

    def unroll(
        self, x: Tensor, state: MinGRUState, reinstated: Tensor | None = None, cleared: Tensor | None = None
    ) -> tuple[Tensor, MinGRUState]:
        y = h = self.layers[0](x, state.h[:, 0], cleared)
        last = [h[-1]]
        for n, norm in enumerate(self.norms, 1):
            h = self.layers[n](norm(y), state.h[:, n], cleared)
            y = y + h
            last.append(h[-1])
        return y, MinGRUState(torch.stack(last, 1))

    def cell(self, state: MinGRUState) -> Tensor:
        return state.h[:, -1]

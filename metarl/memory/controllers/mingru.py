"""minGRU: a gated linear recurrence, parallel over time but for an elementwise loop (Feng et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn

from metarl.functional.scan import linear_scan
from metarl.memory.contract import Controller

SHORTEST, LONGEST = 2.0, 100.0
"""Steps over which the units of an untrained layer average, from the first unit to the last."""


@dataclass(frozen=True)
class MinGRUOptions:
    """Options of the minGRU controller.

    Args:
        hidden_size: units of each layer, and width of the output.
        layers: number of layers. In one layer, what a unit does with its memory depends on the present input alone.
            What depends on the past too, such as finding the value that came with a key, takes two.
    """

    hidden_size: Annotated[int, Ge(1)] = 64
    layers: Annotated[int, Ge(1)] = 1


class MinGRUState(NamedTuple):
    """The state of a minGRU: h ``[B, L, H]``, the first layer first."""

    h: Tensor


class Layer(nn.Module):
    """h_t = (1 - z_t) * h_{t-1} + z_t * c_t, with z = sigmoid(W_z x) and c = W_h x (Feng et al. 2024, section 3.1).

    The candidate c is linear, not the positive g(W_h x) of their log-space form (appendix B): that is needed for scans
    in log space, while here h is computed as it stands and, being a running average, never leaves the range of c.

    Gates begin with biases that spread the units' memory from 2 to 100 steps, evenly in the logarithm (after Tallec &
    Ollivier 2018, section 2): with z near 1/2 no gradient would reach further back than a dozen steps.
    """

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, 2 * size)  # z and c by one product, which a single step pays for once
        steps = torch.logspace(math.log10(SHORTEST), math.log10(LONGEST), size)
        with torch.no_grad():
            self.linear.bias[:size] = -torch.log(steps - 1)  # z = 1 / steps

    def forward(self, x: Tensor, h: Tensor, cleared: Tensor | None) -> Tensor:
        """Run over a sequence.

        Args:
            x: ``[T, B, D]``
            h: ``[B, H]`` before the first step.
            cleared: ``[T, B]`` bool: where h is zero before the step; None: nowhere.

        Returns:
            h of every step, ``[T, B, H]``.
        """
        gate, candidate = self.linear(x).chunk(2, -1)
        z = torch.sigmoid(gate)
        keep = 1 - z
        if cleared is not None:
            keep = keep.masked_fill(cleared[..., None], 0.0)
        return linear_scan(keep, z * candidate, h)


class MinGRU(Controller):
    """minGRU layers: the first reads the input, each other the normalised sum of those before it.

    The output is the sum of all layers' h, that is h itself where there is one layer: y_l = y_{l-1} + h_l, with
    h_l = minGRU(norm(y_{l-1})), the pre-norm residual stream of a Transformer (Xiong et al. 2020).
    """

    has_cell: ClassVar[bool] = True
    resets_inside: ClassVar[bool] = True

    def __init__(self, input_size: int, options: MinGRUOptions) -> None:
        super().__init__()
        size = options.hidden_size
        self.first = Layer(input_size, size)
        self.rest = nn.ModuleList(Layer(size, size) for _ in range(options.layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in self.rest)
        self.output_size = size

    def initial_state(self, batch_size: int) -> MinGRUState:
        """See :meth:`metarl.memory.contract.Controller.initial_state`."""
        return MinGRUState(self.first.linear.weight.new_zeros(batch_size, 1 + len(self.rest), self.output_size))

    def unroll(
        self, x: Tensor, state: MinGRUState, reinstated: Tensor | None = None, cleared: Tensor | None = None
    ) -> tuple[Tensor, MinGRUState]:
        """See :meth:`metarl.memory.contract.Controller.unroll`."""
        before = state.h.unbind(1)
        y = self.first(x, before[0], cleared)
        last = [y[-1]]
        for layer, norm, h in zip(self.rest, self.norms, before[1:], strict=True):
            own = layer(norm(y), h, cleared)
            y = y + own
            last.append(own[-1])
        return y, MinGRUState(torch.stack(last, 1))

    def cell(self, state: MinGRUState) -> Tensor:
        """See :meth:`metarl.memory.contract.Controller.cell`: h of the last layer."""
        return state.h[:, -1]

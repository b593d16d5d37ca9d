"""A controller without working memory: all that it remembers is in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from annotated_types import Ge
from torch import Tensor, nn

from metarl.memory.contract import Controller


@dataclass(frozen=True)
class FeedForwardOptions:
    """Options of the feed-forward controller.

    Args:
        hidden_size: width of the residual stream and of the output.
        layers: number of residual blocks.
        expansion: units inside a block, as a multiple of the width.
    """

    hidden_size: Annotated[int, Ge(1)] = 64
    layers: Annotated[int, Ge(1)] = 1
    expansion: Annotated[int, Ge(1)] = 2


class NoState(NamedTuple):
    """The state of a controller that has none."""


class Block(nn.Module):
    """x + W_2 relu(W_1 norm(x)): the pre-norm residual block of a Transformer (Xiong et al. 2020)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, inner), nn.ReLU(inplace=True), nn.Linear(inner, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` to the same shape."""
        return x + self.net(x)


class FeedForward(Controller):
    """A linear map, ``layers`` residual blocks, and a normalisation: what was read stays within reach of the heads."""

    def __init__(self, input_size: int, options: FeedForwardOptions) -> None:
        super().__init__()
        width = options.hidden_size
        self.net = nn.Sequential(nn.Linear(input_size, width))
        for _ in range(options.layers):
            self.net.append(Block(width, options.expansion * width))
        self.net.append(nn.LayerNorm(width))
        self.output_size = width

    def initial_state(self, batch_size: int) -> NoState:
        """Nothing."""
        return NoState()

    def unroll(
        self, x: Tensor, state: NoState, reinstated: Tensor | None = None, cleared: Tensor | None = None
    ) -> tuple[Tensor, NoState]:
        """See :meth:`metarl.memory.contract.Controller.unroll`."""
        return self.net(x), state

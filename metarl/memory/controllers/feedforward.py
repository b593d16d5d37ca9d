"""A controller without working memory: all that it remembers stands in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from annotated_types import Ge
from torch import Tensor, nn

from metarl.memory.contract import Controller


@dataclass(frozen=True)
class FeedForwardOptions:
    """Options of the feed-forward controller."""

    hidden_size: Annotated[int, Ge(1)] = 128
    """Units of each layer."""
    layers: Annotated[int, Ge(1)] = 2
    """Number of layers."""


class NoState(NamedTuple):
    """The state of a controller that has none."""


class FeedForward(Controller):
    """``layers`` linear maps, each followed by a ReLU."""

    def __init__(self, input_size: int, options: FeedForwardOptions) -> None:
        super().__init__()
        widths = [input_size] + [options.hidden_size] * options.layers
        self.net = nn.Sequential()
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            self.net.append(nn.Linear(before, after)).append(nn.ReLU())
        self.output_size = options.hidden_size

    def initial_state(self, batch_size: int) -> NoState:
        return NoState()

    def unroll(self, x: Tensor, state: NoState, reinstated: Tensor | None = None) -> tuple[Tensor, NoState]:
        return self.net(x), state

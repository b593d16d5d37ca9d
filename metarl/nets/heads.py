"""Heads: from what a core puts out to a distribution over actions and to a value."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn


class CategoricalHead(nn.Module):
    """A softmax policy over the actions of a Discrete space; starts almost uniform."""

    def __init__(self, input_size: int, space: spaces.Discrete) -> None:
        super().__init__()
        self.start = int(space.start)
        self.linear = nn.Linear(input_size, int(space.n))
        nn.init.orthogonal_(self.linear.weight, 0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, y: Tensor) -> Tensor:
        """Log probabilities ``[..., A]``."""
        return self.linear(y).log_softmax(-1)

    def sample(self, log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
        """One action index for each row ``[..., ]``, by the exponential race (argmax of p / Exp(1))."""
        device = log_probs.device if generator is None else generator.device
        noise = torch.empty(log_probs.shape, device=device).exponential_(generator=generator)
        return (log_probs.exp() / noise.to(log_probs.device)).argmax(-1)

    def best(self, log_probs: Tensor) -> Tensor:
        """The most probable action of each row."""
        return log_probs.argmax(-1)

    def log_prob(self, log_probs: Tensor, actions: Tensor) -> Tensor:
        """Log probability of the given action indices."""
        return log_probs.gather(-1, actions[..., None])[..., 0]

    def entropy(self, log_probs: Tensor) -> Tensor:
        """-sum p log p."""
        return -(log_probs.exp() * log_probs).sum(-1)


def make_head(input_size: int, space: spaces.Space[Any]) -> CategoricalHead:
    """The head for an action space; ValueError for one that has none."""
    if isinstance(space, spaces.Discrete):
        return CategoricalHead(input_size, space)
    raise ValueError(
        f"unsupported action space {space}; supported: Discrete; wrap the environment so that it takes one"
    )


def value_head(input_size: int) -> nn.Linear:
    """A linear value estimate."""
    head = nn.Linear(input_size, 1)
    nn.init.orthogonal_(head.weight, 1.0)
    nn.init.zeros_(head.bias)
    return head

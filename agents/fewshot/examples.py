"""What learners that embed examples by one net have in common: the net, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.config import build
from metarl.nets.images import EncoderOptions, ImageEncoder
from metarl.types import Array

HIDDEN = 128
"""Hidden units of the encoder of vectors."""


class ExampleLearner(FewShotLearner):
    """A learner that sees examples through one net, and what it refuses.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``.
        ways: most classes in an episode.
        encoder: the net that embeds examples.
        longest: most examples that are shown with their labels.
    """

    def __init__(
        self,
        observation: tuple[int, ...],
        ways: int,
        encoder: EncoderOptions | Mapping[str, Any] | None,
        longest: int,
    ) -> None:
        super().__init__()
        if ways < 2:
            raise ValueError(f"ways is {ways}, expected 2 or more classes to tell apart")
        self.observation, self.ways, self.longest = tuple(observation), ways, longest
        net = encoder if isinstance(encoder, EncoderOptions) else build(EncoderOptions, encoder or {}, "encoder")
        self.encoder_options = net
        self.encoder = _encoder(self.observation, net)

    @property
    def _device(self) -> torch.device | None:
        """Where the learner lies; None for one of pixels as they are, which lies nowhere."""
        return next((parameter.device for parameter in self.parameters()), None)

    def _examples(self, x: Tensor | Array, name: str) -> Tensor:
        """Examples ``[B, N, *observation]``."""
        return examples(x, name, self.observation, self._device)

    def _shown(self, x: Tensor | Array, name: str) -> Tensor:
        """The same, no more than ``longest`` of them in an episode."""
        x = self._examples(x, name)
        self._short_enough(x, name)
        return x

    def _short_enough(self, x: Tensor, name: str) -> None:
        if x.shape[1] > self.longest:
            raise ValueError(
                f"{name} has {x.shape[1]} examples, but this classifier was made for {self.longest} at most; "
                f"make it with longest={x.shape[1]}"
            )

    def _queries(self, x: Tensor | Array, support: Tensor) -> Tensor:
        return of_as_many_episodes(self._examples(x, "query_x"), support)

    def _whole(self, y: Tensor | Array, shape: tuple[int, ...], name: str, classes: int) -> Tensor:
        """Whole numbers from 0 to ``classes - 1`` in an array of this shape."""
        y = torch.as_tensor(y, device=self._device)
        if tuple(y.shape) != shape or y.is_floating_point():
            raise ValueError(f"{name} is {y.dtype} of shape {list(y.shape)}, expected whole numbers {list(shape)}")
        if y.min() < 0 or y.max() >= classes:
            raise ValueError(
                f"{name} has labels from {int(y.min())} to {int(y.max())}, but this classifier tells {classes} "
                f"apart; expected 0 to {classes - 1}"
            )
        return y.long()


def examples(x: Tensor | Array, name: str, observation: tuple[int, ...], device: torch.device | None) -> Tensor:
    """Examples ``[B, N, *observation]`` as a tensor; another shape is refused."""
    x = torch.as_tensor(x, device=device)
    if tuple(x.shape[2:]) != observation or 0 in x.shape:
        expected = ", ".join(str(n) for n in ("B", "S", *observation))
        raise ValueError(f"{name} has shape {list(x.shape)}, expected [{expected}] with B and S at least 1")
    return x


def of_as_many_episodes(queries: Tensor, support: Tensor) -> Tensor:
    """The queries; refused where they are not of the episodes of the support."""
    if len(queries) != len(support):
        raise ValueError(f"support_x has {len(support)} episodes, but query_x {len(queries)}; expected as many")
    return queries


class VectorEncoder(nn.Module):
    """Vectors to normalised embeddings, by one hidden layer."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.net = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, size), nn.LayerNorm(size))

    def forward(self, x: Tensor, support: int | None = None) -> Tensor:
        """``[B, N, inputs]`` to ``[B, N, size]``; no example sees another."""
        return self.net(x.to(next(self.parameters())))


def _encoder(shape: tuple[int, ...], options: EncoderOptions) -> VectorEncoder | ImageEncoder:
    if not shape or min(shape) < 1 or len(shape) > 3:
        raise ValueError(
            f"observation is {shape}, expected the shape of one example: (D,), (H, W), (H, W, C) or (C, H, W)"
        )
    if len(shape) == 1:
        return VectorEncoder(shape[0], options.embedding_size or HIDDEN)
    return ImageEncoder(shape, options)

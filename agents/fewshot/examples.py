"""The common part of learners that embed examples by one net: the net, and checks of the inputs."""

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
    """A learner with an encoder of examples, and checks of its inputs.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``.
        ways: most classes in an episode.
        encoder: the net that embeds examples.
        longest: most examples that are shown with their labels.

    Raises:
        ValueError: another shape, or fewer than two classes.
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

    def _embed(self, x: Tensor, support: int | None = None) -> Tensor:
        """Examples ``[B, N, *observation]`` to embeddings ``[B, N, E]`` in the type of the parameters."""
        return self.encoder(x, support).to(self.dtype)

    def _examples(self, x: Tensor | Array, name: str) -> Tensor:
        """Examples ``[B, N, *observation]`` on the learner's device."""
        return examples(x, name, self.observation, self.device)

    def _shown(self, x: Tensor | Array, name: str) -> Tensor:
        """Examples that are shown with their labels, at most ``longest`` in an episode."""
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
        return same_episodes(self._examples(x, "query_x"), support)

    def _classes(self, y: Tensor | Array, shape: tuple[int, ...], name: str, classes: int | None = None) -> Tensor:
        return class_labels(y, shape, name, self.ways if classes is None else classes, self.device)


LARGEST = 16.0
"""Images with larger numbers than this can't be meant to be from 0 to 1."""


def examples(x: Tensor | Array, name: str, observation: tuple[int, ...], device: torch.device | None) -> Tensor:
    """Examples as a tensor on ``device``.

    Args:
        x: ``[B, N, *observation]``
        name: of the argument, for errors.
        observation: shape of one example.
        device: None: where they are.

    Raises:
        ValueError: another shape or no example, numbers that are not finite, or images that are neither bytes nor
            numbers from 0 to 1.
    """
    x = torch.as_tensor(x, device=device)
    if tuple(x.shape[2:]) != observation or 0 in x.shape:
        expected = ", ".join(str(n) for n in ("B", "S", *observation))
        raise ValueError(f"{name} has shape {list(x.shape)}, expected [{expected}] with B and S at least 1")
    if x.dtype == torch.uint8:
        return x
    if x.is_floating_point():
        if not torch.isfinite(x).all():
            raise ValueError(f"{name} has numbers that are not finite, expected finite ones; remove or replace them")
        if len(observation) == 1 or x.max() <= LARGEST:
            return x
    elif len(observation) == 1:
        return x
    raise ValueError(
        f"{name} is {x.dtype} with numbers up to {x.max().item():g}; expected images of bytes (uint8) or of numbers "
        "from 0 to 1"
    )


def same_episodes(queries: Tensor, support: Tensor) -> Tensor:
    """The queries; raises ValueError unless they are of as many episodes as the support."""
    if len(queries) != len(support):
        raise ValueError(f"support_x has {len(support)} episodes, but query_x {len(queries)}; expected as many")
    return queries


def class_labels(
    y: Tensor | Array, shape: tuple[int, ...], name: str, classes: int | None, device: torch.device | None
) -> Tensor:
    """Labels as a tensor of int64 on ``device``.

    Args:
        y: labels of this shape, from 0 to ``classes - 1``.
        shape: what is expected.
        name: of the argument, for errors.
        classes: None: any number.
        device: None: where they are.

    Raises:
        ValueError: another shape or type, or other labels.
    """
    y = torch.as_tensor(y, device=device)
    if tuple(y.shape) != tuple(shape) or y.is_floating_point():
        raise ValueError(f"{name} is {y.dtype} of shape {list(y.shape)}, expected whole numbers {list(shape)}")
    if y.min() < 0 or (classes is not None and y.max() >= classes):
        raise ValueError(
            f"{name} has labels from {int(y.min())} to {int(y.max())}; expected 0 "
            + ("or more" if classes is None else f"to {classes - 1}, as this learner has {classes} classes")
        )
    return y.long()


class VectorEncoder(nn.Module):
    """One hidden layer and layer norm.

    Args:
        inputs: width of the vectors.
        size: width of the embeddings.
    """

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.net = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, size), nn.LayerNorm(size))

    def forward(self, x: Tensor, support: int | None = None) -> Tensor:
        """``[B, N, inputs]`` to ``[B, N, size]``, each vector on its own; ``support`` changes nothing."""
        return self.net(x.to(next(self.parameters())))


def _encoder(shape: tuple[int, ...], options: EncoderOptions) -> VectorEncoder | ImageEncoder:
    if not shape or min(shape) < 1 or len(shape) > 3:
        raise ValueError(
            f"observation is {shape}, expected the shape of one example: (D,), (H, W), (H, W, C) or (C, H, W)"
        )
    if len(shape) == 1:
        return VectorEncoder(shape[0], options.embedding_size or HIDDEN)
    return ImageEncoder(shape, options)

"""Images of few-shot learning to vectors: four strided convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCKS = 4
GROUP = 8
"""Channels that are normalised together, where they divide the width."""


class ImageEncoder(nn.Module):
    """Four blocks of a 3 by 3 convolution of stride 2, a norm and ReLU, then a linear map to a normalised vector.

    The net of Vinyals et al. 2016 (section 4.1) with strides for pooling, as Finn et al. 2017 (section 5.2) have it for
    Omniglot; both have 64 channels. The norm is over groups of channels of one image (Wu & He 2018) where theirs is
    over the batch: statistics of a batch let queries see each other and the support, and running ones, which mix
    training tasks, fit no single episode.

    Args:
        shape: of one image: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``, channels being the shorter of the last two
            cases' outer axes.
        size: of the vector.
        width: channels of every convolution.

    Raises:
        ValueError: another number of axes.
    """

    def __init__(self, shape: tuple[int, ...], size: int = 64, width: int = 32) -> None:
        super().__init__()
        if len(shape) not in (2, 3):
            raise ValueError(f"an image of shape {list(shape)} was given; expected [H, W], [H, W, C] or [C, H, W]")
        self.shape, self.size = shape, size
        self.channels_last = len(shape) == 3 and shape[0] >= shape[2]
        channels, height, width_now = (
            (1, *shape) if len(shape) == 2 else (shape[2], *shape[:2]) if self.channels_last else shape
        )
        groups = width // GROUP if width % GROUP == 0 else 1
        self.net = nn.Sequential()
        for _ in range(BLOCKS):
            convolution = nn.Conv2d(channels, width, 3, stride=2, padding=1)
            self.net.extend([convolution, nn.GroupNorm(groups, width), nn.ReLU()])
            channels, height, width_now = width, (height + 1) // 2, (width_now + 1) // 2
        self.net.extend([nn.Flatten(), nn.Linear(channels * height * width_now, size), nn.LayerNorm(size)])

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[..., *shape]``, bytes or numbers from 0 to 1, to ``[..., size]``."""
        leading = images.shape[: images.dim() - len(self.shape)]
        flat = images.reshape(-1, *self.shape)
        flat = flat[:, None] if len(self.shape) == 2 else flat.permute(0, 3, 1, 2) if self.channels_last else flat
        model = next(self.parameters())
        flat = flat.to(model) / 255 if images.dtype == torch.uint8 else flat.to(model)
        return self.net(flat).reshape(*leading, self.size)

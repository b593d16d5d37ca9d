"""Images of few-shot learning to vectors: convolutional nets, and what their norms take statistics from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = 4
GROUP = 8
"""Channels that are normalised together by ``group``, where they divide the width."""
LARGER = 1.12
"""How much larger and smaller images are in views."""
TURNED = 8.6
"""By how many degrees images are turned in views."""
Net = Literal["strided", "pooled", "residual", "flat"]
Norm = Literal["group", "batch", "running"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class EncoderOptions:
    """How examples become vectors; for examples that are vectors only ``embedding_size`` counts."""

    net: Net = "strided"
    """Four blocks that halve the sides: 3 by 3 convolutions of stride 2 (Finn et al. 2017, section 5.2), or of stride 1
    before max-pooling (Vinyals et al. 2016, section 4.1); or one of these of half the width and three residual blocks,
    the second twice and the third four times as wide as the first; or no net at all: the pixels, one by one."""
    width: Annotated[int, Ge(2)] = 64
    """Channels of the blocks; of ``residual``, of the first residual one."""
    norm: Norm = "group"
    """Statistics over groups of channels of one image (Wu & He 2018); over the support of its episode, by which its
    queries are normalised as well; or over the whole batch in training and, afterwards, their running averages."""
    embedding_size: Annotated[int, Ge(0)] = 64
    """Width of the vectors, by a last linear map and layer norm; 0: the last features as they are."""
    average: bool = False
    """Whether the last features are averaged over their places, so that vectors hold what is there and not where."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the last features that are dropped in training."""
    views: bool = False
    """Whether vectors are means over views of an image, outside training: the image, larger, smaller, turned left and
    right (:data:`LARGER` and :data:`TURNED`)."""
    precision: Precision = "float32"
    """Of convolutions; with ``bfloat16`` they are up to twice as fast on processors that compute in it. Parameters and
    vectors stay as they are."""


class ImageEncoder(nn.Module):
    """A convolutional net from images to vectors.

    Args:
        shape: of one image: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``, channels being the shorter of the last two
            cases' outer axes.
        options: which net.

    Raises:
        ValueError: another number of axes.
    """

    def __init__(self, shape: tuple[int, ...], options: EncoderOptions | None = None) -> None:
        super().__init__()
        if len(shape) not in (2, 3):
            raise ValueError(f"an image of shape {list(shape)} was given; expected [H, W], [H, W, C] or [C, H, W]")
        self.options = options = options or EncoderOptions()
        self.shape = shape
        self.channels_last = len(shape) == 3 and shape[0] >= shape[2]
        channels, height, width = (
            (1, *shape) if len(shape) == 2 else (shape[2], *shape[:2]) if self.channels_last else shape
        )
        self.reduced = options.precision == "bfloat16"
        self.blocks = nn.ModuleList()
        for number in range(0 if options.net == "flat" else BLOCKS):
            pooled = options.net == "strided" or min(height, width) > 1  # nothing is left to pool of one pixel
            wide = options.width
            if options.net == "residual" and number > 0:
                wide *= (1, 1, 2, 4)[number]
                pooled = pooled and number < BLOCKS - 1
                block: nn.Module = ResidualBlock(channels, wide, options.norm, pooled)
            else:
                wide //= 2 if options.net == "residual" else 1
                block = ConvolutionBlock(channels, wide, options.norm, options.net == "strided", pooled)
            self.blocks.append(block)
            channels = wide
            if options.net == "strided":
                height, width = (height + 1) // 2, (width + 1) // 2
            elif pooled:
                height, width = max(height // 2, 1), max(width // 2, 1)
        features = channels if options.average else channels * height * width
        self.size = options.embedding_size or features
        pool = [nn.AdaptiveAvgPool2d(1)] if options.average else []
        self.tail = nn.Sequential(*pool, nn.Flatten(), nn.Dropout(options.dropout))
        if options.embedding_size:
            self.tail.extend([nn.Linear(features, self.size), nn.LayerNorm(self.size)])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs

    def forward(self, images: Tensor, support: int | None = None) -> Tensor:
        """Images of episodes ``[B, N, *shape]``, bytes or numbers from 0 to 1, to ``[B, N, size]``.

        ``support``: the norm ``batch`` takes the statistics of each episode from its first so many images; None: from
        all ``N``.
        """
        episodes, count = images.shape[:2]
        flat = images.reshape(-1, *self.shape)
        flat = flat[:, None] if len(self.shape) == 2 else flat.permute(0, 3, 1, 2) if self.channels_last else flat
        x = flat.float() / 255 if images.dtype == torch.uint8 else flat.float()
        if not self.options.views or self.training:
            return self._embedded(x, episodes, support or count)
        each = [self._embedded(x, episodes, support or count)]
        each += [self._embedded(moved(x, *view), episodes, support or count) for view in VIEWS]
        return torch.stack(each).mean(0)

    def _embedded(self, x: Tensor, episodes: int, support: int) -> Tensor:
        """``[B * N, C, H, W]`` to ``[B, N, size]``."""
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.reduced):
            for block in self.blocks:
                x = block(x, episodes, support)
        return self.tail(x.float()).reshape(episodes, -1, self.size)


class ConvolutionBlock(nn.Module):
    """A 3 by 3 convolution, a norm and ReLU; halves the sides by its stride or by max-pooling."""

    def __init__(self, channels: int, width: int, norm: Norm, strided: bool, pooled: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, stride=2 if strided else 1, padding=1)
        self.norm = _norm(norm, width)
        self.pooled = pooled and not strided

    def forward(self, x: Tensor, episodes: int, support: int) -> Tensor:
        """``[B * N, C, H, W]`` to the halved ``[B * N, width, ...]``."""
        return _halved(_normed(self.norm, self.convolution(x), episodes, support), self.pooled)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016), then max-pooling where the sides are to be halved."""

    def __init__(self, channels: int, width: int, norm: Norm, pooled: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([_norm(norm, width), _norm(norm, width)])
        self.shortcut = nn.Conv2d(channels, width, 1, bias=False) if channels != width else None
        if self.shortcut is not None:
            self.norms.append(_norm(norm, width))
        self.pooled = pooled

    def forward(self, x: Tensor, episodes: int, support: int) -> Tensor:
        """``[B * N, C, H, W]`` to ``[B * N, width, ...]``."""
        y = F.relu(_normed(self.norms[0], self.first(x), episodes, support))
        y = _normed(self.norms[1], self.second(y), episodes, support)
        short = x if self.shortcut is None else _normed(self.norms[2], self.shortcut(x), episodes, support)
        return _halved(y + short, self.pooled)


class EpisodeNorm(nn.Module):
    """Batch norm (Ioffe & Szegedy 2015) whose batch is the support of one episode, also for what is not of it.

    It keeps no running statistics: nothing of one episode is left for the next.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, episodes: int, support: int) -> Tensor:
        """``[B * N, C, H, W]``, normalised by the first ``support`` images of each of the ``B`` episodes."""
        each = x.unflatten(0, (episodes, -1))
        variance, mean = torch.var_mean(each[:, :support].float(), (1, 3, 4), correction=0, keepdim=True)
        scale = self.weight[:, None, None] * torch.rsqrt(variance + 1e-5)
        return torch.addcmul((self.bias[:, None, None] - mean * scale).to(x), each, scale.to(x)).flatten(0, 1)


VIEWS = ((LARGER, 0.0), (1 / LARGER, 0.0), (1.0, TURNED), (1.0, -TURNED))
"""Sizes and degrees of the views that are not the image itself."""


def moved(x: Tensor, scale: float, degrees: float) -> Tensor:
    """Images ``[N, C, H, W]`` made larger and turned around their middle; zeros come in from outside."""
    cos, sin = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    ratio = x.shape[2] / x.shape[3]  # coordinates go from -1 to 1 along either side
    back = torch.tensor([[cos, sin * ratio, 0.0], [-sin / ratio, cos, 0.0]], device=x.device)
    grid = F.affine_grid(back.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def _halved(x: Tensor, pooled: bool) -> Tensor:
    """ReLU, then max-pooling where the sides are to be halved; the other way round, which is the same and faster."""
    return F.relu(F.max_pool2d(x, 2) if pooled else x)


def _norm(kind: Norm, width: int) -> nn.Module:
    if kind == "group":
        return nn.GroupNorm(width // GROUP if width % GROUP == 0 else 1, width)
    return EpisodeNorm(width) if kind == "batch" else nn.BatchNorm2d(width)


def _normed(norm: nn.Module, x: Tensor, episodes: int, support: int) -> Tensor:
    normed: Tensor = norm(x, episodes, support) if isinstance(norm, EpisodeNorm) else norm(x)
    return normed

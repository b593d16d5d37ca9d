"""The options of encoders, and convolutional nets from the images of few-shot examples to vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.config import InputError
from metarl.nets.precision import Precision, in_bfloat16

BLOCKS = 4
GROUP = 8  # channels that are normalised together by ``group``, where they divide the width
Views = bool | Literal["many"]
VIEWS: Mapping[Views, tuple[tuple[float, float], ...]] = {
    False: (),
    True: ((1.12, 0.0), (1 / 1.12, 0.0), (1.0, 8.6), (1.0, -8.6)),
    "many": tuple(view for view in product((1.0, 1.12, 1 / 1.12, 1.25, 1 / 1.25), (0.0, 8.6, -8.6)) if view != (1, 0)),
}
"""Scale and rotation in degrees of the views that are not the image itself, by the option ``views``."""
Net = Literal["strided", "pooled", "residual", "flat", "table"]
Norm = Literal["group", "batch", "running"]


@dataclass(frozen=True)
class EncoderOptions:
    """How examples become vectors; vectors as examples only use ``embedding_size``, and rows of tables also ``width``.

    Args:
        net: four blocks that halve the sides: 3 by 3 convolutions of stride 2 (``strided``, Finn et al. 2017, section
            5.2), or of stride 1 before max-pooling (``pooled``, Vinyals et al. 2016, section 4.1); or one of these of
            half the width and three residual blocks, the second twice and the third four times as wide as the first
            (``residual``); or no net: the pixels as they are (``flat``). For rows of tables with missing values, whose
            columns mean something else in each episode: a set encoder over their cells (``table``).
        width: channels of the blocks; for ``residual``, of the first residual one; of ``table``, of hidden layers.
        norm: statistics over groups of channels of one image (``group``, Wu & He 2018); over the support of the image's
            episode (``batch``); or over the whole batch in training, and their running averages afterwards
            (``running``).
        embedding_size: width of the vectors, after a last linear map and layer norm; 0: the last features as they are.
            For ``table``, that of the vector of each class.
        average: whether the last features are averaged over their positions.
        dropout: share of the last features that are dropped in training.
        views: whether, outside training, vectors are means over five views of an image: itself, larger, smaller,
            rotated left and right; ``many``: over fifteen, five sizes in three rotations each (:data:`VIEWS`).
        precision: of convolutions; ``bfloat16`` is up to twice as fast on processors that compute in it, and
            ``float32`` on others. Parameters and vectors keep their type.
    """

    net: Net = "strided"
    width: Annotated[int, Ge(2)] = 64
    norm: Norm = "group"
    embedding_size: Annotated[int, Ge(0)] = 64
    average: bool = False
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    views: Views = False
    precision: Precision = "float32"


def image_axes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of an image: of three axes, the shorter one of the first and the last is channels.

    Raises:
        InputError: another number of axes, or an axis of no size.
    """
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise InputError(key="the shape of an image", given=list(shape), expected="[H, W], [H, W, C] or [C, H, W]")
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    first, middle, last = shape
    return (first, middle, last) if first < last else (last, first, middle)


def channels_first(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images ``[..., *shape]`` as ``[N, C, H, W]``; see :func:`image_axes`."""
    flat = images.reshape(-1, *shape)
    if len(shape) == 2:
        return flat[:, None]
    return flat if shape[0] < shape[2] else flat.permute(0, 3, 1, 2)


class ImageEncoder(nn.Module):
    """A convolutional net from images to vectors.

    Args:
        shape: of one image: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``; of three axes, the shorter one of the first and
            the last is that of channels.
        options: which net.

    Raises:
        ValueError: another number of axes.
    """

    def __init__(self, shape: tuple[int, ...], options: EncoderOptions | None = None) -> None:
        super().__init__()
        self.options = options = options or EncoderOptions()
        self.shape = shape
        channels, *sides = image_axes(shape)
        self.reduced = options.precision == "bfloat16"
        self.blocks = nn.ModuleList()
        strided, residual, width = options.net == "strided", options.net == "residual", options.width
        widths = (width // 2, width, 2 * width, 4 * width) if residual else (width,) * BLOCKS
        for number, wide in enumerate(() if options.net == "flat" else widths):
            pooled = not strided and min(sides) > 1  # one pixel can't be pooled
            if residual and number > 0:
                pooled = pooled and number < BLOCKS - 1
                self.blocks.append(ResidualBlock(channels, wide, options.norm, pooled))
            else:
                self.blocks.append(ConvolutionBlock(channels, wide, options.norm, strided, pooled))
            channels = wide
            if strided or pooled:
                sides = [(side + 1) // 2 if strided else side // 2 for side in sides]
        features = channels if options.average else channels * math.prod(sides)
        self.size = options.embedding_size or features
        pool = [nn.AdaptiveAvgPool2d(1)] if options.average else []
        self.tail = nn.Sequential(*pool, nn.Flatten(), nn.Dropout(options.dropout))
        if options.embedding_size:
            self.tail.extend([nn.Linear(features, self.size), nn.LayerNorm(self.size)])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs

    def forward(self, images: Tensor, support: int | None = None) -> Tensor:
        """Embed the images of episodes.

        Args:
            images: ``[B, N, *shape]``, bytes or numbers from 0 to 1.
            support: the norm ``batch`` takes the statistics of each episode from its first ``support`` images; None:
                from all ``N``.

        Returns:
            ``[B, N, size]``
        """
        episodes, count = images.shape[:2]
        x = self._pixels(images)
        views = () if self.training else VIEWS[self.options.views]
        vectors = self._embedded(x, episodes, support or count)
        for view in views:
            vectors = vectors + self._embedded(affine(x, *view), episodes, support or count)
        return vectors / (1 + len(views))

    def channel_means(self, images: Tensor) -> Tensor:
        """The mean of each channel after each block, for each image alone; views and embeddings play no part.

        Args:
            images: ``[N, *shape]``, bytes or numbers from 0 to 1.

        Returns:
            ``[N, M]``, block after block.
        """
        x, means = self._pixels(images).contiguous(memory_format=torch.channels_last), []
        with torch.autocast(x.device.type, torch.bfloat16, enabled=in_bfloat16(self.reduced, x.device)):
            for block in self.blocks:
                x = block(x, len(images), 1)
                means.append(x.float().mean((2, 3)))
        return torch.cat(means, 1)

    def _pixels(self, images: Tensor) -> Tensor:
        """``[..., *shape]`` as numbers from 0 to 1 ``[N, C, H, W]`` of the type of the parameters."""
        x = channels_first(images, self.shape).float()
        x = x / 255 if images.dtype == torch.uint8 else x
        return x.to(next((parameter.dtype for parameter in self.parameters()), x.dtype))

    def _embedded(self, x: Tensor, episodes: int, support: int) -> Tensor:
        """``[B * N, C, H, W]`` to ``[B, N, size]``."""
        x, dtype = x.contiguous(memory_format=torch.channels_last), x.dtype
        with torch.autocast(x.device.type, torch.bfloat16, enabled=in_bfloat16(self.reduced, x.device)):
            for block in self.blocks:
                x = block(x, episodes, support)
        return self.tail(x.to(dtype)).reshape(episodes, -1, self.size)


class ConvolutionBlock(nn.Module):
    """A 3 by 3 convolution, a norm and ReLU; halves the sides by its stride or by max-pooling."""

    def __init__(self, channels: int, width: int, norm: Norm, strided: bool, pooled: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, stride=2 if strided else 1, padding=1)
        self.norm = _norm(norm, width)
        self.pooled = pooled

    def forward(self, x: Tensor, episodes: int, support: int) -> Tensor:
        """Apply the block.

        Args:
            x: ``[B * N, C, H, W]``
            episodes: ``B``
            support: see :meth:`ImageEncoder.forward`.

        Returns:
            ``[B * N, width, ...]``, the sides halved.
        """
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
        """See :meth:`ConvolutionBlock.forward`; the sides are halved if ``pooled``."""
        y = F.relu(_normed(self.norms[0], self.first(x), episodes, support))
        y = _normed(self.norms[1], self.second(y), episodes, support)
        short = x if self.shortcut is None else _normed(self.norms[2], self.shortcut(x), episodes, support)
        return _halved(y + short, self.pooled)


class EpisodeNorm(nn.Module):
    """Batch norm (Ioffe & Szegedy 2015) of each episode by the statistics of its support; queries use them as well.

    It keeps no running statistics.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, episodes: int, support: int) -> Tensor:
        """Normalise each episode by its support.

        Args:
            x: ``[B * N, C, H, W]``
            episodes: ``B``
            support: the first ``support`` images of each episode give the statistics.

        Returns:
            ``[B * N, C, H, W]``
        """
        each = x.unflatten(0, (episodes, -1))
        variance, mean = torch.var_mean(each[:, :support].float(), (1, 3, 4), correction=0, keepdim=True)
        scale = self.weight[:, None, None] * torch.rsqrt(variance + 1e-5)
        return torch.addcmul((self.bias[:, None, None] - mean * scale).to(x), each, scale.to(x)).flatten(0, 1)


def affine(x: Tensor, scale: float, degrees: float) -> Tensor:
    """Scale and rotate images about their middle; zeros come in from outside.

    Args:
        x: ``[N, C, H, W]``
        scale: above 1 enlarges.
        degrees: of the rotation, clockwise.

    Returns:
        ``[N, C, H, W]``, interpolated bilinearly.
    """
    cos, sin = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    ratio = x.shape[2] / x.shape[3]  # coordinates go from -1 to 1 along either side
    back = torch.tensor([[cos, sin * ratio, 0.0], [-sin / ratio, cos, 0.0]], dtype=x.dtype, device=x.device)
    grid = F.affine_grid(back.expand(x.shape[0], 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def _halved(x: Tensor, pooled: bool) -> Tensor:
    """ReLU and, if ``pooled``, max-pooling, in the order that is faster (the result is the same)."""
    return F.relu(F.max_pool2d(x, 2) if pooled else x)


def _norm(kind: Norm, width: int) -> nn.Module:
    if kind == "group":
        return nn.GroupNorm(width // GROUP if width % GROUP == 0 else 1, width)
    return EpisodeNorm(width) if kind == "batch" else nn.BatchNorm2d(width)


def _normed(norm: nn.Module, x: Tensor, episodes: int, support: int) -> Tensor:
    normed: Tensor = norm(x, episodes, support) if isinstance(norm, EpisodeNorm) else norm(x)
    return normed

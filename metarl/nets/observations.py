"""What is seen as vectors: pictures, symbols, and numbers of any size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from metarl import parallel
from metarl.config import InputError
from metarl.types import Array

WIDTHS = (16, 32)  # channels of the first convolution, and of all later ones
SIDE = 4  # pictures are halved until no side is longer
SIZE = 64  # of the vectors that pictures and symbols become
CELL, CHARACTER = 16, 8  # features of a symbol, in a picture and in a row
CLIP = 10.0  # standard deviations at which normalised numbers are cut


class PictureEncoder(nn.Module):
    """Halves a picture by convolutions until it is at most 4 by 4, then maps it to a vector of unit variance.

    Args:
        shape: of one picture, ``[H, W, C]``.
        low: the least value of a pixel.
        high: the largest one; pixels are scaled to 0 to 1.
        size: of the vector.
    """

    def __init__(self, shape: tuple[int, ...], low: float = 0.0, high: float = 255.0, size: int = SIZE) -> None:
        super().__init__()
        self.shape, self.low, self.reach, self.size = shape, low, high - low, size
        height, width, channels = shape
        self.net = _halving(channels, height, width, size)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures ``[..., H, W, C]``, with any leading axes, to ``[..., size]``."""
        x = pictures.reshape(-1, *self.shape).permute(0, 3, 1, 2).float()
        x = (x - self.low if self.low else x) / self.reach
        return self.net(x).reshape(*pictures.shape[:-3], self.size)


class SymbolEncoder(nn.Module):
    """Looks symbols up in a table that is learned, and maps all of them to a vector.

    In a picture of symbols a cell adds up what its channels say. One half of the vector tells what is there, the
    largest of each feature over all cells; the other half where it is, through convolutions as of other pictures. A row
    of symbols (the characters of a text) goes through a linear map.

    Args:
        counts: the number of symbols at each place, ``[L]`` or ``[H, W, C]``; all cells share the table of a channel,
            all places of a row one table.
        size: of the vector.
    """

    offset: Tensor

    def __init__(self, counts: Array, size: int = SIZE) -> None:
        super().__init__()
        self.shape, self.size = counts.shape, size
        self.grid = counts.ndim == 3
        each = counts.max((0, 1)) if self.grid else counts.max(keepdims=True)
        self.register_buffer("offset", torch.as_tensor(np.cumsum(each) - each), persistent=False)
        if self.grid:
            height, width, _ = counts.shape
            self.table = nn.Embedding(int(each.sum()), CELL)
            self.what = nn.Sequential(nn.Conv2d(CELL, WIDTHS[1], 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1))
            self.what.extend([nn.Flatten(), nn.Linear(WIDTHS[1], size // 2), nn.LayerNorm(size // 2)])
            self.where = _halving(CELL, height, width, size - size // 2)
            # What is there is known sooner than where, which is mostly noise at first.
            nn.init.constant_(self.where[-1].weight, 0.3)  # type: ignore[arg-type]  # that of the layer norm
        else:
            self.table = nn.Embedding(int(each.sum()), CHARACTER)
            self.row = nn.Sequential(nn.Flatten(), nn.Linear(len(counts) * CHARACTER, size), nn.LayerNorm(size))

    def forward(self, symbols: Tensor) -> Tensor:
        """Whole numbers from 0, ``[..., L]`` or ``[..., H, W, C]``, to ``[..., size]``."""
        x = self.table(symbols.reshape(-1, *self.shape).long() + self.offset)
        if self.grid:
            x = x.sum(-2).permute(0, 3, 1, 2)
            x = torch.cat([self.what(x), self.where(x)], -1)
        else:
            x = self.row(x)
        return x.reshape(*symbols.shape[: -len(self.shape)], self.size)


def _halving(channels: int, height: int, width: int, size: int) -> nn.Sequential:
    """Convolutions of stride 2, and a linear map to ``size`` numbers of unit variance."""
    net = nn.Sequential()
    while max(height, width) > SIDE:
        out = WIDTHS[min(len(net) // 2, len(WIDTHS) - 1)]
        net.extend([nn.Conv2d(channels, out, kernel_size=3, stride=2, padding=1), nn.ReLU()])
        channels, height, width = out, (height + 1) // 2, (width + 1) // 2
    net.extend([nn.Flatten(), nn.Linear(channels * height * width, size), nn.LayerNorm(size)])
    return net


class RunningNorm(nn.Module):
    """Scales numbers to mean 0 and variance 1 by what :meth:`learn` has seen, and cuts them at 10.

    Args:
        size: of the vectors.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def learn(self, x: Tensor) -> None:
        """Take ``x`` ``[n, size]``, and those of other processes, into mean and variance (Chan et al. 1979)."""
        count, mean, var = parallel.moments(x)
        total = self.count + count
        moved, share = mean - self.mean, count / total
        self.var += share * (var - self.var) + (1 - share) * share * moved.square()
        self.mean += share * moved
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers ``[..., size]``, scaled."""
        scaled = (x - self.mean) * torch.rsqrt(self.var + 1e-8)
        return scaled.clamp(-CLIP, CLIP).to(x.dtype if x.is_floating_point() else torch.float32)


def checked_output(encoder: nn.Module, example: object) -> int:
    """The size of the vectors that an encoder of the user's own makes of ``example``, a batch of two.

    Raises:
        InputError: it doesn't make vectors.
    """
    training = encoder.training
    with torch.no_grad():
        out = encoder.train(False)(example)
    encoder.train(training)
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != 2:
        given = f"{tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise InputError(key="what the encoder makes of 2 observations", given=given, expected="a tensor [2, size]")
    return int(out.shape[1])

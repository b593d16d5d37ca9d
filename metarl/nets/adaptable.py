"""A convolutional net as a function of its parameters, which may be those of many tasks side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from metarl.nets.images import BLOCKS, channels_first, image_axes
from metarl.nets.precision import Precision, in_bfloat16

Params = Mapping[str, Tensor]
EPSILON = 1e-5  # added to variances, as batch norm does
BODY, HEAD = ("convolution", "scale", "shift"), ("weight", "bias")


class AdaptableNet(nn.Module):
    """Four strided convolutions and a linear head (Finn et al. 2017, section 5.2), for inner loops of gradient descent.

    Each block is a 3 by 3 convolution of stride 2, batch norm and ReLU; the last features are flattened. The module
    owns the meta-learned parameters; :meth:`forward` is given the parameters to use, ``[...]`` shared by all tasks or
    ``[T, ...]`` with one set for each. Convolutions are products of patches and ``[9 * channels, width]`` matrices, so
    that all tasks are one batched product, and everything can be differentiated twice.

    Batch norm (Ioffe & Szegedy 2015) takes the statistics of each task from its own images, and keeps none.

    Args:
        shape: of one image: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``; of three axes, the shorter one of the first and
            the last is that of channels.
        outputs: width of the head's output.
        width: channels of each block.
        precision: of convolutions and their outputs; parameters, statistics and the head keep their type.

    Raises:
        ValueError: another number of axes.
    """

    def __init__(
        self, shape: tuple[int, ...], outputs: int, *, width: int = 64, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        channels, *sides = image_axes(shape)
        self.shape, self.width = tuple(shape), width
        self.reduced = precision == "bfloat16"
        for block in range(BLOCKS):
            kernel = torch.randn(9 * channels, width) * math.sqrt(2 / (9 * channels))
            for name, value in zip(BODY, (kernel, torch.ones(width), torch.zeros(width)), strict=True):
                self.register_parameter(f"{name}{block}", nn.Parameter(value))
            channels, sides = width, [(side + 1) // 2 for side in sides]
        self.size = width * math.prod(sides)
        self.weight = nn.Parameter(torch.randn(self.size, outputs) / math.sqrt(self.size))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def params(self) -> dict[str, Tensor]:
        """The parameters ``[...]`` by name, shared by all tasks."""
        return dict(self.named_parameters())

    def forward(self, params: Params, images: Tensor, support: int | None = None) -> Tensor:
        """Apply the net with the given parameters.

        Args:
            params: by name as in :meth:`params`, ``[...]`` or ``[T, ...]``.
            images: ``[T, n, *shape]``, numbers from 0 to 1.
            support: batch norm takes the statistics of each task from its first ``support`` images; None: from all.

        Returns:
            ``[T, n, outputs]``
        """
        return head(params, self.features(params, images, support))

    def features(self, params: Params, images: Tensor, support: int | None = None) -> Tensor:
        """See :meth:`forward`: the input of the head, ``[T, n, size]``."""
        tasks, count = images.shape[:2]
        seen = count if support is None else support
        dtype = params["weight"].dtype
        x = channels_first(images, self.shape).permute(0, 2, 3, 1)
        for block in range(BLOCKS):
            patches: Tensor = Patches.apply(x)
            sides = patches.shape[1:3]
            patches = patches.reshape(tasks, count * sides.numel(), -1)
            kernel, scale, shift = (params[f"{name}{block}"] for name in BODY)
            run = self._first if block == 0 else self._block
            x = run(patches, kernel, scale[..., None, :], shift[..., None, :], seen * sides.numel())
            x = x.view(tasks * count, *sides, self.width)
        return x.reshape(tasks, count, -1).to(dtype)

    def _block(self, patches: Tensor, kernel: Tensor, scale: Tensor, shift: Tensor, seen: int) -> Tensor:
        """Patches ``[T, P, 9 C]`` to ``[T, P, width]``, normalised by the first ``seen`` of them."""
        y = patches @ self._cast(kernel)
        variance, mean = torch.var_mean(y[:, :seen].to(kernel), -2, correction=0, keepdim=True)
        scale = scale * torch.rsqrt(variance + EPSILON)
        return torch.addcmul(self._cast(shift - mean * scale), y, self._cast(scale)).relu()

    def _first(self, patches: Tensor, kernel: Tensor, scale: Tensor, shift: Tensor, seen: int) -> Tensor:
        """As :meth:`_block`, but faster for narrow patches.

        The statistics of a linear map follow from those of its inputs, so the norm is merged into kernel and shift.
        """
        mean = patches[:, :seen].mean(-2, keepdim=True)
        centred = patches[:, :seen] - mean
        variance = ((centred.mT @ centred / seen @ kernel) * kernel).sum(-2, keepdim=True)
        kernel = kernel * scale * torch.rsqrt(variance + EPSILON)
        return torch.baddbmm(self._cast(shift - mean @ kernel), self._cast(patches), self._cast(kernel)).relu()

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(torch.bfloat16) if in_bfloat16(self.reduced, x.device) else x


def head(params: Params, features: Tensor) -> Tensor:
    """Features ``[T, n, size]`` to outputs ``[T, n, outputs]``, by ``weight`` and ``bias`` of all tasks or of each."""
    return features @ params["weight"] + params["bias"][..., None, :]


class Patches(Function):
    """The 3 by 3 patches of a convolution of stride 2, the border being zero: ``[n, H, W, C]`` to ``[n, h, w, 9, C]``.

    It and its transpose are each other's gradient, so that it can be differentiated any number of times; torch's own
    operations for it are slower on CPUs.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """``x`` ``[n, H, W, C]``; ``h`` and ``w`` are half of ``H`` and ``W``, rounded up."""
        ctx.sides = x.shape[1:3]
        windows = nn.functional.pad(x, (0, 0, 1, 1, 1, 1)).unfold(1, 3, 2).unfold(2, 3, 2)  # [n, h, w, C, 3, 3]
        return windows.permute(0, 1, 2, 4, 5, 3).flatten(3, 4)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Each patch's gradient, added where the patch came from."""
        return Overlaid.apply(*gradients, *ctx.sides)


class Overlaid(Function):
    """The transpose of :class:`Patches`: ``[n, h, w, 9, C]`` to ``[n, H, W, C]``, the sum where patches overlap."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, height: int, width: int) -> Tensor:
        """Add up patches.

        Args:
            ctx: of autograd.
            patches: ``[n, h, w, 9, C]``
            height: ``H``
            width: ``W``
        """
        n, h, w, _, channels = patches.shape
        image = patches.new_empty(n, height, width, channels)
        for row in (1, 2, 0):
            for column in (1, 2, 0):
                (down, i), (across, j) = _lines(row, height, h), _lines(column, width, w)
                part, target = patches[:, i, j, 3 * row + column], image[:, down, across]
                if row and column:  # the first to reach these positions
                    target.copy_(part)
                else:
                    target += part
        return image

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Its transpose again."""
        return Patches.apply(*gradients), None, None


def _lines(tap: int, side: int, count: int) -> tuple[slice, slice]:
    """The rows (or columns) of an image of ``side`` that row ``tap`` of ``count`` patches covers, and those patches."""
    if tap == 1:
        return slice(0, None, 2), slice(None)
    if tap == 2:
        return slice(1, None, 2), slice(side - count)
    return slice(1, 2 * count - 2, 2), slice(1, None)

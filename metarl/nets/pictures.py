"""Pictures to vectors: a small convolutional network."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (16, 32)
"""Channels of the first convolution, and of all later ones."""
SMALLEST = 4
"""Pictures are halved until no side is longer."""


class PictureEncoder(nn.Module):
    """Halves a picture by convolutions until it is at most 4 by 4, then maps it to a vector of unit variance.

    Channels may be last, as in Gymnasium, or first, as Stable-Baselines3 may have put them: the shorter of the first
    and the last axis is taken for them.

    Args:
        shape: of one picture, ``[H, W, C]`` or ``[C, H, W]``.
        size: of the vector.
    """

    def __init__(self, shape: tuple[int, ...], size: int = 64) -> None:
        super().__init__()
        self.shape, self.size = shape, size
        self.channels_first = shape[0] < shape[2]
        channels, height, width = shape if self.channels_first else (shape[2], shape[0], shape[1])
        self.net = nn.Sequential()
        while max(height, width) > SMALLEST:
            out = WIDTHS[min(len(self.net) // 2, len(WIDTHS) - 1)]
            self.net.extend([nn.Conv2d(channels, out, kernel_size=3, stride=2, padding=1), nn.ReLU()])
            channels, height, width = out, (height + 1) // 2, (width + 1) // 2
        self.net.extend([nn.Flatten(), nn.Linear(channels * height * width, size), nn.LayerNorm(size)])

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures ``[..., *shape]`` of 0 to 255, whichever the leading axes, to ``[..., size]``."""
        leading = pictures.shape[:-3]
        flat = pictures.reshape(-1, *self.shape)
        if not self.channels_first:
            flat = flat.permute(0, 3, 1, 2)
        return self.net(flat.float() / 255).reshape(*leading, self.size)

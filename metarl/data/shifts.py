"""Other domains: what happens to every image alike, so that it no longer looks like those of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from metarl.config import InputError, check_bounds
from metarl.data.distort import warp
from metarl.data.pool import Pool
from metarl.types import Array, Bytes

INK = 255


@dataclass(frozen=True)
class Shift:
    """A shift of domain: strokes grow, images are rotated, noise is added, ink and paper change places, in this order.

    The defaults leave images as they are.

    Args:
        rotation: degrees, clockwise; what leaves the image is cut off, and paper comes in.
        growth: pixels by which strokes grow on each side, or shrink if negative (grey dilation and erosion by squares).
        noise: standard deviation of normal noise that each pixel gets, as a share of full ink.
        inverted: whether ink becomes paper and paper ink.

    Raises:
        ConfigError: a number out of its bounds or not finite.
    """

    rotation: Annotated[float, Ge(-360), Le(360)] = 0.0
    growth: Annotated[int, Ge(-8), Le(8)] = 0
    noise: Annotated[float, Ge(0)] = 0.0
    inverted: bool = False

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Bytes:
        """Images of the other domain.

        Args:
            images: ``[n, H, W]`` uint8, 0 is paper.
            rng: of the noise; needed for nothing else.

        Returns:
            ``[n, H, W]`` uint8

        Raises:
            InputError: other images, or noise without ``rng``.
        """
        if images.ndim != 3 or images.dtype != np.uint8:
            problem = f"images are {images.dtype} of shape {images.shape}"
            raise InputError(problem, key="images", expected="uint8 [n, H, W]")
        if self.noise and rng is None:
            raise InputError(key="rng", expected="a generator of random numbers, which noise is drawn from")
        x: Bytes = images.astype(np.uint8, copy=False)
        if self.growth:
            x = grown(x, self.growth)
        if self.rotation:
            turn = np.deg2rad(self.rotation)
            cos, sin = np.cos(turn), np.sin(turn)
            x = warp(x, np.tile([[cos, -sin, 0.0], [sin, cos, 0.0]], (len(x), 1, 1)))
        if self.noise and rng is not None:
            noise = rng.standard_normal(x.shape, np.float32)
            x = np.rint(np.clip(x + INK * self.noise * noise, 0, INK)).astype(np.uint8)
        return INK - x if self.inverted else x

    def undo(self, images: Array) -> Bytes:
        """Lead images ``[n, H, W]`` back, as far as that goes: what was cut off stays lost, and noise stays."""
        x = Shift(rotation=-self.rotation)(Shift(inverted=self.inverted)(images))
        return grown(x, -self.growth) if self.growth else x


def shifted(pool: Pool, shift: Shift, rng: np.random.Generator | None = None) -> Pool:
    """The same classes in another domain; the same random numbers draw the same examples.

    Args:
        pool: of images ``[H, W]``.
        shift: what happens to them.
        rng: of the noise, drawn once for each image.

    Raises:
        InputError: see :class:`Shift`.
    """
    return pool.replaced(shift(pool.flat, rng))


def grown(images: Bytes, pixels: int) -> Bytes:
    """The darkest (or, with negative ``pixels``, lightest) ink within so many pixels: ``[n, H, W]`` to the same."""
    most = np.maximum if pixels > 0 else np.minimum
    for axis in (1, 2):
        wide = np.moveaxis(images, axis, -1)
        out = wide.copy()
        for step in range(1, abs(pixels) + 1):
            out[..., step:] = most(out[..., step:], wide[..., :-step])
            out[..., :-step] = most(out[..., :-step], wide[..., step:])
        images = np.moveaxis(out, -1, axis)
    return np.ascontiguousarray(images)

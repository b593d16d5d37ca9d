"""Augmentation: each image is rotated, stretched, sheared, shifted and bent a little, by a map of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from metarl.config import InputError, check_bounds
from metarl.data.sources import FewShotSource
from metarl.types import Array, Bytes, Floats

_Fixed = npt.NDArray[np.int32]
_Packed = npt.NDArray[np.uint32]

_CHUNK = 64  # images warped at once, few enough to stay in the processor's cache
_ONE = 1 << 16  # one pixel in the fixed point of coordinates
_CONTROLS = 5  # points along a side whose displacements bend an image
_FAR = 8000  # pixels beyond which the terms of a coordinate are cut, so that they fit the fixed point


@dataclass(frozen=True)
class Distortion:
    """How much images vary; all zeros leave them unchanged.

    The augmentation of Santoro et al. 2016 (section 4.1) is ``law="uniform"`` with ``rotation=11.25`` and a ``shift``.

    Args:
        rotation: spread of the rotation, in degrees.
        scale: spread of the logarithm of the size along each axis.
        shear: spread of the shear: pixels to the side for each pixel up.
        shift: spread of the position along each axis, in pixels.
        elastic: spread of the displacement of single points along each axis, in pixels; neighbours move together
            (after Simard et al. 2003, section 2, with fewer and smoother bends).
        mirror: share of images that are mirrored, left for right.
        law: whether a spread is the standard deviation of a normal distribution or the bound of a uniform one around 0.

    Raises:
        ConfigError: a number out of its bounds or not finite, or an unknown ``law``.
    """

    rotation: Annotated[float, Ge(0)] = 0.0
    scale: Annotated[float, Ge(0)] = 0.0
    shear: Annotated[float, Ge(0)] = 0.0
    shift: Annotated[float, Ge(0)] = 0.0
    elastic: Annotated[float, Ge(0)] = 0.0
    mirror: Annotated[float, Ge(0), Le(1)] = 0.0
    law: Literal["normal", "uniform"] = "normal"

    def __post_init__(self) -> None:
        check_bounds(self)


class Distorted(FewShotSource):
    """Another source with each example distorted by its own map; for training.

    Args:
        source: of images ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``; of three axes, the shorter one of the first and
            the last is that of colours.
        options: how much examples vary.
        of_classes: how much classes vary: all examples of a class in an episode are first distorted by the same map,
            which makes a new class of it, so that training has more classes; None: not at all.

    Raises:
        InputError: the source has examples of another shape.
    """

    def __init__(self, source: FewShotSource, options: Distortion, of_classes: Distortion | None = None) -> None:
        if len(source.shape) not in (2, 3):
            raise InputError(key="source.shape", given=source.shape, expected="images (H, W), (H, W, C) or (C, H, W)")
        self.source, self.options, self.of_classes = source, options, of_classes
        self.shape, self.classes, self.per_class = source.shape, source.classes, source.per_class
        self.shared_examples = source.shared_examples

    def check(self, ways: int, count: int, key: str) -> None:
        """See :meth:`FewShotSource.check`."""
        self.source.check(ways, count, key)

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Array:
        """See :meth:`FewShotSource.draw`."""
        x = self.source.draw(rng, n, ways, count)
        maps = draw_maps(rng, n * ways * count, self.options)
        bends = draw_bends(rng, n * ways * count, self.options)
        if self.of_classes is not None:
            maps = composed(maps, draw_maps(rng, n * ways, self.of_classes).repeat(count, 0))
            shared = draw_bends(rng, n * ways, self.of_classes)
            if shared is not None:
                bends = shared.repeat(count, 0) + (0 if bends is None else bends)
        flat = x.reshape(-1, *self.shape)
        if len(self.shape) == 2:
            return warp(flat, maps, bends).reshape(x.shape)
        axis = 1 if self.shape[0] < self.shape[2] else 3
        return np.stack([warp(colour, maps, bends) for colour in np.moveaxis(flat, axis, 0)], axis).reshape(x.shape)


def draw_maps(rng: np.random.Generator, n: int, options: Distortion) -> Floats:
    """Random maps ``[n, 2, 3]`` for :func:`warp`: mirror, then stretch, shear, rotate and shift; pure in ``rng``.

    Args:
        rng: all randomness comes from it.
        n: number of maps.
        options: how much images vary.
    """
    spread = rng.standard_normal((6, n)) if options.law == "normal" else rng.uniform(-1, 1, (6, n))
    angle, slant = np.deg2rad(options.rotation) * spread[0], options.shear * spread[1]
    wide, high = np.exp(options.scale * spread[2:4])
    cos, sin = np.cos(angle), np.sin(angle)
    maps = np.empty((n, 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = cos * wide, (cos * slant - sin) * high
    maps[:, 1, 0], maps[:, 1, 1] = sin * wide, (sin * slant + cos) * high
    maps[:, :, 2] = options.shift * spread[4:].T
    if options.mirror:
        maps[:, :, 0] *= np.where(rng.random((n, 1)) < options.mirror, -1, 1)
    return maps


def draw_bends(rng: np.random.Generator, n: int, options: Distortion) -> Floats | None:
    """Random bends ``[n, 2, 5, 5]`` for :func:`warp`; None without ``options.elastic``, and nothing is drawn then.

    Args:
        rng: all randomness comes from it.
        n: number of bends.
        options: how much images vary.
    """
    if not options.elastic:
        return None
    shape = (n, 2, _CONTROLS, _CONTROLS)
    spread = rng.standard_normal(shape) if options.law == "normal" else rng.uniform(-1, 1, shape)
    return options.elastic * spread


def composed(outer: Floats, inner: Floats) -> Floats:
    """The maps ``[n, 2, 3]`` that apply ``inner`` first and then ``outer``, both ``[n, 2, 3]``."""
    linear = outer[:, :, :2]
    return np.concatenate([linear @ inner[:, :, :2], linear @ inner[:, :, 2:] + outer[:, :, 2:]], 2)


def warp(images: Array, maps: Floats, bends: Floats | None = None) -> Bytes:
    """Move the points of images by affine maps, and bend them; outside of an image is paper (0).

    A point (x to the right, y down, in pixels from the middle) goes to ``maps[:, :, :2] @ (x, y) + maps[:, :, 2]``.
    Pixels are interpolated bilinearly, with positions rounded to 1/256 of a pixel.

    Args:
        images: ``[n, H, W]`` uint8.
        maps: ``[n, 2, 3]``
        bends: ``[n, 2, 5, 5]``, for x and for y how far from its place a pixel of the result is taken, in pixels, at 5
            by 5 points from corner to corner; between them it changes smoothly, and bends of independent points have
            the same spread everywhere. None: none.

    Returns:
        ``[n, H, W]`` uint8.

    Raises:
        InputError: other images, or not one map for each.
    """
    if images.ndim != 3 or images.dtype != np.uint8:
        problem = f"images are {images.dtype} of shape {images.shape}"
        raise InputError(problem, key="images", expected="uint8 [n, H, W]")
    n, height, width = images.shape
    if maps.shape != (n, 2, 3):
        raise InputError(key="maps.shape", given=maps.shape, expected=str((n, 2, 3)))
    if bends is not None and bends.shape != (n, 2, _CONTROLS, _CONTROLS):
        raise InputError(key="bends.shape", given=bends.shape, expected=str((n, 2, _CONTROLS, _CONTROLS)))
    (a, b), (c, d) = maps[:, 0, :2].T, maps[:, 1, :2].T
    right, down = np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2
    scale = 1 / (a * d - b * c)
    # The source of a pixel is a number for its column plus a number for its row, both for x and for y.
    x = _fixed((d * scale)[:, None] * right), _fixed((-b * scale)[:, None] * down + _start(d, -b, scale, maps, width))
    y = _fixed((-c * scale)[:, None] * right), _fixed((a * scale)[:, None] * down + _start(-c, a, scale, maps, height))
    out = np.empty((n, height, width), np.uint8)
    for first in range(0, n, _CHUNK):
        part = slice(first, first + _CHUNK)
        positions = [column[part, None] + row[part, :, None] for column, row in (x, y)]
        if bends is not None:
            moved = _fixed(_smooth(height) @ bends[part] @ _smooth(width).T)
            positions = [position + moved[:, axis] for axis, position in enumerate(positions)]
        out[part] = _interpolated(images[part], *positions)
    return out


@lru_cache(maxsize=16)
def _smooth(side: int) -> Floats:
    """``[side, 5]``: the weights of the control points for each pixel, cubic B-splines with squares that sum to 1."""
    distance = np.abs(np.linspace(0, _CONTROLS - 1, side)[:, None] - np.arange(_CONTROLS))
    near = 2 / 3 - distance**2 + distance**3 / 2
    weights = np.where(distance < 1, near, np.clip(2 - distance, 0, None) ** 3 / 6)
    return weights / np.sqrt((weights**2).sum(1, keepdims=True))


def _start(to_x: Floats, to_y: Floats, scale: Floats, maps: Floats, side: int) -> Floats:
    """``[n, 1]``: the middle less the shift, mapped back, plus half of 1/256, so that truncation rounds."""
    return ((side - 1) / 2 - scale * (to_x * maps[:, 0, 2] + to_y * maps[:, 1, 2]) + 1 / 512)[:, None]


def _fixed(pixels: Floats) -> _Fixed:
    return np.rint(np.clip(pixels, -_FAR, _FAR) * _ONE).astype(np.int32)


def _interpolated(images: Array, x: _Fixed, y: _Fixed) -> _Packed:
    """Images ``[n, H, W]`` interpolated at positions ``[n, H, W]`` in fixed point; overwrites ``x`` and ``y``.

    The four neighbours of a position are packed into one uint32 and gathered at once. The upper and the lower pair are
    interpolated side by side in its two halves: 255 * 256 still fits into 16 bits.
    """
    n, height, width = images.shape
    padded = np.zeros((n, height + 4, width + 4), np.uint32)
    padded[:, 2:-2, 2:-2] = images
    beside = padded[:, :, :-1] | padded[:, :, 1:] << 8
    packed = beside[:, :-1] | beside[:, 1:] << 16
    part_x, part_y = ((position >> 8 & 255).view(np.uint32) for position in (x, y))
    for position, side in ((x, width), (y, height)):
        position >>= 16
        np.clip(position, -2, side, out=position)
    y += 2
    y *= width + 3
    y += x
    y += np.arange(n, dtype=np.int32)[:, None, None] * ((height + 3) * (width + 3)) + 2
    four = packed.ravel().take(y)
    pair, half = np.uint32(0x00FF00FF), np.uint32(0xFFFF)
    two = _between(four & pair, four >> 8 & pair, part_x)
    one = _between(two & half, two >> np.uint32(16), part_y)
    one += 1 << 15
    one >>= 16
    return one


def _between(near: _Packed, far: _Packed, part: _Packed) -> _Packed:
    """``(256 - part) * near + part * far``; overwrites both."""
    far *= part
    near *= np.uint32(256) - part
    near += far
    return near

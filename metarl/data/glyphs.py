"""Drawn glyphs: random characters of a few strokes, each drawn many times with jitter, as small images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge

from metarl.config import InputError
from metarl.seeding import numpy_rng, split_key
from metarl.types import Bools, Bytes, Floats, Split

SIDE = 28  # pixels along an image
_EXTENT = 0.65  # a glyph spans at most [-_EXTENT, _EXTENT] of the image's [-1, 1] before jitter
_FAR = 1e3  # the position of strokes that a glyph does not have
_CHUNK = 64  # images drawn at once, few enough to stay in the processor's cache
# From three control points to the five points of a bent line, or of an arc (a quadratic Bézier curve).
_STRAIGHT = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]], np.float32)
_CURVED = np.array([[(1 - t) ** 2, 2 * t * (1 - t), t**2] for t in np.linspace(0, 1, 5)], np.float32)


@dataclass(frozen=True)
class GlyphOptions:
    """How glyphs look; lengths are in halves of the image's side.

    Args:
        min_strokes: fewest strokes of a glyph.
        max_strokes: most strokes of a glyph.
        wobble: standard deviation of each control point from drawing to drawing.
        rotation: standard deviation of the rotation, in radians.
        stretch: standard deviation of the logarithm of the size along each axis, and of the shear.
        shift: standard deviation of the position along each axis.

    Raises:
        InputError: numbers of strokes that do not fit.
    """

    min_strokes: Annotated[int, Ge(1)] = 2
    max_strokes: Annotated[int, Ge(1)] = 4
    wobble: Annotated[float, Ge(0)] = 0.05
    rotation: Annotated[float, Ge(0)] = 0.12
    stretch: Annotated[float, Ge(0)] = 0.08
    shift: Annotated[float, Ge(0)] = 0.05

    def __post_init__(self) -> None:
        if not 1 <= self.min_strokes <= self.max_strokes:
            expected = f"1 to max_strokes = {self.max_strokes}"
            raise InputError(key="min_strokes", given=self.min_strokes, expected=expected)


class Shape(NamedTuple):
    """The ``S`` strokes of one glyph: their control points (x, y) ``[S, 3, 2]``, and whether each is an arc ``[S]``."""

    control: Floats
    curved: Bools


def draw_shape(rng: np.random.Generator, options: GlyphOptions) -> Shape:
    """A random glyph, fitted to the image; about half of its strokes begin where the previous one ends.

    Args:
        rng: all randomness comes from it.
        options: the number of strokes.
    """
    count = int(rng.integers(options.min_strokes, options.max_strokes + 1))
    start, angle = rng.uniform(-0.7, 0.7, (count, 2)), rng.uniform(0, 2 * np.pi, count)
    along = np.stack([np.cos(angle), np.sin(angle)], 1)
    reach = rng.uniform(0.8, 1.8, (count, 1)) * along
    bend = rng.uniform(-0.8, 0.8, (count, 1)) * along[:, ::-1] * [-1, 1]
    joined = rng.random(count) < 0.5
    for i in range(1, count):
        if joined[i]:
            start[i] = start[i - 1] + reach[i - 1]
    control = np.stack([start, start + reach / 2 + bend, start + reach], 1)
    low, high = control.min((0, 1)), control.max((0, 1))
    span = np.maximum(high - low, (high - low).max() / 2)  # flat glyphs are stretched, but a line stays a line
    fitted = (control - (low + high) / 2) * (2 * _EXTENT / span)
    return Shape(fitted.astype(np.float32), rng.random(count) < 0.5)


def draw_samples(shape: Shape, rng: np.random.Generator, n: int, options: GlyphOptions) -> Floats:
    """The lines of drawings of a glyph: jittered control points, then an affine map.

    Args:
        shape: the strokes of the glyph.
        rng: all randomness comes from it.
        n: number of drawings.
        options: how much drawings vary.

    Returns:
        ``[n, max_strokes, 5, 2]``, (x, y) in [-1, 1]; strokes that the glyph does not have lie far outside.
    """
    control = shape.control + options.wobble * rng.standard_normal((n, *shape.control.shape))
    basis = np.where(shape.curved[:, None, None], _CURVED, _STRAIGHT)
    points = np.einsum("spc,nscd->nspd", basis, control)
    angle = options.rotation * rng.standard_normal(n)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(n, 2, 2)
    size = np.exp(options.stretch * rng.standard_normal((n, 2)))
    skew = np.zeros((n, 2, 2))
    skew[:, 0, 0], skew[:, 1, 1], skew[:, 0, 1] = size[:, 0], size[:, 1], options.stretch * rng.standard_normal(n)
    shift = options.shift * rng.standard_normal((n, 1, 1, 2))
    lines = np.full((n, options.max_strokes, 5, 2), _FAR, np.float32)
    lines[:, : len(shape.control)] = np.einsum("nij,nspj->nspi", turn @ skew, points) + shift
    return lines


def render(lines: Floats, radius: Floats) -> Bytes:
    """Draw lines; edges are smoothed over one pixel of distance.

    Args:
        lines: ``[n, S, P, 2]``, (x, y) in [-1, 1].
        radius: half the width of the lines ``[n]``, in pixels.

    Returns:
        ``[n, 28, 28]`` uint8, from 0 (paper) to 255 (ink).
    """
    out = np.empty((len(lines), SIDE, SIDE), np.uint8)
    pixels = np.arange(SIDE, dtype=np.float32)
    for first in range(0, len(lines), _CHUNK):
        part = ((lines[first : first + _CHUNK] + 1) * (SIDE / 2) - 0.5).astype(np.float32)
        nearest = np.full((len(part), SIDE, SIDE), np.inf, np.float32)
        begins, ends = part[:, :, :-1].reshape(len(part), -1, 2), part[:, :, 1:].reshape(len(part), -1, 2)
        for segment in range(begins.shape[1]):
            (x, y), (dx, dy) = begins[:, segment].T, (ends - begins)[:, segment].T
            scale = 1 / np.maximum(dx * dx + dy * dy, np.float32(1e-6))
            right, down = pixels - x[:, None], pixels - y[:, None]
            along = (right * (dx * scale)[:, None])[:, None, :] + (down * (dy * scale)[:, None])[:, :, None]
            np.clip(along, 0, 1, out=along)
            across = right[:, None, :] - along * dx[:, None, None]
            along *= dy[:, None, None]
            below = np.subtract(down[:, :, None], along, out=along)
            across *= across
            below *= below
            across += below
            np.minimum(nearest, across, out=nearest)
        ink = np.clip(radius[first : first + _CHUNK, None, None] + 0.5 - np.sqrt(nearest), 0, 1)
        out[first : first + _CHUNK] = np.rint(255 * ink)
    return out


def glyph_pool(split: Split, classes: int, per_class: int, seed: int, options: GlyphOptions) -> Bytes:
    """Draw the glyphs of a split.

    Each class of each split has its own random stream: splits share none, and asking for more classes does not change
    the first ones.

    Args:
        split: train, validation or test.
        classes: number of glyphs.
        per_class: drawings of each.
        seed: of the random streams.
        options: how glyphs look.

    Returns:
        ``[classes, per_class, 28, 28]`` uint8.
    """
    lines, radius = [], []
    for number in range(classes):
        rng = numpy_rng(seed, "data", split_key(split), number)
        shape = draw_shape(rng, options)
        lines.append(draw_samples(shape, rng, per_class, options))
        radius.append(rng.uniform(0.7, 1.4, per_class))
    images = render(np.concatenate(lines), np.concatenate(radius).astype(np.float32))
    return images.reshape(classes, per_class, SIDE, SIDE)

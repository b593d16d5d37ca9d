"""Drawn glyphs: the image of a line, classes that differ, drawings of a class that are alike, disjoint splits."""

import numpy as np
import pytest

from metarl.data.glyphs import SIDE, GlyphOptions, draw_samples, draw_shape, glyph_pool, render
from metarl.types import SPLITS, Floats

STILL = GlyphOptions(wobble=0, rotation=0, stretch=0, shift=0)


def distance(point: Floats, start: Floats, end: Floats) -> float:
    """From a point to a segment."""
    along = np.clip((point - start) @ (end - start) / max(float((end - start) @ (end - start)), 1e-12), 0, 1)
    return float(np.linalg.norm(point - start - along * (end - start)))


def test_ink_is_where_the_line_is_near() -> None:
    rng = np.random.default_rng(0)
    lines = rng.uniform(-1, 1, (3, 2, 3, 2))
    lines[0, 0, 1] = lines[0, 0, 0]  # a segment without length
    radius = np.array([0.5, 1.0, 1.5])
    images = render(lines.astype(np.float32), radius.astype(np.float32))
    places = (lines + 1) * SIDE / 2 - 0.5
    for n in range(3):
        for y in range(SIDE):
            for x in range(SIDE):
                near = min(
                    distance(np.array([x, y]), stroke[p], stroke[p + 1]) for stroke in places[n] for p in range(2)
                )
                assert images[n, y, x] == pytest.approx(255 * np.clip(radius[n] + 0.5 - near, 0, 1), abs=0.6)


def test_a_line_across_the_middle() -> None:
    line = np.array([[[[-1, 0], [1, 0]]]], np.float32)
    image = render(line, np.array([1.0], np.float32))[0]
    assert (image[13:15, 1:-1] == 255).all()
    assert not image[:12].any()
    assert not image[16:].any()


def test_many_images_are_drawn_as_few_are_and_without_jitter_as_one() -> None:
    rng = np.random.default_rng(0)
    options = GlyphOptions()
    lines = draw_samples(draw_shape(rng, options), rng, 150, options)
    radius = np.ones(150, np.float32)
    assert np.array_equal(render(lines, radius)[100:103], render(lines[100:103], radius[:3]))
    rng = np.random.default_rng(0)  # without jitter all drawings of a glyph are one
    lines = draw_samples(draw_shape(rng, STILL), rng, 3, STILL)
    assert np.array_equal(lines[0], lines[1])
    there = lines[np.abs(lines) < 100]
    assert 0.5 < np.abs(there).max() < 0.66


def test_drawings_of_a_class_are_alike_and_classes_are_not() -> None:
    """The nearest of five other classes' drawings, by blurred pixels, is mostly the own class's; chance is 0.2."""
    pool = glyph_pool("test", 100, 2, 0, GlyphOptions()) / 255.0
    moved = [np.roll(pool, (i, j), (2, 3)) for i in range(-2, 3) for j in range(-2, 3)]
    blurred = np.mean(moved, 0).reshape(100, 2, -1)
    blurred -= blurred.mean(-1, keepdims=True)
    blurred /= np.linalg.norm(blurred, axis=-1, keepdims=True)
    alike = blurred[:, 0] @ blurred[:, 1].T
    rows = np.random.default_rng(0).permuted(np.tile(np.arange(1, 100), (100, 1)), axis=1)[:, :4]
    others = (np.arange(100)[:, None] + rows) % 100
    nearest = np.diag(alike) > np.take_along_axis(alike, others, 1).max(1)
    assert nearest.mean() > 0.8
    assert (np.diag(alike) < 0.999).all()


def test_every_image_shows_something_and_little_is_cut_off() -> None:
    pool = glyph_pool("train", 100, 5, 0, GlyphOptions())
    assert pool.shape == (100, 5, SIDE, SIDE)
    assert pool.dtype == np.uint8
    ink = pool.astype(float).sum((2, 3)) / 255
    assert ink.min() > 15
    assert ink.max() < SIDE * SIDE / 2
    edge = pool[..., [0, -1]].any((2, 3)) | pool[..., [0, -1], :].any((2, 3))
    assert edge.mean() < 0.15


def test_splits_share_no_glyph_and_more_classes_leave_the_first_as_they_are() -> None:
    pools = {split: glyph_pool(split, 20, 2, 0, STILL) for split in SPLITS}
    drawings = [row.tobytes() for pool in pools.values() for row in (pool[:, 0] > 127)]
    assert len(set(drawings)) == 60
    assert np.array_equal(glyph_pool("train", 5, 2, 0, STILL), pools["train"][:5])
    assert not np.array_equal(glyph_pool("train", 5, 2, 1, STILL), pools["train"][:5])


def test_strokes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="min_strokes is 3"):
        GlyphOptions(min_strokes=3, max_strokes=2)
    counts = {len(draw_shape(np.random.default_rng(i), GlyphOptions()).control) for i in range(50)}
    assert counts == {2, 3, 4}

"""The frames of an animation of trials: the environment, and beside it the memory lighting up."""

from __future__ import annotations

from typing import Any

import numpy as np

from metarl.envs.picture import BLUE, GRID, INK, ORANGE, PAPER, RED, SOFT, Picture, mix
from metarl.evaluation.watch import Held, Seen
from metarl.types import Array, Bytes, Floats

HEIGHT, SIDE = 360, 320  # of a frame, and width of the memory in it
WIDEST = 960  # of the environment
EMPTY = "#F1F3F6"  # a slot that is not read
LEFT, TOP, WIDE, TALL = 16, 66, SIDE - 32, 224  # where the slots are


def film_frame(seen: Seen, view: Array | None) -> Bytes:
    """A frame of a film.

    Args:
        seen: the step.
        view: a frame of the environment after it, ``[H, W, 3]``; None: the memory is shown alone.

    Returns:
        ``[360, W, 3]``
    """
    memory = memory_picture(seen)
    return memory if view is None else np.concatenate([_fitted(view), memory], axis=1)


def memory_picture(seen: Seen) -> Bytes:
    """The slots of a memory, the brighter the more was read of them, ``[360, 320, 3]``."""
    picture = Picture(SIDE, HEIGHT)
    picture.line([(0, 24), (0, HEIGHT - 24)], GRID)
    picture.text((LEFT, 18), "memory", 15)
    picture.text((SIDE - LEFT, 18), f"step {seen.step}", 15, SOFT, "ra")
    if seen.state is not None:
        picture.text((LEFT, 42), "no slots: the numbers of its state", 11, SOFT)
        _numbers(picture, seen.state)
    elif seen.weights is None:
        picture.text((LEFT, 42), "not read at this step, or its weights are not told", 11, SOFT)
        _slots(picture, seen, np.zeros(len(seen.held)))
    else:
        read = float(seen.weights.sum())
        slots = f"{len(seen.weights)} slot{'s' * (len(seen.weights) != 1)}"
        picture.text((LEFT, 42), f"{slots}; {max(0.0, 1 - read):.0%} of the read is of none", 11, SOFT)
        _slots(picture, seen, seen.weights)
        picture.text((LEFT, HEIGHT - 46), "blue: how much is read of a slot", 11, SOFT)
        picture.text((LEFT, HEIGHT - 30), "frame: written just now", 11, SOFT)
    return picture.array()


def _slots(picture: Picture, seen: Seen, weights: Floats) -> None:
    """Cells with what they hold where there are few, else cells alone."""
    count = len(weights)
    if not count:
        return
    columns = 2 if count <= 12 else 4 if count <= 40 else int(np.ceil(np.sqrt(count * WIDE / TALL)))
    rows = max(6 if columns == 2 else 10, -(-count // columns))
    across, down = WIDE / columns, TALL / rows
    gap = 4 if columns <= 4 else 0.15 * across
    if columns == 4:
        picture.text((LEFT, HEIGHT - 62), "in a slot: an action, and what it paid", 11, SOFT)
    for slot, weight in enumerate(np.nan_to_num(weights)):
        x, y = LEFT + across * (slot % columns), TOP + down * (slot // columns)
        share = float(np.sqrt(np.clip(weight, 0, 1)))
        now = slot in seen.written
        size = across - gap, down - gap
        picture.box((x, y), size, mix(EMPTY, BLUE, share), ORANGE if now else GRID, wide=3 if now else 1)
        if columns <= 4:
            held = seen.held[slot] if slot < len(seen.held) else None
            _label(picture, (x + 8, y), size, held, PAPER if share > 0.5 else INK)


def _label(
    picture: Picture, corner: tuple[float, float], size: tuple[float, float], held: Held | None, color: str
) -> None:
    """What a slot holds."""
    if held is None:
        return
    x, y = corner
    name, middle = spelled(held.action), y + size[1] / 2
    if size[1] > 28:
        picture.text((x, middle - 8), f"action {name}", 12, color, "lm")
        picture.text((x, middle + 8), f"paid {held.mean:.2f}, {held.times}x", 11, color, "lm")
    else:
        picture.text((x - 2, middle), f"{name}: {held.mean:.2g}", 10, color, "lm")


def _numbers(picture: Picture, state: Floats) -> None:
    columns = max(1, int(np.ceil(np.sqrt(len(state) * WIDE / TALL))))
    side = WIDE / columns
    for number, value in enumerate(np.tanh(np.nan_to_num(state))):
        x, y = LEFT + side * (number % columns), TOP + side * (number // columns)
        picture.box((x, y), (0.88 * side, 0.88 * side), mix(EMPTY, BLUE if value > 0 else RED, abs(float(value))))
    picture.text((LEFT, HEIGHT - 30), "blue: above 0; red: below", 11, SOFT)


def spelled(action: Any) -> str:
    """An action in few characters."""
    numbers = np.ravel(action)
    return " ".join(f"{n}" if numbers.dtype.kind in "iub" else f"{n:.2f}" for n in numbers[:4])


def _fitted(view: Array) -> Bytes:
    """A frame of any size as one of the height of films, with its proportions."""
    from PIL import Image

    pixels: Bytes = np.asarray(view).astype(np.uint8)
    if pixels.shape[0] == HEIGHT and pixels.shape[1] <= WIDEST:
        return pixels
    scale = min(HEIGHT / pixels.shape[0], WIDEST / pixels.shape[1])
    wide, tall = (max(1, round(scale * size)) for size in pixels.shape[1::-1])
    how = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    page = Image.new("RGB", (wide, HEIGHT), PAPER)
    page.paste(Image.fromarray(pixels).resize((wide, tall), how), (0, (HEIGHT - tall) // 2))
    return np.asarray(page)

"""Moving pictures as files: an animated GIF, or a video in MP4 by ffmpeg, which the package imageio-ffmpeg brings."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from metarl.config import ConfigError
from metarl.envs.picture import BLUE, GREEN, GRID, INK, ORANGE, PAPER, RED, SOFT, mix
from metarl.files import replacing
from metarl.report.film import EMPTY
from metarl.types import Bytes

Frames = Iterable[tuple[Bytes, bool]]
SUFFIXES = (".gif", ".mp4")
SAMPLED = 16  # frames that the colors of a GIF are taken from
COLORS = 64
NEAR = 12  # colors that differ by less in each part are one
PAUSE = 15  # frames for which the last one of a trial is shown
FASTEST = {".gif": 50, ".mp4": 60}  # frames a second that a file can hold, or that a screen shows
MOST = {".gif": 1000, ".mp4": 20_000}  # frames of a file


def check_film(path: Path, fps: float) -> None:
    """Refuse an animation that can't be written.

    Args:
        path: of the file.
        fps: frames a second.

    Raises:
        ConfigError: another suffix, too many frames a second, or the package that makes videos is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(key="--out", given=str(path), expected="a name that ends in .gif or .mp4")
    if fps > FASTEST[suffix]:
        expected = f"at most {FASTEST[suffix]} in a {suffix.removeprefix('.').upper()}"
        raise ConfigError(key="--fps", given=fps, expected=expected)
    if suffix == ".mp4" and find_spec("imageio_ffmpeg") is None:
        remedy = "pip install 'metarl-memory[video]', or write a GIF: --out FILE.gif"
        raise ConfigError("a video needs the package imageio-ffmpeg, which is missing", key="--out", remedy=remedy)


def write_film(frames: Frames, path: str | Path, fps: float) -> int:
    """Write frames as an animation; the last of a trial stays for a while.

    Args:
        frames: of one size, ``[H, W, 3]``, each with whether a trial ended with it; at least one.
        path: of the file, whole or not at all: an animated GIF that repeats (``.gif``), or H.264 in MP4 (``.mp4``).
        fps: frames a second.

    Returns:
        How many there are.

    Raises:
        ConfigError: see :func:`check_film`.
        OSError: ffmpeg failed.
    """
    path = Path(path)
    check_film(path, fps)
    with replacing(path) as temporary:
        return (_write_gif if path.suffix.lower() == ".gif" else _write_mp4)(frames, temporary, fps)


def _write_mp4(frames: Frames, path: Path, fps: float) -> int:
    import imageio_ffmpeg

    left = iter(frames)
    first = next(left)
    height, width = (side + side % 2 for side in first[0].shape[:2])  # this format has even sides
    form = ["-f", "mp4", "-movflags", "+faststart"]  # the name of the file doesn't tell it
    options: dict[str, Any] = {"fps": fps, "codec": "libx264", "macro_block_size": 1, "output_params": form}
    writer = imageio_ffmpeg.write_frames(str(path), (width, height), **options)
    writer.send(None)
    count = 0
    try:
        for frame, last in chain([first], left):
            even = np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), mode="edge")
            for _ in range(PAUSE if last else 1):
                writer.send(np.ascontiguousarray(even))
            count += 1
    finally:
        writer.close()
    if not path.is_file() or not path.stat().st_size:
        raise OSError("ffmpeg wrote no video")
    return count


def _write_gif(frames: Frames, path: Path, fps: float) -> int:
    from PIL import Image

    first: list[Any] = []
    rest: list[Any] = []
    lengths: list[int] = []
    palette: Any = None
    for number, (frame, last) in enumerate(frames):
        image = Image.fromarray(frame)
        lengths.append(round(1000 / fps) * (PAUSE if last else 1))
        if palette is None:
            first.append(image)
        else:
            rest.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
        if number + 1 == SAMPLED:
            palette = _palette(first)
    palette = palette or _palette(first)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in first] + rest
    with path.open("wb") as file:
        images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=lengths, loop=0, optimize=True)
    return len(images)


def _palette(images: list[Any]) -> Any:
    """An image whose palette serves a film: all colors that films are drawn in, and those of its first frames."""
    from PIL import Image

    drawn = [BLUE, GREEN, ORANGE, RED, INK, SOFT, GRID, EMPTY, PAPER]
    mixed = [*drawn, *(mix(EMPTY, BLUE, share) for share in np.linspace(0.05, 0.95, 16))]
    mixed += [mix(PAPER, color, share) for color in (GREEN, ORANGE, RED, INK) for share in (0.25, 0.5, 0.75)]
    wide, tall = images[0].size
    page = Image.new("RGB", (wide, tall * len(images)))
    for number, image in enumerate(images):
        page.paste(image, (0, tall * number))
    found = np.reshape(page.quantize(COLORS, method=Image.Quantize.MEDIANCUT).getpalette() or [], (-1, 3))
    exact = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in mixed])
    new = np.abs(found[:COLORS, None] - exact).max(2).min(1) > NEAR  # else one may be taken for the other
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([exact, found[:COLORS][new]]).astype(int).ravel().tolist())
    return palette

"""Small archives laid out as Omniglot's, for tests to break."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("images_background", "images_evaluation")


def drawing(number: int, drawer: int, side: int = 105) -> np.ndarray:
    """``[side, side]`` bool: ink in a rectangle that no other drawing has."""
    ink = np.zeros((side, side), bool)
    ink[10 : 12 + number, 5 : 7 + 2 * drawer] = True
    return ink


def png(ink: np.ndarray) -> bytes:
    """A one-bit PNG, ink black."""
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, "PNG")
    return file.getvalue()


def entries(archive: str, characters: Iterable[tuple[int, str]], drawers: int = 20) -> dict[str, bytes]:
    """What an archive of these characters (number, ``ALPHABET/characterNN``) holds."""
    return {
        f"{archive}/{name}/{number:04d}_{drawer:02d}.png": png(drawing(number, drawer))
        for number, name in characters
        for drawer in range(1, drawers + 1)
    }


def pack(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return path


def small_set(folder: Path) -> Path:
    """Two archives of two characters each below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    pack(folder / "images_background.zip", entries(NAMES[0], [(2, "Greek/character02"), (1, "Greek/character01")]))
    pack(folder / "images_evaluation.zip", entries(NAMES[1], [(3, "Keble/character01"), (4, "Oriya/character07")]))
    return folder

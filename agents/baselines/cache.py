"""Arrays that are slow to compute, kept in the user's cache folder between runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from metarl.files import cache_folder, replacing
from metarl.types import Floats


def cached(name: str, shape: tuple[int, ...], build: Callable[[], Floats]) -> Floats:
    """An array that is slow to compute, read from the cache where an intact file of it exists.

    A missing or damaged file is built again; a cache that cannot be written is not used.

    Args:
        name: of the file, without its ending.
        shape: of the array.
        build: computes the array.

    Returns:
        A read-only float32 array of ``shape``.
    """
    path = cache_folder() / f"{name}.npy"
    values = _load(path, shape)
    if values is None:
        values = np.asarray(build(), dtype=np.float32).reshape(shape)
        _save(path, values)
    values.flags.writeable = False
    return values


def _load(path: Path, shape: tuple[int, ...]) -> Floats | None:
    try:
        # Mapped, so that the shape is known before anything is read: a damaged header may ask for any amount of memory.
        mapped = np.lib.format.open_memmap(path, mode="r")
        if mapped.dtype == np.float32 and mapped.shape == shape and np.isfinite(mapped).all():
            return np.array(mapped)
    except Exception:  # a damaged header makes NumPy raise nearly anything; all of it means: build again
        return None
    return None


def _save(path: Path, values: Floats) -> None:
    with suppress(OSError):  # a cache that cannot be written
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)

"""Keeps the drawings as one memory-mapped array in the user's cache, with checksums, and builds it where it must."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from metarl.data.omniglot_archives import SIDE, Drawings, read_drawings
from metarl.data.omniglot_places import (
    ARCHIVES,
    FOLDER,
    OmniglotError,
    cache_root,
    check_published,
    checksums,
    find_archives,
)
from metarl.files import replacing, write_json

_FORMAT = 1
"""Goes up when pictures are made in another way, so that older arrays are built again."""


def load_drawings(folder: str | Path | None = None, size: int = 28, *, verify: bool = True) -> Drawings:
    """All drawings at ``size`` by ``size`` pixels; the array is read-only and shared in a process.

    Args:
        folder: searched for the archives before the usual places, see :func:`~metarl.data.omniglot_places.places`.
        size: pixels along a picture, 1 to 105.
        verify: accept the published archives only; without, any that are well-formed.

    Raises:
        OmniglotError: an archive is missing, damaged or not a published one, or there is no such size.
    """
    if not 1 <= size <= SIDE:
        raise OmniglotError(f"Omniglot pictures of {size} pixels were asked for, expected 1 to {SIDE}")
    paths = tuple(path.resolve() for path in find_archives(folder))
    root = cache_root()
    stamps = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
    return _shared(paths, stamps, size, verify, root / FOLDER if root else None)


@lru_cache(maxsize=4)
def _shared(
    paths: tuple[Path, ...], stamps: tuple[tuple[int, int], ...], size: int, verify: bool, cache: Path | None
) -> Drawings:
    sums = [checksums(path) for path in paths]
    if verify:
        for path, archive, found in zip(paths, ARCHIVES, sums, strict=True):
            check_published(path, archive, found)
    source = {"format": _FORMAT, "size": size, "archives": [found.sha256 for found in sums]}
    if cache is None:
        return _locked(read_drawings(paths, size))
    key = hashlib.sha256(json.dumps(source).encode()).hexdigest()[:12]
    stem = cache / f"drawings-{size}-{key}"
    kept = _kept(stem, source)
    if kept is None:
        kept = _locked(read_drawings(paths, size))
        try:
            _keep(stem, source, kept)
        except OSError:  # a full or read-only disk costs four seconds each time, but nothing else
            return kept
        kept = _kept(stem, source) or kept
    return kept


def _keep(stem: Path, source: dict[str, Any], drawings: Drawings) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    with replacing(stem.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
        np.save(file, drawings.pictures, allow_pickle=False)
    names = list(drawings.names)
    # Last, because an array without its description is built again.
    write_json(stem.with_suffix(".json"), source | {"sha256": _checksum(stem, names), "names": names})


def _kept(stem: Path, source: dict[str, Any]) -> Drawings | None:
    """What the cache holds, or None where that is missing, cut short, altered, or made of something else."""
    try:
        told = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        if {name: told[name] for name in source} != source:
            return None
        if _checksum(stem, told["names"]) != told["sha256"]:
            return None
        pictures = np.load(stem.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        return Drawings(pictures, tuple(told["names"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _checksum(stem: Path, names: list[str]) -> str:
    """Of the names and the array's file."""
    total = hashlib.sha256("\n".join(names).encode())
    with stem.with_suffix(".npy").open("rb") as file:
        return hashlib.file_digest(file, lambda: total).hexdigest()


def _locked(drawings: Drawings) -> Drawings:
    drawings.pictures.flags.writeable = False
    return drawings

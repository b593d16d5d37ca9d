"""The manifest of a run folder: checksums that tell whether a file is still what the run wrote."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from metarl.config import InputError
from metarl.files import MANIFEST, digest, read_manifest, write_manifest

METRICS = "metrics.jsonl"
CARD = "card.json"
"""What an entry of the zoo has, and no other run."""
KEPT = ("config.json", "meta.json", "checkpoint.zip", "evaluation.json", "trials.npz", "episodes.npz", METRICS)


def begin(folder: Path) -> None:
    """List all files that a run will keep; :func:`metarl.files.replacing` adds the checksum of each."""
    write_manifest(folder, {name: [] for name in KEPT})


def seal(folder: Path, *, running: bool) -> None:
    """Add the checksum of the metrics, which grow line by line; while a run is ``running`` they have none."""
    listed = read_manifest(folder)
    if listed is not None:
        known = not running and (folder / METRICS).is_file()
        write_manifest(folder, {**listed, METRICS: [digest(folder / METRICS)] if known else []})


def verify(folder: Path, *, finished: bool) -> None:
    """Check that all files of a run are what it wrote; warn where it has no manifest.

    A killed run may lack files, and the checksum of its metrics.

    Args:
        folder: of the run.
        finished: whether it came to its end, so that its metrics have a checksum.

    Raises:
        InputError: a file was changed, or the manifest itself is damaged.
    """
    listed = read_manifest(folder)
    if listed is None:
        warnings.warn(f"{folder} has no {MANIFEST}, so changes to its files go unnoticed", stacklevel=3)
        return
    for name in (*KEPT, *[CARD] * os.path.lexists(folder / CARD)):
        path = folder / name
        if name not in listed:
            raise InputError(f"{folder / MANIFEST} is damaged: it lacks {name}", key=name, remedy=_REMEDY)
        if os.path.lexists(path) and not path.is_file():
            raise InputError(f"{path} is no file", key=str(path), expected="what the run wrote", remedy=_REMEDY)
        if path.is_file() and (listed[name] or name != METRICS or finished) and digest(path) not in listed[name]:
            problem = f"{path} was changed after it was written"
            raise InputError(problem, key=str(path), expected=f"its checksum in {MANIFEST}", remedy=_REMEDY)


_REMEDY = f"restore it, or if you trust the change, remove {MANIFEST}"

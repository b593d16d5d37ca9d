"""Files that are whole or not there: written beside their place and moved into it, and read with one clear error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from metarl.config import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` only if all goes well.

    So a crash at any moment leaves the old file or the new one, never half of one.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk, so that a new one outlives a power cut."""
    with suppress(OSError):  # some systems do not open folders; the file itself is whole anyway
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as JSON, whole or not at all.

    Raises:
        ValueError: there is a NaN or an infinity in it, which JSON lacks.
        TypeError: there is something in it that JSON has no form for.
    """
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path, kind: type = dict) -> Any:
    """What a JSON file holds: an object, or with ``kind`` list, a list.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is damaged, or holds something else.
    """
    expected = "a JSON object" if kind is dict else "a JSON list"
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, or not JSON
        raise InputError(f"{path} is damaged: {error}", key=str(path), expected=expected) from None
    if not isinstance(data, kind):
        problem = f"{path} is damaged: it holds a {type(data).__name__}"
        raise InputError(problem, key=str(path), given=data, expected=expected)
    return data

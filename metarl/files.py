"""Files that are whole or not there: written beside their place and moved into it, and read with one clear error."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any

from metarl.config import InputError, check_plain

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a disk, a quota or a limit that is used up
MANIFEST = "manifest.json"
MAX_JSON = 256 * 2**20  # bytes; larger files are refused before they are read


def cache_folder() -> Path:
    """The user's cache: ``$METARL_CACHE``, else ``$XDG_CACHE_HOME/metarl``, else ``~/.cache/metarl``."""
    if own := os.environ.get("METARL_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):  # the XDG specification says to ignore a relative path
        return Path(shared, "metarl")
    try:
        return Path.home() / ".cache" / "metarl"
    except RuntimeError:  # no home: a place where nothing can be kept
        return Path(os.devnull)


def as_path(given: Any, key: str) -> Path:
    """What was given as a path.

    Args:
        given: a text or a path.
        key: what an error calls it.

    Raises:
        InputError: it is neither, or has a character that no path can have.
    """
    expected = "a path, as text or a pathlib.Path"
    try:
        path = Path(given)
    except TypeError:
        raise InputError(key=key, given=given, expected=expected) from None
    if "\0" in str(path):
        raise InputError(key=key, given=str(path), expected=f"{expected}, without a null character")
    return path


def check_target(path: str | Path, key: str) -> Path:
    """Refuse a path where no file can be written, before the work that is to be kept there; nothing is made yet.

    Args:
        path: of the file; folders that are missing can be made later.
        key: what an error calls it.

    Raises:
        InputError: it is a folder or a device, lies below a file or in a folder that can't be written to, or is a file
            of a run, which nothing but the run writes.
    """
    path = as_path(path, key)
    try:
        folder = next((above for above in path.parents if above.exists()), None)
        if path.is_dir():
            why = "it is a folder"
        elif path.exists() and not path.is_file():
            why = "it is a device, a pipe or a socket, which a file would replace"
        elif path.name in _of_run(path.parent):
            why = f"it is a file of the run or entry in {path.parent}, which would lose it"
        elif folder is None or not folder.is_dir():
            why = f"{folder or path.parent} is no folder"
        elif not os.access(folder, os.W_OK | os.X_OK):
            why = f"nothing may be written in {folder}"
        else:
            return path
    except OSError as error:  # a name that is too long, or a folder that can't be looked into
        why = error.strerror or str(error)
    raise _unwritable(path, key, why)


def _of_run(folder: Path) -> set[str]:
    """The names of the files that a run keeps in a folder; none where the folder is of no run."""
    try:
        listed = read_manifest(folder)
    except InputError:  # a file of the same name that something else wrote
        listed = None
    return set() if listed is None else {*listed, MANIFEST}


@contextmanager
def writing(path: str | Path, key: str) -> Iterator[Path]:
    """Write a file where a user said; whatever is wrong with the place is one clear error.

    Args:
        path: of the file.
        key: what an error calls it.

    Raises:
        InputError: no file can be written there.
        OSError: the disk is full (:data:`FULL`).
    """
    path = check_target(path, key)
    try:
        yield path
    except OSError as error:
        if error.errno in FULL:
            raise
        raise _unwritable(path, key, error.strerror or str(error)) from None


def _unwritable(path: Path, key: str, why: str) -> InputError:
    problem, expected = f"cannot write {path}: {why}", "the path of a file that can be written"
    return InputError(problem, key=key, given=str(path), expected=expected, remedy="give another path")


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to write to, made where it is missing; if that fails, no empty one is left.

    Args:
        path: of the folder.
    """
    folder = Path(path)
    there = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        if not there:
            with suppress(OSError):  # something is in it
                folder.rmdir()
        raise


def readable(name: str) -> str:
    """The name of a file, which may be any bytes, as text that can be written and read again."""
    return name.encode(errors="backslashreplace").decode()


@contextmanager
def replacing(path: str | Path, *, sealed: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` only if all goes well.

    So a crash at any moment leaves the old file or the new one, never half of one. Where a manifest beside it lists the
    file, the new checksum joins the old one before the file is replaced, so that it holds at every moment.

    Args:
        path: of the file.
        sealed: whether the manifest gets its checksum; not of files that grow.
    """
    path = Path(path)
    listed = read_manifest(path.parent) or {}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        now = [digest(temporary)] if sealed and path.name in listed else []
        if now:
            write_manifest(path.parent, {**listed, path.name: [*listed[path.name], *now]})
        os.replace(temporary, path)
        _sync_folder(path.parent)
        if now and listed[path.name]:
            write_manifest(path.parent, {**listed, path.name: now})
    finally:
        temporary.unlink(missing_ok=True)


def remove_left(paths: Iterable[Path]) -> None:
    """Remove those of ``paths`` that are temporary files of dead processes, or that this one made in its last life."""
    for path in paths:
        found = re.search(r"\.(\d+)\.tmp$", path.name)
        if found and not _alive(int(found[1])):
            with suppress(OSError):  # in a folder that can't be written to
                path.unlink()


def _alive(process: int) -> bool:
    """Whether there may be another such process."""
    if process == os.getpid():  # in a container every run has the same number
        return False
    if os.name == "nt":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user, or the system doesn't say
        return True
    return True


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
        # A path may hold bytes that are no UTF-8.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as JSON, whole or not at all.

    Raises:
        ValueError: there is a NaN or an infinity in it, which JSON lacks.
        TypeError: there is something in it that JSON has no form for.
    """
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """What a text of JSON says.

    Raises:
        ValueError: it is not JSON in UTF-8, is nested too deeply, or has a number that is not finite as a float.
    """
    try:
        data = json.loads(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_plain(data)
    return data


def read_json(path: str | Path, kind: type = dict) -> Any:
    """What a JSON file holds: an object, or with ``kind`` list, a list.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file can't be read, is too large or damaged, or holds something else.
    """
    path, expected = Path(path), "a JSON object" if kind is dict else "a JSON list"
    content = read_bytes(path, MAX_JSON)
    try:
        data = parse_json(content)
    except ValueError as error:  # not UTF-8, or not JSON
        raise InputError(f"{path} is damaged: {error}", key=str(path), expected=expected) from None
    if not isinstance(data, kind):
        problem = f"{path} is damaged: it holds a {type(data).__name__}"
        raise InputError(problem, key=str(path), given=data, expected=expected)
    return data


def read_bytes(path: Path, most: int) -> bytes:
    """What a file holds.

    Args:
        path: of the file.
        most: bytes; a larger file is refused before it is read.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is no file, too large, or can't be read.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe may never end
            raise InputError(f"{path} is no file", key=str(path), expected="a file")
        if (size := path.stat().st_size) > most:
            raise InputError(f"{path} has {size:,} bytes", key=str(path), given=size, expected=f"at most {most:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", key=str(path), expected="a file") from None


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, list[str]] | None:
    """The checksums that each file listed in the manifest of ``folder`` may have; None where there is no manifest.

    Raises:
        InputError: it is damaged.
    """
    path = folder / MANIFEST
    try:
        listed = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    for name, sums in listed.items():
        if not isinstance(sums, list) or not all(isinstance(one, str) for one in sums):
            raise InputError(f"{path} is damaged", key=name, given=sums, expected="a list of checksums")
    return listed


def write_manifest(folder: Path, listed: Mapping[str, Sequence[str]]) -> None:
    """Write the checksums that each file of ``folder`` may have; a file is listed with none before it is made."""
    write_json(folder / MANIFEST, dict(listed))

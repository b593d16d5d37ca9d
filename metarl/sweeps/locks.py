"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import os
from pathlib import Path


class FileLock:
    """A lock on a file, which is made where it is missing and never removed.

    Machines that share a folder share its locks, where the file system has any (NFS has).

    Args:
        path: of the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: int | None = None

    def take(self, *, wait: bool = False) -> bool:
        """Take the lock.

        Args:
            wait: until it is free.

        Returns:
            Whether it was free.

        Raises:
            OSError, ImportError: there are no locks here.
        """
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def acquire(self) -> bool:
        """Wait for the lock; this and :meth:`release` are what Optuna's journal asks of one."""
        return self.take(wait=True)

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def can_lock(folder: Path) -> bool:
    """Whether files in ``folder`` can be locked: not on Windows, nor on some file systems."""
    lock = FileLock(folder / "locks" / "any")
    try:
        if lock.take():
            lock.release()
        return True
    except (ImportError, OSError):
        return False

"""One worker process with rows of a family, and the pipe to it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from metarl.tasks.vector.sync import SyncRows

START_SECONDS = 180.0  # a new process may take this long to import what it needs, on a machine that is busy
CLOSE_SECONDS = 2.0  # processes that are busy for longer when all is closed are killed


class FailedError(Exception):
    """What happened to a worker: it raised, died, or gave no answer in time."""


class StartError(FailedError):
    """It failed before it could play anything."""


class WorkerProcess:
    """One process, and the pipe to it.

    Args:
        payload: the pickled family.
        first: the number of its first row.
        n: how many rows it has.
        start_timeout: seconds in which it must have imported what it needs.
    """

    def __init__(self, payload: bytes, first: int, n: int, start_timeout: float = START_SECONDS) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, payload, first, n), daemon=True)
        self.lost = True
        """Whether it has no environments yet: it takes no part in steps."""
        self._start_timeout, self._ready = start_timeout, False
        """Whether it has imported what it needs, and said so."""
        with _one_thread():
            self.process.start()
        theirs.close()

    def ask(self, *message: Any) -> None:
        """Send a request; that the process is dead shows where its answer is read."""
        with suppress(OSError):
            self._pipe.send(message)

    def answer(self, since: float, seconds: float) -> Any:
        """The answer to the request that was made at the time ``since``.

        Raises:
            FailedError: there is none within ``seconds``, which count from when it has started.
            StartError: it did not start in time.
        """
        if not self._ready:
            self._ready = True
            try:
                self._next(self._start_timeout, self._start_timeout)
            except FailedError as error:
                raise StartError(f"{str(error).rstrip()}\nwhile it was starting (start_timeout)") from None
            since = time.monotonic()
        return self._next(since + seconds - time.monotonic(), seconds)

    def _next(self, left: float, seconds: float) -> Any:
        """The next answer, for which ``left`` of all ``seconds`` are left."""
        if not self._pipe.poll(max(0.0, left)):
            raise FailedError(f"gave no answer for {seconds:g} s")
        try:
            fine, result = self._pipe.recv()
        except (EOFError, OSError):
            self.process.join(CLOSE_SECONDS)
            raise FailedError(f"died with exit code {self.process.exitcode}") from None
        if not fine:
            raise FailedError(f"raised an error:\n{result}")
        return result

    def end(self, seconds: float) -> None:
        """Wait for the process to end by itself, then end it."""
        if not self._pipe.closed:
            self.process.join(seconds)
            self.kill()

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self._pipe.close()


def _serve(pipe: Connection, payload: bytes, first: int, n: int) -> None:
    """What a worker does: answer requests to its rows until it is told None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        rows = SyncRows(pickle.loads(payload).fn, n, first)
        pipe.send((True, None))
        while (message := pipe.recv())[0] is not None:
            pipe.send((True, getattr(rows, message[0])(*message[1:])))
        rows.close()
    except Exception:
        with suppress(OSError):  # where the parent is gone
            pipe.send((False, traceback.format_exc()))


def end_with_parent() -> None:
    """End this process with its parent, also while an environment hangs, unless that keeps Python from running."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started within use one thread for linear algebra, instead of as many as there are cores each."""
    old = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if old is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = old

"""One worker process with rows of a family, and the pipe to it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from metarl.tasks.vector.sync import SyncRows

IMPORT_SECONDS = 60.0  # a new process may take this long to import what it needs
CLOSE_SECONDS = 2.0  # processes that are busy for longer when all is closed are killed


class FailedError(Exception):
    """What happened to a worker: it raised, died, or gave no answer in time."""


class WorkerProcess:
    """One process, and the pipe to it."""

    def __init__(self, payload: bytes, first: int, n: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, payload, first, n), daemon=True)
        self.lost = True
        """Whether it has no environments yet: it takes no part in steps."""
        self._ready = False
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
            FailedError: there is none within ``seconds``.
        """
        if not self._ready:
            self._ready = True
            self.answer(time.monotonic(), IMPORT_SECONDS)
            since = time.monotonic()
        if not self._pipe.poll(max(0.0, since + seconds - time.monotonic())):
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
    try:
        rows = SyncRows(pickle.loads(payload).fn, n, first)
        pipe.send((True, None))
        while (message := pipe.recv())[0] is not None:
            pipe.send((True, getattr(rows, message[0])(*message[1:])))
        rows.close()
    except Exception:
        with suppress(OSError):  # where the parent is gone
            pipe.send((False, traceback.format_exc()))


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

"""Calls made one after another in a thread of their own, so that one that hangs keeps nobody waiting."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Aside:
    """Makes calls in the order they are given, in a daemon thread: it does not keep the process from ending.

    Args:
        failed: is called, in that thread, with what a call raised.
        room: calls that may wait; those beyond are dropped.
    """

    def __init__(self, failed: Callable[[Exception], object], room: int) -> None:
        self.dropped = 0
        """Calls that found no room."""
        self._failed = failed
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(room)
        self._ended = False
        self._since: float | None = None  # when the call under way began
        threading.Thread(target=self._work, daemon=True).start()

    def put(self, call: Callable[[], object]) -> None:
        """Make ``call`` after all that wait; where there is no room, it is dropped and counted."""
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            self.dropped += 1

    def hangs(self, seconds: float) -> bool:
        """Whether the call under way has taken longer than this."""
        since = self._since
        return since is not None and time.monotonic() - since > seconds

    def wait_for(self, call: Callable[[], object], seconds: float) -> bool:
        """Make a call after all that wait, and wait for it.

        Args:
            call: what to call.
            seconds: how long to wait.

        Returns:
            False where it was not made in time; one that failed was made.
        """
        end, done = time.monotonic() + seconds, threading.Event()
        try:
            self._waiting.put(call, timeout=seconds)
            self._waiting.put(done.set, timeout=max(0.0, end - time.monotonic()))
        except queue.Full:
            return False
        while not (done.is_set() or self._ended) and time.monotonic() < end:
            done.wait(0.05)  # and look whether a call before it has ended all
        return done.is_set() or self._ended

    def end(self) -> None:
        """Make no more calls after the one under way, and end the thread."""
        self._ended = True
        with suppress(queue.Full):  # then the thread has something to wake up for anyway
            self._waiting.put_nowait(None)

    def _work(self) -> None:
        while (call := self._waiting.get()) is not None and not self._ended:
            self._since = time.monotonic()
            try:
                call()
            except Exception as error:  # whatever it is, the caller goes on
                self._failed(error)
            self._since = None

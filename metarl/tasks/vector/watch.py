"""Gymnasium's AsyncVectorEnv under watch: its processes answer in time, or end with a clear error."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from gymnasium.vector import AsyncVectorEnv

from metarl.tasks.vector.workers import WorkerError

DEATH_SECONDS = 2.0


class AsyncWatch:
    """Limits every wait of ``env`` for its processes, and says what happened to those that failed.

    Gymnasium waits without end for a process that hangs, and its error for one that raised loses the child's traceback
    and notes.

    Args:
        env: the environment to watch; its waits and its queue of errors are wrapped.
        timeout: seconds in which every process must answer.
    """

    def __init__(self, env: AsyncVectorEnv, timeout: float) -> None:
        self._env, self._timeout = env, timeout
        self._errors = _Errors(env.error_queue, timeout)
        env.error_queue = self._errors  # type: ignore[assignment]  # the environment calls nothing but get
        for name in ("reset_wait", "step_wait", "call_wait"):
            setattr(env, name, partial(getattr(env, name), timeout=timeout))

    def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What ``method`` of the environment, or of a wrapper around it, returns.

        Raises:
            WorkerError: a process raised, died or did not answer; all of them are ended then.
        """
        heard = len(self._errors.heard)
        try:
            return method(*args, **kwargs)
        except Exception as error:
            failed = self._failures(error, self._errors.heard[heard:])
            if not failed:  # the caller's own mistake, or a wrapper's
                raise
            self._end()
            raise WorkerError("\n".join(failed)) from error

    def _failures(self, error: Exception, heard: list[tuple[int, str]]) -> list[str]:
        """What failed in which row; nothing where no process is to blame."""
        if self._env.closed:
            return []
        if heard:
            return [f"the process of row {row} raised an error:\n{trace}" for row, trace in heard]
        # A pipe breaks a moment before its process is known to be dead.
        seconds = DEATH_SECONDS if isinstance(error, EOFError | OSError) else 0
        ended = wait([process.sentinel for process in self._env.processes], seconds)
        dead = [row for row, process in enumerate(self._env.processes) if process.sentinel in ended]
        if dead:
            self._env.processes[dead[0]].join(DEATH_SECONDS)
            return [f"the process of row {row} died with exit code {self._env.processes[row].exitcode}" for row in dead]
        if isinstance(error, multiprocessing.TimeoutError | queue.Empty):
            late = [row for row, pipe in enumerate(self._env.parent_pipes) if not _answered(pipe)]
            rows = ", ".join(map(str, late))
            return [f"the processes of the rows {rows} gave no answer for {self._timeout:g} s"]
        return []

    def _end(self) -> None:
        """End all processes: they wait for requests that will never come, or hang."""
        for process in self._env.processes:
            process.kill()
        for process in self._env.processes:
            process.join()
        for pipe in self._env.parent_pipes:
            if pipe is not None:
                pipe.close()
        self._env.closed = True  # its own close would wait for answers


class _Errors:
    """A queue of the errors of processes that remembers what was taken from it, and waits no longer than it should."""

    def __init__(self, errors: Any, timeout: float) -> None:
        self._queue, self._timeout = errors, timeout
        self.heard: list[tuple[int, str]] = []
        """Row and traceback of each error."""

    def get(self) -> Any:
        item = self._queue.get(timeout=self._timeout)
        self.heard.append((item[0], item[3]))
        return item


def _answered(pipe: Connection | None) -> bool:
    return pipe is not None and not pipe.closed and pipe.poll(0)

"""Learners in processes of their own, which train only when asked to, so that two can take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import environments
from serve import THREAD_VARIABLES

HERE = Path(__file__).resolve().parent
OURS = "ours"


class PeerError(RuntimeError):
    """A learner's process ended with an error; the message is the last line that it printed."""


class Side(NamedTuple):
    """A learner with its options.

    Args:
        name: what it is called in tables.
        peer: :data:`OURS`, or whose environment it runs in.
        options: of its script.
    """

    name: str
    peer: str
    options: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Why it can't be run; None: it can."""
        return None if self.peer == OURS else environments.missing(self.peer)

    def command(self, *more: str) -> list[str]:
        """Its command line."""
        python = sys.executable if self.peer == OURS else str(environments.python(self.peer))
        return [python, str(HERE / f"peer_{self.peer}.py"), *self.options, *more]


class Running:
    """A learner that waits to be asked for rollouts; a context manager that ends its process."""

    def __init__(self, side: Side) -> None:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(side.command(), text=True, env=environment(), **pipes)
        self.facts = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()

    def rate(self, rollouts: int) -> float:
        """Environment steps a second of training."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{rollouts}\n")
        self.process.stdin.flush()
        answer = self._answer()
        return float(answer["steps"] / answer["seconds"])

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(last_line(self.process.communicate()[1]))
        return json.loads(line)


def race(side: Side, *options: str) -> Any:
    """What a learner answers that races to a mean return; see :class:`serve.Race`.

    Raises:
        PeerError: its process ended with an error.
    """
    done = subprocess.run(side.command(*options), text=True, capture_output=True, env=environment(), check=False)
    if done.returncode:
        raise PeerError(last_line(done.stderr))
    return json.loads(done.stdout)


def last_line(text: str) -> str:
    """The last line with something in it."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")


def environment() -> dict[str, str]:
    """The variables of a learner's process, without those that say how many threads: its options say it."""
    return {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}


def busy_processes(count: int) -> Sequence[subprocess.Popen[bytes]]:
    """Processes that compute until they are killed."""
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]

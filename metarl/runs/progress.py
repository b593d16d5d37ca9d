"""How far something is: a bar where stderr is a terminal, else a plain line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

EVERY = 30.0  # seconds between two plain lines
ROWS = 24  # of a terminal that doesn't tell its size


class Progress:
    """Shows on stderr what is under way, how far it is, a few numbers and the time left.

    Args:
        stage: what is under way, such as "training".
        total: of its units; None: not known.
        unit: what is counted, in the singular.
        quiet: show nothing.
        begun: units that were done before, by a run that is resumed; they don't count for the speed.
        every: seconds between two lines where stderr is no terminal.
        clock: the time in seconds.
    """

    def __init__(
        self,
        stage: str,
        total: int | None,
        unit: str,
        *,
        quiet: bool = False,
        begun: int = 0,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage, self._total, self._unit, self._done, self._begun = stage, total, unit, begun, begun
        self._numbers = ""
        self._every, self._clock, self._quiet = every, clock, quiet
        self._start = self._said = clock()
        self._bar: tqdm[Any] | None = None
        if not quiet and sys.stderr is not None and sys.stderr.isatty():
            size: dict[str, Any] = {"dynamic_ncols": True} if _has_size() else {"nrows": ROWS}
            self._bar = tqdm(total=total, desc=stage, unit=f" {unit}s", unit_scale=True, initial=begun, **size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def now(self, stage: str | None = None, total: int | None = None) -> None:
        """Say what is under way from now on, and how much there is in all."""
        self._stage, self._total = stage or self._stage, total or self._total
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.set_description(self._stage, refresh=False)

    def show(self, numbers: Mapping[str, str]) -> None:
        """Show these numbers, by name, until others come."""
        self._numbers = ", ".join(f"{name} {value}" for name, value in numbers.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._numbers, refresh=False)

    def add(self, count: int = 1) -> None:
        """``count`` more units are done."""
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """So many units are done."""
        step, self._done = done - self._done, done
        if self._bar is not None:
            self._bar.update(step)
        elif not self._quiet and self._clock() - self._said >= self._every:
            self._said = self._clock()
            say(self._line())

    def _line(self) -> str:
        """Such as ``training: 12 %, 1,920,000 of 16,000,000 steps, return 61.3, 3:10 left``."""
        parts, seconds = [], self._clock() - self._start
        if self._total:
            parts.append(f"{100 * self._done // self._total} %")
            parts.append(f"{self._done:,} of {self._total:,} {self._unit}s")
        else:
            parts.append(f"{self._done:,} {self._unit}s")
        parts += [self._numbers] if self._numbers else []
        made = self._done - self._begun
        if self._total and made > 0:
            parts.append(f"{duration(seconds * (self._total - self._done) / made)} left")
        return f"{self._stage}: {', '.join(parts)}"


def _has_size() -> bool:
    """Whether the terminal tells how large it is: tqdm shows no bar in one of no lines."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).lines > 0
    except (OSError, ValueError):  # it has no descriptor
        return False


def say(line: str, out: TextIO | None = None) -> None:
    """Print a line at once, above a bar where there is one; on stderr unless ``out`` is given."""
    if (file := out or sys.stderr) is not None:
        tqdm.write(line, file=file)
        file.flush()


def duration(seconds: float) -> str:
    """Such as 0:07, 3:10 or 2:25:44.

    >>> duration(7), duration(190), duration(8744)
    ('0:07', '3:10', '2:25:44')
    """
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

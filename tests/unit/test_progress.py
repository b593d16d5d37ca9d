"""How far something is, on a terminal and elsewhere."""

import contextlib
import io
import sys
from collections.abc import Callable

import pytest

from metarl.runs.progress import Progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that goes on by ``seconds`` each time it is looked at."""
    now = iter(range(10**6))
    return lambda: next(now) * seconds


def play(progress: Progress) -> None:
    with progress:
        progress.show({"return": "61.3"})
        for _ in range(10):
            progress.add(10)


def test_without_a_terminal_a_line_comes_now_and_then() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as err:
        play(Progress("training", 1000, "step", every=30, clock=ticking(4)))
    lines = err.getvalue().splitlines()
    assert 1 <= len(lines) <= 3
    assert lines[0].startswith("training: ")
    assert "of 1,000 steps, return 61.3, " in lines[0]
    assert lines[0].endswith(" left")


def test_what_a_resumed_run_did_before_does_not_count_for_its_speed() -> None:
    times = iter([0.0, 30.0, 30.0, 30.0])
    with contextlib.redirect_stderr(io.StringIO()) as err:
        Progress("training", 1000, "step", begun=800, every=30, clock=lambda: next(times)).add(100)  # in 30 seconds
    assert err.getvalue() == "training: 90 %, 900 of 1,000 steps, 0:30 left\n"


def test_what_is_short_or_quiet_prints_nothing() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as err:
        play(Progress("training", 1000, "step", every=10**6, clock=ticking(1)))
        play(Progress("training", 1000, "step", quiet=True, every=0, clock=ticking(1)))
    assert err.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    with contextlib.redirect_stderr(Screen()) as screen:
        play(Progress("training", 100, "step", every=0))
    assert "training: 100%" in screen.getvalue()
    assert "return 61.3" in screen.getvalue()


def test_a_process_without_stderr_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    play(Progress("training", 100, "step", every=0))

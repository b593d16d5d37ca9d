"""What all commands share: one-line errors, exit statuses, arguments, tables."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from metarl.types import VoidTrialWarning

OK, FAILED, WRONG = 0, 1, 2
FRAMES = ("Traceback (most recent call last)", "  ")  # how the lines begin that say where in the code an error arose
Rows = list[dict[str, Any]]


class Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(WRONG, f"{self.prog}: {message} (see {self.prog} --help)\n")


def at_least(least: int) -> Callable[[str], int]:
    """An argument type: a whole number of at least ``least``."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return read


def add_device(command: argparse.ArgumentParser, default: str | None) -> None:
    """The option that names the torch device; None: as the preset says."""
    shown = default or "as the preset says: auto"
    command.add_argument("--device", default=default, help=f"torch device: auto, cpu, cuda, cuda:1 (default {shown})")


def add_skip_bad(command: argparse.ArgumentParser) -> None:
    """The option that goes on without images that can't be used."""
    what = "few-shot: leave out images and folders that can't be used, and say how many, instead of refusing them all"
    command.add_argument("--skip-bad", action="store_true", help=what)


@contextmanager
def any_output() -> Iterator[None]:
    """Print whatever is told: to nowhere where there is no output, and escaped where it has no form in its encoding."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before Python began
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for the rest of the process)
    out = sys.stdout
    if not (isinstance(out, TextIOWrapper) and out.errors == "strict"):
        yield
        return
    out.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(OSError, ValueError):  # it takes no more, or is closed; that was told
            out.reconfigure(errors="strict")


@contextmanager
def short_warnings() -> Iterator[None]:
    """Print warnings for users on one line each, without the place in the code."""
    whole = warnings.formatwarning

    def short(message: Any, category: type[Warning], *place: Any, **line: Any) -> str:
        if category not in (UserWarning, VoidTrialWarning):
            return whole(message, category, *place, **line)
        lines = [line for line in str(message).splitlines() if not line.startswith(FRAMES)]
        return f"metarl: {'; '.join(lines)}\n"

    warnings.formatwarning = short
    try:
        yield
    finally:
        warnings.formatwarning = whole


def refuse(error: Exception) -> NoReturn:
    """Print what is wrong in one line and exit with 2."""
    message = in_one_line(error)
    if isinstance(error, OSError) and error.strerror:
        message = f"cannot use {error.filename}: {error.strerror}; give another path"
    print(f"metarl: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(WRONG) from None


def in_one_line(error: BaseException) -> str:
    """The message of an error with its notes."""
    return " ".join("; ".join([str(error), *getattr(error, "__notes__", [])]).split())


def checked(make: Callable[[], Any]) -> Any:
    """What ``make`` returns; a ValueError or OSError ends the command with one line."""
    try:
        return make()
    except (ValueError, OSError) as error:
        refuse(error)


def tell(images: Iterable[Path], missing: Iterable[str]) -> None:
    """Print where images are, and why others are missing."""
    for path in images:
        print(f"image:      {path}")
    for line in missing:
        print(f"missing:    {line}")


def print_table(rows: Rows) -> None:
    """Print rows with the same keys as aligned columns."""
    cells = [list(rows[0]), *([text(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def text(value: Any) -> str:
    """A value as text for a table."""
    if isinstance(value, dict):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)

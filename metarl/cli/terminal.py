"""What all commands share: errors of one line, exit statuses, arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

OK, FAILED, WRONG = 0, 1, 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(WRONG, f"{self.prog}: {message} (see {self.prog} --help)\n")


def at_least(least: int) -> Callable[[str], int]:
    """What reads a whole number of at least ``least``."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return read


def add_run_options(train: argparse.ArgumentParser) -> None:
    """The options of every command that trains in a run folder."""
    train.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a setting (repeatable)"
    )
    train.add_argument("--seed", type=at_least(0), default=0, help="seed of everything random (default 0)")
    train.add_argument("--out", type=Path, help="run folder to make (default runs/PRESET-TIME-sSEED)")
    train.add_argument(
        "--wandb", choices=["offline", "online", "disabled"], default="disabled", help="default disabled"
    )


def refuse(error: Exception) -> NoReturn:
    """Print what is wrong in one line and exit with 2."""
    message = " ".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, OSError) and error.strerror:
        message = f"cannot use {error.filename}: {error.strerror}; give another path"
    print(f"metarl: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(WRONG) from None


def checked(make: Callable[[], Any]) -> Any:
    """What ``make`` returns; a wrong value ends the command in one line."""
    try:
        return make()
    except (ValueError, OSError) as error:
        refuse(error)


def tell(pictures: Iterable[Path], missing: Iterable[str]) -> None:
    """Say where pictures are, and what is missing for others."""
    for path in pictures:
        print(f"picture:    {path}")
    for line in missing:
        print(f"missing:    {line}")

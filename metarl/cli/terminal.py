"""What all commands share: their help, one-line errors, exit statuses, arguments."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from metarl.cli.completion import complete_settings, completed_by
from metarl.config import Assignment, did_you_mean
from metarl.types import VoidTrialWarning

OK, FAILED, WRONG = 0, 1, 2
SKIP_BAD: Assignment = (("data", "skip_bad"), True)  # what --skip-bad sets
FRAMES = ("Traceback (most recent call last)", "  ")  # how the lines begin that say where in the code an error arose
SETTING = re.compile(r"[\w-]+(\.[\w-]+)*=")
CHOICE = re.compile(r"invalid choice: '(?P<given>[^']*)' \(choose from (?P<valid>.*)\)$")


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, with the name that was meant where one is near."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        if found := CHOICE.search(message):
            valid = [name.strip().strip("'") for name in found["valid"].split(",")]
            if hint := did_you_mean(found["given"], valid):
                message = f"{message}; {hint}"
        self.exit(WRONG, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class, but what is left over is an error of this command, which knows its own options."""
        known, left = super().parse_known_args(sys.argv[1:] if args is None else one_by_one(args), namespace)
        if left:
            options = re.findall(r"--[\w-]+", self.format_help())
            hint = did_you_mean(left[0].partition("=")[0], options)
            self.error(f"unrecognized arguments: {' '.join(left)}{f'; {hint}' if hint else ''}")
        return known, left


def one_by_one(words: Iterable[str]) -> list[str]:
    """The words of a command, with a ``--set`` before each of several settings in a row.

    >>> one_by_one(["train", "bandit", "--set", "env.arms=5", "env.pulls=9", "--seed", "1"])
    ['train', 'bandit', '--set', 'env.arms=5', '--set', 'env.pulls=9', '--seed', '1']
    """
    spread: list[str] = []
    for word in words:
        if spread[-2:-1] == ["--set"] and SETTING.match(word):
            spread.append("--set")
        spread.append(word)
    return spread


def add_command(commands: Any, name: str, about: str, examples: str, more: str = "") -> Parser:
    """A command with what every one has: a line in the list, a description, and examples.

    Args:
        commands: of the parser.
        name: of the command.
        about: what it does, in a line.
        examples: command lines, one a line; each must parse.
        more: further sentences of the description, in lines of at most 79 columns.
    """
    described = f"{about[0].upper()}{about[1:]}.{chr(10)}{more}".strip()
    lines = textwrap.indent(inspect.cleandoc(examples), "  ")
    made: Parser = commands.add_parser(
        name,
        help=about,
        description=described,
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return made


def add_quiet(command: argparse.ArgumentParser, about: str) -> argparse._MutuallyExclusiveGroup:
    """The option ``--quiet``; returns the group of options of which only one can be given."""
    talk = command.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help=about)
    return talk


def add_settings(command: argparse.ArgumentParser, about: str) -> None:
    """The option ``--set``."""
    option = command.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help=about
    )
    completed_by(option, complete_settings)


def at_least(least: int) -> Callable[[str], int]:
    """An argument type: a whole number of at least ``least``."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return read


def add_device(command: argparse.ArgumentParser, default: str | None) -> None:
    """The option that names the torch device; None: as the preset says."""
    shown = f"default {default}" if default else "auto, unless the preset says otherwise"
    command.add_argument("--device", default=default, help=f"torch device, such as auto, cpu, cuda or cuda:1 ({shown})")


def add_skip_bad(command: argparse.ArgumentParser) -> None:
    """The option that goes on without images that can't be used."""
    what = "few-shot: leave out unusable images and folders and report them, instead of rejecting the whole data folder"
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

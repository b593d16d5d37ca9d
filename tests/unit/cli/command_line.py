"""Commands of the command line, run in the process of the tests."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

from metarl.cli.main import main


class Ran(NamedTuple):
    status: int
    out: str
    err: str


def run(*arguments: str | Path) -> Ran:
    """A command in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(str(end.code))
    return Ran(status, out.getvalue(), err.getvalue())

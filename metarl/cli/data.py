"""``metarl data``: data sets."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from metarl.cli.terminal import OK, add_command, checked


def add_data(commands: Any) -> None:
    """``metarl data`` and its options."""
    data = add_command(
        commands,
        "data",
        "download a data set and print its location",
        """
        metarl data omniglot
        metarl data omniglot --data FOLDER --no-download
        """,
    )
    data.add_argument(
        "name",
        choices=["omniglot"],
        help="data set to download; omniglot has 1623 characters, with 20 drawings of each (15 MB)",
    )
    data.add_argument("--data", metavar="DIR", help="folder for the data (default: the user's cache)")
    data.add_argument("--no-download", action="store_true", help="print where the data are, without downloading them")
    data.set_defaults(act=run_data)


def run_data(args: argparse.Namespace) -> int:
    """``metarl data``."""
    from metarl.data.omniglot import describe, download

    if not args.no_download:
        checked(lambda: download(args.data, progress=sys.stderr.isatty()))
    print(checked(lambda: describe(args.data)))
    return OK

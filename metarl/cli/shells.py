"""``metarl completion``: what a shell needs to complete words."""

from __future__ import annotations

import argparse
from typing import Any

from metarl.cli.terminal import OK, add_command

SHELLS = ("bash", "zsh", "fish", "powershell")


def add_completion(commands: Any) -> None:
    """``metarl completion`` and its argument."""
    completion = add_command(
        commands,
        "completion",
        "print the code that lets a shell complete commands, presets, settings and runs",
        """
        eval "$(metarl completion bash)"    # in ~/.bashrc; zsh likewise
        metarl completion fish | source
        """,
    )
    completion.add_argument("shell", choices=SHELLS, help="which shell")
    completion.set_defaults(act=run_completion)


def run_completion(args: argparse.Namespace) -> int:
    """``metarl completion``."""
    import argcomplete

    print(argcomplete.shellcode(["metarl"], shell=args.shell))
    return OK

"""Environments on the command line: the options that say how tasks differ, and ``metarl check-env``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from metarl.cli.terminal import FAILED, OK, at_least, checked, print_table, refuse
from metarl.config import Assignment

CHECKED_LEVELS = "0..99"  # the levels that are checked where nothing varies


def add_check(commands: Any) -> None:
    """``metarl check-env`` and its options."""
    check = commands.add_parser("check-env", help="check that an environment can be trained on")
    check.add_argument("env", metavar="ID", nargs="+", help="environment; module:ID imports the module first")
    add_tasks(check)
    check.add_argument("--json", action="store_true", help="print JSON instead of a table")
    check.set_defaults(act=run_check)


def add_tasks(command: argparse.ArgumentParser) -> None:
    """The options that say how tasks differ, and what a trial is."""
    command.add_argument(
        "--vary",
        metavar="NAME=RANGE",
        action="append",
        default=[],
        help="what differs between tasks, such as length=0.3..1.0, size=int:1..5 or map=4x4,8x8 (repeatable)",
    )
    command.add_argument("--levels", metavar="A..B", help="seeds of the levels of an environment; each level is a task")
    command.add_argument("--episodes", type=at_least(1), help="episodes in a trial (default 5)")
    command.add_argument("--steps", type=at_least(1), help="steps in a trial; with --episodes, at most this many")
    add_import(command)


def add_import(command: argparse.ArgumentParser) -> None:
    """The option that names modules."""
    command.add_argument(
        "--import",
        dest="imports",
        metavar="MODULE",
        action="append",
        default=[],
        help="import this module first, such as one that registers environments (repeatable)",
    )


def env_settings(args: argparse.Namespace) -> list[Assignment]:
    """The options ``--env``, ``--vary`` and so on, as settings of the section ``env``.

    Raises:
        ValueError: a range or levels that cannot be read.
    """
    from metarl.tasks.family.reading import parse_levels, parse_vary

    settings: list[Assignment] = []
    if args.env:
        settings.append((("env",), {"id": args.env[0] if len(args.env) == 1 else args.env}))
    varied = [parse_vary(text) for text in args.vary]
    if twice := [name for i, (name, _) in enumerate(varied) if name in dict(varied[:i])]:
        raise ValueError(f"--vary {twice[0]} is given twice; give it one range, such as {twice[0]}=0.3..1.0")
    settings += [(("env", "vary", name), given) for name, given in varied]
    if args.levels is not None:
        parse_levels(args.levels)
    given = {"levels": args.levels, "episodes": args.episodes, "steps": args.steps, "import": args.imports or None}
    return settings + [(("env", name), value) for name, value in given.items() if value is not None]


def look_here(modules: Iterable[str] = ()) -> None:
    """Import ``modules``; from now on, modules in the current folder are found, as with ``python -m metarl``."""
    from metarl.tasks.family.code import import_modules

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    checked(lambda: import_modules(modules))


def run_check(args: argparse.Namespace) -> int:
    """``metarl check-env``."""
    look_here()
    settings = checked(lambda: env_settings(args))
    from metarl.config import apply
    from metarl.experiments.rl.experiment import is_family, make_family
    from metarl.tasks.check.check_env import Finding, check_env
    from metarl.tasks.family.env_family import SpacesError

    env = apply({}, settings)["env"]
    one = isinstance(env["id"], str) and not env.keys() & {"vary", "levels"}
    if one and not checked(lambda: is_family(env)):
        env["levels"] = CHECKED_LEVELS  # nothing else is said to vary
    try:
        findings = check_env(make_family(env, "train"))
    except SpacesError as error:
        findings = [Finding("spaces", False, str(error))]
    except ValueError as error:
        refuse(error)
    rows = [finding._asdict() for finding in findings]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table([{"rule": f.name, "kept": "yes" if f.ok else "NO", "found": f.message} for f in findings])
    return OK if all(finding.ok for finding in findings) else FAILED

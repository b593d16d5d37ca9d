"""Environments on the command line: the options that say how tasks differ, and ``metarl check-env``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from metarl.cli.table import print_table
from metarl.cli.terminal import FAILED, OK, add_command, at_least, checked, refuse
from metarl.config import Assignment, InputError, parse_assignment

if TYPE_CHECKING:
    from metarl.tasks.check.check_env import Finding

TASK_OPTIONS = ("env", "vary", "levels", "kwargs", "wrap", "apply", "episodes", "steps")
SEEN_OPTIONS = ("observe", "drop", "info")
ENV_HELP = (
    "ID of an environment; with module:ID, the module is imported first; with module:function, the function makes the "
    "environment"
)


def add_check(commands: Any) -> None:
    """``metarl check-env`` and its options."""
    check = add_command(
        commands,
        "check-env",
        "check whether an environment can be used for training",
        """
        metarl check-env CartPole-v1 --vary force_mag=5..15 --episodes 5
        metarl check-env mymodule:Doors-v0 --levels 0..99
        """,
        "The command plays trials with random actions, and trains an agent for a few\n"
        "steps. The exit status is 1 if a check fails.",
    )
    check.add_argument("env", metavar="ID", nargs="+", help=ENV_HELP)
    add_tasks(check)
    add_seen(check)
    check.add_argument("--json", action="store_true", help="print JSON instead of a table")
    check.set_defaults(act=run_check)


def add_tasks(command: argparse.ArgumentParser) -> None:
    """The options that say how tasks differ, and what a trial is; see :data:`TASK_OPTIONS`."""
    command.add_argument(
        "--vary",
        metavar="NAME=RANGE",
        action="append",
        default=[],
        help="what differs between tasks, such as force_mag=5..15, size=int:1..5, map=4x4,8x8 or "
        "model.opt.gravity[2]=-15..-5 (repeatable)",
    )
    command.add_argument(
        "--levels",
        metavar="A..B",
        help="seeds from which the environment generates its levels; each level is a task",
    )
    command.add_argument(
        "--kwargs",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a fixed argument of the environment's constructor, such as size=6 (repeatable)",
    )
    command.add_argument(
        "--wrap",
        metavar="MODULE:WRAPPER",
        action="append",
        default=[],
        help="put a wrapper around the environment (repeatable); the first one is innermost",
    )
    command.add_argument(
        "--apply",
        metavar="MODULE:FUNCTION",
        help="your own function(env, values), which gives an environment the values of a task",
    )
    command.add_argument(
        "--episodes",
        type=at_least(1),
        help="number of episodes in a trial (default 5); with 1, --vary is optional, because each episode can be "
        "a task",
    )
    command.add_argument(
        "--steps", type=at_least(1), help="number of steps in a trial; with --episodes, the maximum number"
    )
    add_import(command)


def add_seen(command: argparse.ArgumentParser) -> None:
    """The options that say what is seen of an environment; see :data:`SEEN_OPTIONS`."""
    command.add_argument(
        "--observe",
        metavar="PART=KIND",
        action="append",
        default=[],
        help="how to read a part of the observation: as symbols, picture (channels last), picture-first (channels "
        "first) or numbers (repeatable)",
    )
    command.add_argument(
        "--drop", metavar="PART", action="append", default=[], help="part of the observation to leave out (repeatable)"
    )
    command.add_argument(
        "--info",
        metavar="KEY",
        action="append",
        default=[],
        help="also report this number from the environment's info (repeatable)",
    )


def add_import(command: argparse.ArgumentParser) -> None:
    """The option that names modules."""
    command.add_argument(
        "--import",
        dest="imports",
        metavar="MODULE",
        action="append",
        default=[],
        help="module to import first, such as one that registers environments (repeatable)",
    )


def env_table(args: argparse.Namespace) -> dict[str, Any]:
    """The options ``--env``, ``--vary`` and so on that were given, as an ``[env]`` table.

    Raises:
        ValueError: a range, levels or an argument that cannot be read.
    """
    from metarl.tasks.family.reading import parse_levels, parse_vary

    if args.levels is not None:
        parse_levels(args.levels)
    table = {
        "id": args.env[0] if args.env and len(args.env) == 1 else args.env,
        "vary": _once("--vary", "one range, such as {}=0.3..1.0", [parse_vary(text) for text in args.vary]),
        "levels": args.levels,
        "kwargs": _once("--kwargs", "one value", [_parse_argument(text) for text in args.kwargs]),
        "wrap": args.wrap,
        "apply": args.apply,
        "episodes": args.episodes,
        "steps": args.steps,
        "import": args.imports,
    }
    if hasattr(args, "observe"):  # not where the agent is trained already
        observe = [*map(_parse_part, args.observe), *((name, "dropped") for name in args.drop)]
        table |= {"observe": _once("--observe", "one kind", observe), "infos": args.info}
    return {name: value for name, value in table.items() if value}


def env_settings(args: argparse.Namespace) -> list[Assignment]:
    """:func:`env_table` as settings of the section ``env``: an environment replaces the section, others change it.

    Raises:
        ValueError: a range, levels or an argument that cannot be read.
    """
    table = env_table(args)
    settings: list[Assignment] = [(("env",), {"id": table.pop("id")})] if "id" in table else []
    for name, value in table.items():
        settings += [(("env", name, key), v) for key, v in value.items()] if isinstance(value, dict) else []
        settings += [] if isinstance(value, dict) else [(("env", name), value)]
    return settings


def _once(option: str, wanted: str, given: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in given]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"{option} {twice[0]} is given twice; give it {wanted.format(twice[0])}")
    return dict(given)


def _parse_part(text: str) -> tuple[str, str]:
    name, equals, kind = (part.strip() for part in text.partition("="))
    if not equals or not name:
        raise InputError(key="--observe", given=text, expected="PART=KIND such as image=symbols")
    return name, kind


def _parse_argument(text: str) -> tuple[str, Any]:
    key, value = parse_assignment(text)
    if len(key) > 1 or not key[0].isidentifier():
        raise InputError(key="--kwargs", given=text, expected="NAME=VALUE such as size=6")
    return key[0], value


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
    from metarl.experiments.rl.experiment import make_family
    from metarl.tasks.check.check_env import Finding, check_env
    from metarl.tasks.family.env_family import SpacesError

    try:
        findings = check_env(make_family(apply({}, settings)["env"], "train"), quiet=args.json)
    except SpacesError as error:
        findings = [Finding("spaces", "broken", str(error))]
    except ValueError as error:
        refuse(error)
    if all(finding.ok for finding in findings):
        findings.append(_train_a_little(settings))
    if args.json:
        print(json.dumps([{**finding._asdict(), "ok": finding.ok} for finding in findings], indent=2))
    else:
        shown = {"kept": "yes", "advice": "advice", "broken": "NO"}
        print_table([{"rule": f.name, "kept": shown[f.level], "found": f.message} for f in findings])
    return OK if all(finding.ok for finding in findings) else FAILED


def _train_a_little(settings: list[Assignment]) -> Finding:
    """Whether ``metarl train`` with these settings would take the environment."""
    import torch

    from metarl.experiments.presets import load_experiment
    from metarl.tasks.check.check_env import Finding
    from metarl.tasks.family.errors import told

    train = {"total_timesteps": 16, "n_envs": 2, "n_steps": 8}
    try:
        experiment = load_experiment("general", [*settings, (("train",), train), (("ppo", "n_minibatches"), 1)])
        agent = experiment.build(0, torch.device("cpu"))
        with warnings.catch_warnings(action="ignore"):  # what is worth a word has been told
            agent.learn(train["total_timesteps"])
        agent.env.close()
    except Exception as error:  # whatever a user's environment may raise
        return Finding("training", "broken", str(error) if isinstance(error, InputError) else told(error))
    return Finding("training", "kept", f"{agent.num_timesteps} steps")

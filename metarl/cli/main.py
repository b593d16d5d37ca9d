"""The command line: ``metarl COMMAND``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import metarl
from metarl.cli.bench import add_bench
from metarl.cli.classify import add_classify
from metarl.cli.completion import complete
from metarl.cli.data import add_data
from metarl.cli.env import add_check
from metarl.cli.experiments import add_experiments
from metarl.cli.export import add_export
from metarl.cli.latest import found
from metarl.cli.listing import add_list
from metarl.cli.play import add_play
from metarl.cli.runs import add_runs
from metarl.cli.settings import add_settings_command
from metarl.cli.shells import add_completion
from metarl.cli.sweep import add_sweep
from metarl.cli.terminal import FAILED, OK, Parser, any_output, in_one_line, refuse, short_warnings
from metarl.cli.train import add_train
from metarl.cli.watch import add_watch
from metarl.cli.zoo import add_zoo
from metarl.config import InputError
from metarl.files import FULL
from metarl.types import NonFiniteError


def parser() -> Parser:
    """All commands and their options."""
    top = Parser(
        prog="metarl",
        description="Memory-based meta-learning: train, evaluate and inspect RL² agents and few-shot learners.",
        epilog="metarl COMMAND --help describes a command and shows examples.\nA first run: metarl train bandit",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"metarl {metarl.__version__}", help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for add in (add_train, add_experiments, add_sweep, add_watch, add_play, add_classify, add_runs):
        add(commands)
    for add in (add_settings_command, add_list, add_zoo, add_bench, add_data, add_check, add_export, add_completion):
        add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    0: success; 1: a number was not finite or a check failed; 2: a wrong name, key or value; 128 + N: ended by signal N.
    """
    with any_output():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["fewshot"]:
        refuse(
            ValueError(f"few-shot learners have no commands of their own; use metarl {' '.join(given[1:]) or 'train'}")
        )
    made = parser()
    complete(made)
    args = made.parse_args(given)
    if args.command is None:
        made.print_help()
        return OK
    try:
        if args.command != "train" and _beside_others(args.command):
            return OK
        found(args)
        with short_warnings():
            status = int(args.act(args))
        sys.stdout.flush()
        return status
    except NonFiniteError as error:
        print(f"metarl: {in_one_line(error)}", file=sys.stderr)
        return FAILED
    except InputError as error:  # any other error, such as one of a user's environment, keeps its traceback
        refuse(error)
    except KeyboardInterrupt as error:
        print("; ".join(["metarl: interrupted", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return 128 + int(getattr(error, "number", signal.SIGINT))
    except BrokenPipeError:  # the reader, such as head, has gone; Python flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"metarl: {in_one_line(error)}", file=sys.stderr)
        return FAILED


def _beside_others(command: str) -> bool:
    """Whether this is another process than the first of several that ``torchrun`` started, which then all end.

    Raises:
        InputError: it is the first.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # so that no command imports torch to see that
        return False
    from metarl import parallel

    launched = parallel.launched()
    if launched is None or launched.processes == 1:
        return False
    if launched.rank:
        return True
    problem = f"metarl {command} works in one process, and torchrun started {launched.processes}"
    raise InputError(problem, key="torchrun", remedy="start it without torchrun, which is for metarl train")


if __name__ == "__main__":
    raise SystemExit(main())

"""The command line: ``metarl train | eval | report | list``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from metarl.config import parse_assignment

OK, FAILED, WRONG = 0, 1, 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(WRONG, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> Parser:
    """All commands and their options."""
    top = Parser(prog="metarl", description="Memory-based meta-learning: train, evaluate and look at RL² agents.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    train = commands.add_parser("train", help="train an agent, evaluate it on held-out tasks and draw the curves")
    train.add_argument("preset", help="name of a preset (metarl list presets) or path of a TOML file")
    train.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a setting (repeatable)"
    )
    train.add_argument("--seed", type=at_least(0), default=0, help="seed of everything random (default 0)")
    train.add_argument("--out", type=Path, help="run folder to make (default runs/PRESET-TIME-sSEED)")
    train.add_argument(
        "--wandb", choices=["offline", "online", "disabled"], default="disabled", help="default disabled"
    )
    train.set_defaults(act=run_train)

    evaluate = commands.add_parser("eval", help="evaluate the agent of a run folder on held-out tasks")
    evaluate.add_argument("run", type=Path, help="run folder")
    evaluate.add_argument("--trials", type=at_least(1), help="tasks to play (default: as the preset says)")
    evaluate.add_argument("--split", choices=["validation", "test"], default="test", help="default test")
    evaluate.add_argument("--seed", type=at_least(0), help="seed of the tasks drawn (default that of the run)")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    evaluate.set_defaults(act=run_eval)

    report = commands.add_parser("report", help="draw the pictures of a run folder again")
    report.add_argument("run", type=Path, help="run folder")
    report.set_defaults(act=run_report)

    listing = commands.add_parser("list", help="what there is to choose from")
    listing.add_argument("what", choices=["envs", "memories", "presets"])
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    listing.set_defaults(act=run_list)
    return top


def at_least(least: int) -> Callable[[str], int]:
    """What reads a whole number of at least ``least``."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    0: well; 1: something was not finite; 2: a wrong name, key or value; 128 + N: ended by signal N.
    """
    args = parser().parse_args(arguments)
    try:
        status = int(args.act(args))
        sys.stdout.flush()
        return status
    except FloatingPointError as error:  # NonFiniteError, whose own name would cost importing torch
        print(f"metarl: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("metarl: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # who reads, such as head, has seen enough; Python flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def refuse(error: Exception) -> NoReturn:
    """Print what is wrong in one line and exit with 2."""
    message = str(error)
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


def run_train(args: argparse.Namespace) -> int:
    """``metarl train``."""
    settings = checked(lambda: [parse_assignment(text) for text in args.settings])
    from metarl import experiment as experiments
    from metarl.runs import RunFolder

    experiment = checked(lambda: experiments.configure(args.preset, settings))
    name = Path(args.preset).stem
    run = checked(
        lambda: RunFolder.create_at(args.out) if args.out else RunFolder.create(Path("runs"), name, seed=args.seed)
    )
    trained = experiments.train(experiment, run, seed=args.seed, wandb=args.wandb)
    print(f"trained {trained.steps:,} steps in {trained.seconds:.0f} s")
    if trained.signal is not None:
        print(f"interrupted; what was learned until then is in {run.checkpoint}")
        return 128 + trained.signal
    evaluation = experiments.evaluate(trained.agent, experiment, seed=args.seed)
    evaluation |= {"train_seconds": trained.seconds, "train_steps": trained.steps, "train_seed": args.seed}
    experiments.save_evaluation(run, evaluation)
    show(evaluation)
    draw(run)
    return OK


def run_eval(args: argparse.Namespace) -> int:
    """``metarl eval``."""
    from metarl import experiment as experiments
    from metarl.runs import RunFolder

    run = checked(lambda: RunFolder.open(args.run))
    experiment, own_seed = checked(lambda: experiments.load_experiment(run))
    agent = checked(lambda: experiments.load_agent(run, experiment))
    seed = own_seed if args.seed is None else args.seed
    evaluation = experiments.evaluate(
        agent, experiment, split=args.split, trials=args.trials, seed=seed, quiet=args.json
    )
    if args.split == "test" and not run.evaluation.is_file():  # of a run that was interrupted before
        experiments.save_evaluation(run, evaluation)
    if args.json:
        print(json.dumps(evaluation))
    else:
        show(evaluation)
    return OK


def run_report(args: argparse.Namespace) -> int:
    """``metarl report``."""
    from metarl.runs import RunFolder

    draw(checked(lambda: RunFolder.open(args.run)))
    return OK


def run_list(args: argparse.Namespace) -> int:
    """``metarl list``."""
    from metarl import listing

    rows = {"envs": listing.envs, "memories": listing.memories, "presets": listing.presets}[args.what]()
    print(json.dumps(rows, indent=2) if args.json else listing.table(rows))
    return OK


def show(evaluation: dict[str, Any]) -> None:
    """Print the table of an evaluation."""
    from metarl.report.tables import evaluation_table

    print(evaluation_table(evaluation))


def draw(run: Any) -> None:
    """Draw what can be drawn of a run, and say where."""
    from metarl.report.figures import draw_run

    pictures = checked(lambda: draw_run(run))
    print(f"run folder: {run.path}")
    for path in pictures:
        print(f"picture:    {path}")


if __name__ == "__main__":
    raise SystemExit(main())

"""The command line: ``metarl train | eval | fewshot | report | list | bench | data | check-env``."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.cli.fewshot import add_data, add_fewshot
from metarl.cli.terminal import FAILED, OK, Parser, add_run_options, at_least, checked, refuse, tell
from metarl.config import parse_assignment, to_plain

if TYPE_CHECKING:
    from metarl.experiments.rl.experiment import Trained
    from metarl.runs.tracking import Tracker

CHECKED_SEEDS = "0..99"
"""The levels of an environment that is checked where nothing is said to vary."""

Assignment = tuple[tuple[str, ...], Any]


def parser() -> Parser:
    """All commands and their options."""
    top = Parser(
        prog="metarl",
        description="Memory-based meta-learning: train, evaluate and look at RL² agents and few-shot learners.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    train = commands.add_parser("train", help="train an agent, evaluate it on held-out tasks and draw the curves")
    train.add_argument(
        "preset",
        nargs="?",
        help="name of a preset (metarl list presets) or path of a TOML file (default with --env: general)",
    )
    train.add_argument(
        "--env",
        metavar="ID",
        action="append",
        help="train on this instead of the preset's; module:ID imports the module (repeatable: each id is a task)",
    )
    add_tasks(train)
    add_run_options(train)
    train.set_defaults(act=run_train)

    evaluate = commands.add_parser("eval", help="evaluate the agent of a run folder on held-out tasks")
    evaluate.add_argument("run", type=Path, help="run folder")
    evaluate.add_argument("--trials", type=at_least(1), help="tasks to play (default: as the preset says)")
    evaluate.add_argument("--split", choices=["validation", "test"], default="test", help="default test")
    evaluate.add_argument("--seed", type=at_least(0), help="seed of the tasks drawn (default that of the run)")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_import(evaluate)
    evaluate.set_defaults(act=run_eval)

    add_fewshot(commands)
    add_data(commands)

    report = commands.add_parser("report", help="draw a run, or several side by side, and write a page of it")
    report.add_argument("runs", type=Path, metavar="RUN", nargs="+", help="run folder; means over seeds")
    report.add_argument("--out", type=Path, metavar="FILE", help="page to write (default report.html in the first run)")
    report.set_defaults(act=run_report)

    listing = commands.add_parser("list", help="what there is to choose from")
    listing.add_argument("what", choices=["envs", "memories", "presets"])
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    listing.add_argument("--untimed", action="store_true", help="memories: leave out what they cost on this machine")
    listing.set_defaults(act=run_list)

    bench = commands.add_parser("bench", help="measure memories side by side")
    bench.add_argument("what", choices=["memory"], help="memory: recall of sequences, at equal size and budget")
    bench.add_argument("--tasks", metavar="NAME", nargs="+", help="tasks (default all)")
    bench.add_argument("--memories", metavar="NAME", nargs="+", help="controllers, or STORE+ACCESS (default a choice)")
    bench.add_argument("--updates", type=at_least(2), default=3000, help="most updates of a cell (default 3000)")
    bench.add_argument("--seconds", type=at_least(1), help="longest training of a cell (default without end)")
    bench.add_argument("--batch", type=at_least(1), default=64, help="sequences in an update (default 64)")
    bench.add_argument("--parameters", type=at_least(1), default=40_000, help="of each model, ± 10 %% (default 40000)")
    bench.add_argument("--seed", type=at_least(0), nargs="+", default=[0], help="seeds, each a training (default 0)")
    bench.add_argument("--jobs", type=at_least(1), default=1, help="cells at a time, one thread each (default 1)")
    bench.add_argument(
        "--out", type=Path, default=Path("runs/recall"), help="folder; what it has isn't measured again (runs/recall)"
    )
    add_import(bench)
    bench.set_defaults(act=run_bench)

    check = commands.add_parser("check-env", help="check that an environment keeps the rules of a trial")
    check.add_argument("env", metavar="ID", nargs="+", help="id of an environment, or module:ID")
    add_tasks(check)
    check.add_argument("--json", action="store_true", help="print JSON instead of a table")
    check.set_defaults(act=run_check)
    return top


def add_tasks(command: argparse.ArgumentParser) -> None:
    """The options that say how tasks differ, and what a trial is."""
    command.add_argument(
        "--vary",
        metavar="NAME=RANGE",
        action="append",
        default=[],
        help="what differs over tasks, such as length=0.3..1.0, size=int:1..5 or map=4x4,8x8 (repeatable)",
    )
    command.add_argument("--seeds", metavar="A..B", help="each seed is a task: a level")
    command.add_argument("--episodes", type=at_least(1), help="episodes in a trial (default 5)")
    command.add_argument("--steps", type=at_least(1), help="steps in a trial; with --episodes, the most it can have")
    add_import(command)


def add_import(command: argparse.ArgumentParser) -> None:
    """The option that names modules."""
    command.add_argument(
        "--import",
        dest="imports",
        metavar="MODULE",
        action="append",
        default=[],
        help="import this first, because it registers environments (repeatable)",
    )


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
    except ValueError as error:
        from metarl.tasks.family.checks import SpacesError

        if not isinstance(error, SpacesError):  # an error of the environment itself keeps its traceback
            raise
        refuse(error)
    except KeyboardInterrupt:
        print("metarl: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # who reads, such as head, has seen enough; Python flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def env_settings(args: argparse.Namespace) -> list[Assignment]:
    """What ``--env``, ``--vary`` and the like say, as settings of the section ``env``.

    Raises:
        ValueError: a range that is none, or seeds that are none.
    """
    from metarl.tasks.family.ranges import parse_seeds, parse_vary

    settings: list[Assignment] = []
    if args.env:
        settings.append((("env",), {"id": args.env[0] if len(args.env) == 1 else args.env}))
    varied = [parse_vary(text) for text in args.vary]
    if twice := [name for i, (name, _) in enumerate(varied) if name in dict(varied[:i])]:
        raise ValueError(f"--vary {twice[0]} is given twice; give it one range, such as {twice[0]}=0.3..1.0")
    settings += [(("env", "vary", name), given) for name, given in varied]
    if args.seeds is not None:
        parse_seeds(args.seeds)
    given = {"seeds": args.seeds, "episodes": args.episodes, "steps": args.steps, "import": args.imports or None}
    return settings + [(("env", name), value) for name, value in given.items() if value is not None]


def look_here() -> None:
    """Let modules that the command line names be found in the current folder, as with ``python -m metarl``."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def run_train(args: argparse.Namespace) -> int:
    """``metarl train``."""
    if not args.preset and not args.env:
        refuse(ValueError("train needs a preset (metarl list presets shows them), or an environment: --env ID"))
    look_here()
    settings = checked(lambda: env_settings(args) + [parse_assignment(text) for text in args.settings])
    from metarl.experiments.rl import evaluate as evaluations
    from metarl.experiments.rl import experiment as experiments
    from metarl.runs.folder import RunFolder

    experiment = checked(lambda: experiments.configure(args.preset or "general", settings))
    name = Path(args.preset).stem if args.preset else "-".join(re.split("[:/]", one)[-1] for one in args.env)
    run = checked(
        lambda: RunFolder.create_at(args.out) if args.out else RunFolder.create(Path("runs"), name, seed=args.seed)
    )

    def conclude(trained: Trained, tracker: Tracker) -> None:
        print(f"trained {trained.steps:,} steps in {trained.seconds:.0f} s")
        evaluation = evaluations.evaluate(trained.agent, experiment, seed=args.seed)
        facts = {"train_seconds": trained.seconds, "train_steps": trained.steps, "train_seed": args.seed}
        evaluation = replace(evaluation, **facts)
        evaluations.save_evaluation(run, evaluation)
        evaluations.save_trials(run, evaluations.record_trials(trained.agent, experiment, seed=args.seed))
        tracker.log_summary({"evaluation": to_plain(evaluation)})
        show(evaluation)
        for name, picture in draw(run).items():
            tracker.log_image(picture, f"figures/{name}")

    trained = experiments.train(experiment, run, seed=args.seed, wandb=args.wandb, conclude=conclude)
    if trained.signal is not None:
        print(f"trained {trained.steps:,} steps in {trained.seconds:.0f} s")
        print(f"interrupted; what was learned until then is in {run.checkpoint}")
        return 128 + trained.signal
    return OK


def run_eval(args: argparse.Namespace) -> int:
    """``metarl eval``."""
    from metarl.experiments.rl import evaluate as evaluations
    from metarl.experiments.rl import experiment as experiments
    from metarl.evaluation.records import trials_file
    from metarl.runs.folder import RunFolder

    if args.imports:  # never what a run folder names: it may come from somebody else
        look_here()
        from metarl.tasks.family.members import import_modules

        checked(lambda: import_modules(args.imports))
    run = checked(lambda: RunFolder.open(args.run))
    experiment, own_seed = checked(lambda: experiments.load_experiment(run))
    agent = checked(lambda: experiments.load_agent(run, experiment))
    seed = own_seed if args.seed is None else args.seed
    evaluation = evaluations.evaluate(
        agent, experiment, split=args.split, trials=args.trials, seed=seed, quiet=args.json
    )
    if args.split == "test" and not run.evaluation.is_file():  # of a run that was interrupted before
        evaluations.save_evaluation(run, evaluation)
    if args.split == "test" and not trials_file(run).is_file():
        evaluations.save_trials(run, evaluations.record_trials(agent, experiment, seed=own_seed))
    if args.json:
        print(json.dumps(to_plain(evaluation)))
    else:
        show(evaluation)
    return OK


def run_report(args: argparse.Namespace) -> int:
    """``metarl report``."""
    from metarl.report.build import build_report
    from metarl.runs.folder import RunFolder

    report = checked(lambda: build_report([RunFolder.open(path) for path in args.runs], args.out))
    for path in args.runs:
        print(f"run folder: {path}")
    tell(report.images, report.missing)
    print(f"page:       {report.page}")
    return OK


def run_list(args: argparse.Namespace) -> int:
    """``metarl list``."""
    from metarl.cli import listing

    if args.untimed and args.what != "memories":
        refuse(ValueError(f"--untimed is for list memories; list {args.what} times nothing"))
    memories = partial(listing.memories, timed=not args.untimed)
    made: dict[str, Callable[[], listing.Rows]]
    made = {"envs": listing.envs, "memories": memories, "presets": listing.presets}
    rows = made[args.what]()
    print(json.dumps(rows, indent=2) if args.json else listing.table(rows))
    return OK


def run_bench(args: argparse.Namespace) -> int:
    """``metarl bench``."""
    look_here()
    from metarl.bench.candidates import SUITE, candidates, named
    from metarl.evaluation.recall import RecallCell, RecallSettings
    from metarl.evaluation.results import RecallEvaluation
    from metarl.bench.run import FILE, complete
    from metarl.data.recall import RECALL_TASKS
    from metarl.report.recall import draw_recall
    from metarl.report.tables import evaluation_table
    from metarl.tasks.family.members import import_modules

    checked(lambda: import_modules(args.imports))
    tasks = checked(lambda: named(args.tasks or list(RECALL_TASKS), list(RECALL_TASKS), "--tasks"))
    memories = checked(lambda: named(args.memories or SUITE, list(candidates()), "--memories"))
    settings = RecallSettings(updates=args.updates, seconds=args.seconds, batch=args.batch, parameters=args.parameters)
    cells = [RecallCell(t, m, seed, settings) for t in tasks for m in memories for seed in dict.fromkeys(args.seed)]
    try:
        results = checked(lambda: complete(cells, args.out, jobs=args.jobs, imports=args.imports))
    except KeyboardInterrupt:
        print(f"interrupted; what was measured until then is in {args.out / FILE}, and the same command goes on")
        return 128 + signal.SIGINT
    print(evaluation_table(RecallEvaluation(results=tuple(results))))
    print(f"results:    {args.out / FILE}")
    print(f"picture:    {draw_recall(results, args.out / 'recall.png')}")
    return OK


def run_check(args: argparse.Namespace) -> int:
    """``metarl check-env``."""
    look_here()
    settings = checked(lambda: env_settings(args))
    from metarl.cli import listing
    from metarl.config import apply
    from metarl.experiments.rl import experiment as experiments
    from metarl.tasks.check.check_env import Finding, check_env
    from metarl.tasks.family.env_family import SpacesError

    env = apply({}, settings)["env"]
    one = isinstance(env["id"], str) and not env.keys() & {"vary", "seeds"}
    if one and not checked(lambda: experiments.is_family(env)):
        env["seeds"] = CHECKED_SEEDS  # nothing else is said to vary
    try:
        findings = check_env(experiments.make_family(env, "train"))
    except SpacesError as error:
        findings = [Finding("spaces", False, str(error))]
    except ValueError as error:
        refuse(error)
    rows = [finding._asdict() for finding in findings]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(listing.table([{"rule": f.name, "kept": "yes" if f.ok else "NO", "found": f.message} for f in findings]))
    return OK if all(finding.ok for finding in findings) else FAILED


def show(evaluation: Any) -> None:
    """Print the table of an evaluation."""
    from metarl.report.tables import evaluation_table

    print(evaluation_table(evaluation))


def draw(run: Any) -> Mapping[str, Path]:
    """Draw what can be drawn of a run, say where, and return the pictures by name."""
    from metarl.report.draw import draw_run

    drawn = checked(lambda: draw_run(run))
    print(f"run folder: {run.path}")
    tell(drawn.images.values(), drawn.missing)
    pictures: Mapping[str, Path] = drawn.images
    return pictures


if __name__ == "__main__":
    raise SystemExit(main())

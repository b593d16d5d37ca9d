"""``metarl eval`` and ``report``: the same for every kind of experiment."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl.cli.env import TASK_OPTIONS, add_tasks, env_table, look_here
from metarl.cli.latest import add_run
from metarl.cli.outcome import print_evaluation
from metarl.cli.terminal import (
    OK,
    SKIP_BAD,
    add_command,
    add_device,
    add_quiet,
    add_settings,
    add_skip_bad,
    at_least,
    checked,
    refuse,
    tell,
)
from metarl.cli.train import require
from metarl.config import Assignment, ConfigError, one_of, parse_assignment

TESTS = (
    *("eval.cells", "eval.streams", "eval.queries", "data.within_alphabet", "data.distinct_drawers"),
    *("data.min_images", "data.max_images", "data.skip_bad"),
)
"""The settings that a test of a trained few-shot learner may change."""


def add_experiments(commands: Any) -> None:
    """The two commands and their options."""
    evaluate = add_command(
        commands,
        "eval",
        "evaluate a trained model on held-out tasks",
        """
        metarl eval latest
        metarl eval RUN --json -n 1000 --seed 1
        metarl eval RUN --set env.pulls=1000
        """,
        "If an interrupted run has no evaluation yet, the command adds one to the run folder.",
    )
    add_run(evaluate, "run folder")
    evaluate.add_argument(
        "-n",
        "--trials",
        dest="n",
        metavar="N",
        type=at_least(1),
        help="number of trials, few-shot episodes or sequences to test on (default: as in the preset); for few-shot "
        "learners, --episodes means the same",
    )
    evaluate.add_argument(
        "--split", choices=["validation", "test"], default="test", help="which held-out tasks to use (default test)"
    )
    evaluate.add_argument(
        "--seed", type=at_least(0), help="seed for drawing the held-out tasks (default: the run's seed)"
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    evaluate.add_argument(
        "--data", metavar="DIR", help="few-shot: new location of the Omniglot or image folder, if it has moved"
    )
    add_skip_bad(evaluate)
    evaluate.add_argument("--rotations", action="store_true", help="few-shot: treat rotated images as separate classes")
    add_settings(
        evaluate,
        "change a setting of the test (repeatable); for an agent, any setting of env or eval, such as env.pulls=1000; "
        f"for a few-shot learner, {', '.join(TESTS[:-1])} or {TESTS[-1]} (eval.cells=[[40,1]], for example, tests "
        "40-way 1-shot classification)",
    )
    add_quiet(evaluate, "show no progress")
    add_device(evaluate, "auto")
    evaluate.add_argument(
        "--env", metavar="ID", action="append", help="evaluate on this environment instead of the one from training"
    )
    add_tasks(evaluate)
    evaluate.set_defaults(act=run_eval)

    report = add_command(
        commands,
        "report",
        "write an HTML page that shows one run or compares several",
        """
        metarl report latest
        metarl report RUN OTHER --out compared.html
        """,
        "Runs that differ only in their seeds are drawn as one curve, which is their mean.",
    )
    add_run(report, "run folder; runs that differ only in their seeds are averaged", several=True)
    report.add_argument(
        "--out", type=Path, metavar="FILE", help="page to write (default report.html in the first run folder)"
    )
    report.add_argument(
        "--json", action="store_true", help="print the paths of the page and its images as one JSON object"
    )
    report.set_defaults(act=run_report)


def run_eval(args: argparse.Namespace) -> int:
    """``metarl eval``."""
    from metarl.presets.names import kind_of
    from metarl.runs.folder import RunFolder

    config = RunFolder.open(args.run).config  # before what takes long to import
    from metarl.config import to_plain
    from metarl.experiments.run import open_run
    from metarl.tasks.family.code import named_modules

    kind = kind_of(config, str(args.run))
    if kind != "rl2" and args.n is None:
        args.n, args.episodes = args.episodes, None
    require(kind, "fewshot", {"--data": args.data, "--rotations": args.rotations, "--skip-bad": args.skip_bad})
    require(kind, "rl2", {f"--{name}": getattr(args, name) for name in TASK_OPTIONS})
    settings: list[Assignment] = [(("data", "folder"), args.data)] if args.data else []
    settings += [(("eval", "rotations"), True)] if args.rotations else []
    settings += [SKIP_BAD] if args.skip_bad else []
    tasks = checked(lambda: env_table(args)) if kind == "rl2" else {}
    settings += checked(lambda: eval_settings(kind, args.settings))
    typed = [*tasks.pop("import", args.imports), *named_modules(tasks)]
    if typed:  # never what a run folder names: it may come from somebody else
        look_here(typed)
    if tasks:  # what else is said of the run's own test tasks stays
        own = config.get("env", {}).get(args.split) or {}
        settings.append((("env", args.split), (own if isinstance(own, dict) else {"levels": own}) | tasks))
    done = open_run(args.run, settings, device=args.device, imports=typed)
    evaluation = done.evaluate(split=args.split, n=args.n, seed=args.seed, quiet=args.json or args.quiet)
    other = args.rotations or args.skip_bad or bool(tasks) or bool(args.settings)
    asked = (args.split, args.n, args.seed in (None, done.seed), other)
    if asked == ("test", None, True, False):
        done.complete(evaluation)  # what an interrupted run lacks
    if args.json:
        print(json.dumps(to_plain(evaluation)))
    else:
        print_evaluation(evaluation)
    return OK


def eval_settings(kind: str, texts: Sequence[str]) -> list[Assignment]:
    """What ``eval --set`` changes: tasks and how they are played, and never what was trained.

    Args:
        kind: of the experiment.
        texts: ``KEY=VALUE``

    Raises:
        ConfigError: one that can't be read, or that changes nothing in a test, or more than that.
    """
    settings = [parse_assignment(text) for text in texts]
    sections = ("env", "eval") if kind == "rl2" else ("eval",)
    for key, value in settings:
        name = ".".join(key)
        if kind == "fewshot" and name not in TESTS:
            remedy = "-n, --rotations and --data have options of their own" if key[0] in ("eval", "data") else None
            problem = f"--set {name} is no setting of a test"
            raise ConfigError(problem, key=name, given=value, expected=one_of(TESTS), remedy=remedy)
        if kind != "fewshot" and (key[0] not in sections or len(key) < 2):
            expected = f"a setting of {' or '.join(sections)}: the rest was trained as it is"
            raise ConfigError(key=f"--set {name}", given=value, expected=expected)
    return settings


def run_report(args: argparse.Namespace) -> int:
    """``metarl report``."""
    from metarl.report.build import build_report
    from metarl.runs.folder import RunFolder

    folders = [RunFolder.open(path) for path in args.runs]
    if entries := [folder.path.name for folder in folders if folder.is_entry]:
        remedy = f"metarl zoo show {entries[0]} shows its card"
        problem = f"{entries[0]} is an entry of the zoo, without metrics and evaluation to draw"
        refuse(ConfigError(problem, key="run", expected="run folders", remedy=remedy))
    report = checked(lambda: build_report(folders, args.out))
    if args.json:
        told = {"page": str(report.page), "runs": list(map(str, args.runs))}
        print(json.dumps(told | {"images": list(map(str, report.images)), "missing": report.missing}))
        return OK
    for path in args.runs:
        print(f"run folder: {path}")
    tell(report.images, report.missing)
    print(f"page:       {report.page}")
    return OK

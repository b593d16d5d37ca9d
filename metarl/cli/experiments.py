"""``metarl train``, ``eval`` and ``report``: the same for every kind of experiment."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.cli.env import ENV_HELP, SEEN_OPTIONS, TASK_OPTIONS, add_seen, add_tasks, env_settings, env_table, look_here
from metarl.cli.terminal import OK, add_device, add_skip_bad, at_least, checked, refuse, tell
from metarl.config import Assignment, ConfigError, one_of, parse_assignment

if TYPE_CHECKING:
    from metarl.experiments.run import Run

TESTS = (
    *("eval.cells", "eval.streams", "eval.queries", "data.within_alphabet", "data.distinct_drawers"),
    *("data.min_images", "data.max_images", "data.skip_bad"),
)
"""The settings that a test of a trained few-shot learner may change."""
SKIP_BAD: Assignment = (("data", "skip_bad"), True)


def add_experiments(commands: Any) -> None:
    """The three commands and their options."""
    train = commands.add_parser("train", help="train a preset, evaluate it on held-out tasks and draw the results")
    train.add_argument(
        "preset",
        nargs="?",
        help="name of a preset (metarl list presets) or path of a TOML file (default with --env: general)",
    )
    train.add_argument(
        "--env",
        metavar="ID",
        action="append",
        help=f"{ENV_HELP} (repeatable: each is a task)",
    )
    add_tasks(train)
    add_seen(train)
    train.add_argument("--encoder", metavar="MODULE:FUNCTION", help="a net of your own for what the environment shows")
    place = train.add_mutually_exclusive_group()
    place.add_argument("--data", metavar="DIR", help="few-shot: folder of Omniglot (default METARL_DATA or the cache)")
    place.add_argument("--images", metavar="DIR", help="few-shot: folder with a folder of images for each class")
    add_skip_bad(train)
    train.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting such as env.arms=5 (repeatable)",
    )
    train.add_argument("--seed", type=at_least(0), help="random seed (default 0)")
    train.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with the run in this folder from its newest checkpoint, or evaluate it where that is missing; "
        "beside it only --device, --wandb and --import are allowed",
    )
    train.add_argument("--out", type=Path, help="run folder to create (default runs/PRESET-TIME-sSEED)")
    train.add_argument(
        "--wandb", choices=["offline", "online", "disabled"], default="disabled", help="log to Weights & Biases"
    )
    add_device(train, None)
    train.set_defaults(act=run_train)

    evaluate = commands.add_parser("eval", help="evaluate the trained model of a run folder on held-out tasks")
    evaluate.add_argument("run", type=Path, help="run folder")
    evaluate.add_argument(
        "-n",
        "--trials",
        dest="n",
        metavar="N",
        type=at_least(1),
        help="number of trials, few-shot episodes (there also --episodes) or sequences (default: as the preset says)",
    )
    evaluate.add_argument("--split", choices=["validation", "test"], default="test", help="which tasks (default test)")
    evaluate.add_argument("--seed", type=at_least(0), help="seed of the held-out tasks (default: that of the run)")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    evaluate.add_argument("--data", metavar="DIR", help="few-shot: where Omniglot or the folder of images is now")
    add_skip_bad(evaluate)
    evaluate.add_argument("--rotations", action="store_true", help="few-shot: count rotations as separate classes")
    evaluate.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="other tests: of an agent settings of env and eval, such as env.pulls=1000; few-shot "
        f"{', '.join(TESTS)}, such as eval.cells=[[40,1]], 40 ways and 1 shot (repeatable)",
    )
    add_device(evaluate, "auto")
    evaluate.add_argument("--env", metavar="ID", action="append", help="other tasks: those of this environment")
    add_tasks(evaluate)
    evaluate.set_defaults(act=run_eval)

    report = commands.add_parser("report", help="draw one run, or compare several, and write an HTML page")
    report.add_argument("runs", type=Path, metavar="RUN", nargs="+", help="run folder; several seeds are averaged")
    report.add_argument("--out", type=Path, metavar="FILE", help="page to write (default report.html in the first run)")
    report.set_defaults(act=run_report)


def run_train(args: argparse.Namespace) -> int:
    """``metarl train``."""
    if args.resume is not None:
        return run_resume(args)
    if not args.preset and not args.env:
        refuse(ValueError("train needs a preset (metarl list presets shows them), or an environment: --env ID"))
    look_here(args.imports)
    preset = args.preset or "general"
    settings = checked(lambda: train_settings(args, preset))
    from metarl.experiments.presets import load_experiment
    from metarl.experiments.run import new_folder, run

    name = None if args.preset else "-".join(re.split("[:/]", one)[-1] for one in args.env)
    experiment = checked(lambda: load_experiment(preset, settings, name))
    seed = args.seed or 0
    folder = checked(lambda: new_folder(experiment, args.out, seed))
    print(experiment.describe())
    return tell_run(run(experiment, folder, seed=seed, wandb=args.wandb))


def run_resume(args: argparse.Namespace) -> int:
    """``metarl train --resume``."""
    allowed = ("resume", "device", "wandb", "imports", "act", "command")
    options = vars(args).items()
    given = [name for name, value in options if name not in allowed and value not in (None, []) and value is not False]
    if given:
        told = {"preset": "the preset", "settings": "--set"}
        names = ", ".join(told.get(name, f"--{name.replace('_', '-')}") for name in given)
        refuse(ConfigError(f"--resume goes on with the run as it is; leave out {names}", key=given[0]))
    look_here(args.imports)
    from metarl.experiments.run import resume

    return tell_run(resume(args.resume, device=args.device, wandb=args.wandb, imports=args.imports or ()))


def tell_run(done: Run) -> int:
    """Print what a run did, and the exit status."""
    from metarl.report.tables import evaluation_table

    peak = "" if done.peak_bytes is None else f", with at most {done.peak_bytes / 1e6:,.0f} MB of memory"
    print(f"trained {done.steps:,} {done.experiment.unit} in {done.seconds:.0f} s{peak}")
    if done.signal is not None:
        print(f"metarl train --resume {done.folder.path} goes on from the last checkpoint")
        print(f"interrupted; what was learned so far is in {done.folder.checkpoint}")
        return 128 + done.signal
    assert done.evaluation is not None
    print(evaluation_table(done.evaluation))
    print(f"run folder: {done.folder.path}")
    tell(done.images.values(), done.missing)
    return OK


def train_settings(args: argparse.Namespace, preset: str) -> list[Assignment]:
    """The options of ``train``, as settings.

    Raises:
        ConfigError: an option that can't be read, or that presets of this kind don't have.
    """
    from metarl.experiments.presets import preset_kind

    kind = preset_kind(preset)
    place = {"--data": args.data, "--images": args.images, "--skip-bad": args.skip_bad}
    tasks = {f"--{name}": getattr(args, name) for name in (*TASK_OPTIONS, *SEEN_OPTIONS, "encoder")}
    require(kind, "fewshot", place)
    require(kind, "rl2", tasks)
    settings = env_settings(args) if kind == "rl2" else []
    settings += [(("policy", "encoder"), args.encoder)] if args.encoder else []
    settings += [parse_assignment(text) for text in args.settings]
    settings += [SKIP_BAD] if args.skip_bad else []
    for source, folder in (("omniglot", args.data), ("images", args.images)):
        if folder is not None:
            settings += [(("data", "source"), source), (("data", "folder"), folder)]
    return settings + ([(("device",), args.device)] if args.device else [])


def require(kind: str, wanted: str, options: dict[str, Any]) -> None:
    """Refuse options of another kind of experiment.

    Args:
        kind: of the experiment.
        wanted: the kind that the options are for.
        options: their values by name; those that are not given are empty or None.

    Raises:
        ConfigError: one was given.
    """
    if kind != wanted and (given := [name for name, value in options.items() if value]):
        raise ConfigError(
            f"{given[0]} is an option of {wanted} experiments, but this one is of kind {kind}; leave it out"
        )


def run_eval(args: argparse.Namespace) -> int:
    """``metarl eval``."""
    from metarl.config import to_plain
    from metarl.experiments.presets import kind_of
    from metarl.experiments.run import open_run
    from metarl.report.tables import evaluation_table
    from metarl.runs.folder import RunFolder
    from metarl.tasks.family.code import named_modules

    config = RunFolder.open(args.run).config
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
    evaluation = done.evaluate(split=args.split, n=args.n, seed=args.seed, quiet=args.json)
    other = args.rotations or args.skip_bad or bool(tasks) or bool(args.settings)
    asked = (args.split, args.n, args.seed in (None, done.seed), other)
    if asked == ("test", None, True, False):
        done.complete(evaluation)  # what an interrupted run lacks
    print(json.dumps(to_plain(evaluation)) if args.json else evaluation_table(evaluation))
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

    report = checked(lambda: build_report([RunFolder.open(path) for path in args.runs], args.out))
    for path in args.runs:
        print(f"run folder: {path}")
    tell(report.images, report.missing)
    print(f"page:       {report.page}")
    return OK

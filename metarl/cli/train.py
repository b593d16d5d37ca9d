"""``metarl train``: the same for every kind of experiment."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.cli.completion import complete_presets, complete_runs, completed_by
from metarl.cli.env import ENV_HELP, SEEN_OPTIONS, TASK_OPTIONS, add_seen, add_tasks, env_settings, look_here
from metarl.cli.seeds import Several, add_seeds, named_seeds, train_seeds
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
from metarl.config import Assignment, ConfigError, parse_assignment

if TYPE_CHECKING:
    from metarl.experiments.run import Run


def add_train(commands: Any) -> None:
    """``metarl train`` and its options."""
    train = add_command(
        commands,
        "train",
        "train a model, evaluate it on held-out tasks, and draw figures",
        """
        metarl train bandit
        metarl train bandit --set env.arms=7 --seeds 3
        metarl train --env CartPole-v1 --vary force_mag=5..15 --episodes 5
        metarl train matching --images FOLDER
        metarl train --resume latest
        """,
        "Ctrl-C ends training early and keeps what was learned. To see what --set can\n"
        "change, run metarl settings PRESET.",
    )
    add_trained(
        train,
        "name of a preset (see metarl list presets) or path of a TOML file; optional with --env (default: the preset "
        "'general')",
    )
    seeds = train.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=at_least(0), help="random seed (default 0)")
    add_seeds(
        seeds,
        "train with several seeds, each in its own run folder (to continue unfinished runs, repeat the command with "
        "the same --out)",
    )
    train.add_argument(
        "--jobs",
        type=at_least(1),
        metavar="N",
        help="with --seeds, number of runs to train at the same time (default 1)",
    )
    resumed = train.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="continue the run in this folder ('latest' is the most recent one) from its newest checkpoint, or "
        "evaluate it if only the evaluation is missing; the only other options allowed are --device, --wandb, "
        "--import, --quiet, --verbose and --json",
    )
    completed_by(resumed, complete_runs)
    train.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="run folder to create (default runs/PRESET-TIME-sSEED); with --seeds, the beginning of each folder's name",
    )
    add_quiet(train, "print only the path of the run folder").add_argument(
        "-v", "--verbose", action="store_true", help="print each row of metrics to stderr"
    )
    train.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object (run folder, status, steps and evaluation) instead of a table; with --seeds, one "
        "line per run",
    )
    train.add_argument(
        "--wandb",
        choices=["offline", "online", "disabled"],
        default="disabled",
        help="whether to log to Weights & Biases (default disabled)",
    )
    add_device(train, None)
    train.set_defaults(act=run_train)


def add_trained(command: argparse.ArgumentParser, about: str) -> None:
    """The arguments that say what is trained, for :func:`train_settings`.

    Args:
        command: of the command line.
        about: what the help says of the preset.
    """
    completed_by(command.add_argument("preset", nargs="?", help=about), complete_presets)
    command.add_argument(
        "--env",
        metavar="ID",
        action="append",
        help=f"{ENV_HELP} (repeatable; each environment is a task)",
    )
    add_tasks(command)
    add_seen(command)
    command.add_argument(
        "--encoder", metavar="MODULE:FUNCTION", help="function that builds your own network for encoding observations"
    )
    place = command.add_mutually_exclusive_group()
    place.add_argument(
        "--data",
        metavar="DIR",
        help="few-shot: folder that contains the Omniglot archives (default: METARL_DATA if set, otherwise the cache)",
    )
    place.add_argument("--images", metavar="DIR", help="few-shot: folder with one subfolder of images per class")
    add_skip_bad(command)
    add_settings(command, "one or more settings, such as env.arms=5 (repeatable)")


def trained_name(args: argparse.Namespace) -> str | None:
    """The name of a training without a preset; None: that of the preset."""
    return None if args.preset else "-".join(re.split("[:/]", one)[-1] for one in args.env)


def run_train(args: argparse.Namespace) -> int:
    """``metarl train``."""
    if args.resume is not None:
        return run_resume(args)
    if not args.preset and not args.env:
        refuse(ValueError("train needs a preset (metarl list presets shows them), or an environment: --env ID"))
    look_here(args.imports)
    preset = args.preset or "general"
    settings = checked(lambda: train_settings(args, preset))
    from metarl import parallel
    from metarl.experiments.presets import load_experiment
    from metarl.experiments.run import new_folder, run

    launched = parallel.launched()
    if launched is not None and args.seeds is not None:
        refuse(ConfigError(key="--seeds", given=args.seeds, expected="none under torchrun, which trains one model"))
    if launched is not None and launched.max_restarts and args.out is None:
        refuse(ConfigError(key="--out", expected="a folder, by which a job that torchrun restarts knows its run"))

    if args.jobs is not None and args.seeds is None:
        refuse(ConfigError(key="--jobs", given=args.jobs, expected="--seeds beside it: several trainings"))
    seeds = None if args.seeds is None else checked(lambda: named_seeds(args.seeds))
    experiment = checked(lambda: load_experiment(preset, settings, trained_name(args)))
    talk = {"wandb": args.wandb, "quiet": args.quiet, "verbose": args.verbose}
    if seeds is not None:
        return train_seeds(Several(experiment, seeds, args.out, args.jobs or 1, tuple(args.imports), talk, args.json))
    seed = args.seed or 0
    if launched is not None and launched.rank:
        return OK if (signal := run(experiment, seed=seed, **talk).signal) is None else 128 + signal
    if launched is not None and args.out is not None and (args.out / "config.json").exists():
        return tell_run(run(experiment, args.out, seed=seed, resume=True, **talk), args)
    folder = checked(lambda: new_folder(experiment, args.out, seed))
    if not (args.quiet or args.json):
        print(experiment.describe())
        print(f"training in {folder.path}; Ctrl-C ends it early and keeps what was learned", flush=True)
    return tell_run(run(experiment, folder, seed=seed, **talk), args)


def run_resume(args: argparse.Namespace) -> int:
    """``metarl train --resume``."""
    allowed = ("resume", "device", "wandb", "imports", "quiet", "verbose", "json", "act", "command")
    options = vars(args).items()
    given = [name for name, value in options if name not in allowed and value not in (None, []) and value is not False]
    if given:
        told = {"preset": "the preset", "settings": "--set"}
        names = ", ".join(told.get(name, f"--{name.replace('_', '-')}") for name in given)
        refuse(ConfigError(f"--resume goes on with the run as it is; leave out {names}", key=given[0]))
    look_here(args.imports)
    from metarl import parallel
    from metarl.experiments.run import resume

    talk = {"wandb": args.wandb, "quiet": args.quiet, "verbose": args.verbose}
    done = resume(args.resume, device=args.device, imports=args.imports or (), **talk)
    launched = parallel.launched()
    if launched is not None and launched.rank:
        return OK if done.signal is None else 128 + done.signal
    return tell_run(done, args)


def tell_run(done: Run, args: argparse.Namespace) -> int:
    """Print what a run did, its outcome as JSON, or only its folder; returns the exit status."""
    from metarl.cli.outcome import print_evaluation, run_json

    status = OK if done.signal is None else 128 + done.signal
    if args.json:
        print(run_json(done.folder.path, done.seed, done.evaluation, done.signal))
        return status
    if args.quiet:
        print(done.folder.path)
        return status
    peak = "" if done.peak_bytes is None else f", with at most {done.peak_bytes / 1e6:,.0f} MB of memory"
    print(f"trained {done.steps:,} {done.experiment.unit} in {done.seconds:.0f} s{peak}")
    if done.cut_short is not None:
        print(done.cut_short)
    if done.signal is not None:
        print(f"metarl train --resume {done.folder.path} goes on from the last checkpoint")
        print(f"interrupted; what was learned so far is in {done.folder.checkpoint}")
        return status
    assert done.evaluation is not None
    print_evaluation(done.evaluation)
    print(f"run folder: {done.folder.path}")
    tell(done.images.values(), done.missing)
    return OK


def train_settings(args: argparse.Namespace, preset: str) -> list[Assignment]:
    """The options of ``train``, as settings.

    Raises:
        ConfigError: an option that can't be read, or that presets of this kind don't have.
    """
    from metarl.presets.names import preset_kind

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

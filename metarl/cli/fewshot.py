"""The commands of the few-shot track: ``metarl fewshot train | eval`` and ``metarl data``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.cli.terminal import OK, Parser, add_run_options, at_least, checked, tell
from metarl.config import parse_assignment, to_plain

if TYPE_CHECKING:
    from metarl.experiments.fewshot.train import Trained
    from metarl.runs.tracking import Tracker


def add_fewshot(commands: Any) -> None:
    """``metarl fewshot`` and its options."""
    fewshot = commands.add_parser("fewshot", help="few-shot learners: classify from a few labelled examples")
    actions = fewshot.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser)

    train = actions.add_parser("train", help="train a learner, test it on classes never met and draw what it does")
    train.add_argument("preset", help="name of a preset (metarl list presets) or path of a TOML file")
    add_data_options(train)
    add_run_options(train)
    train.set_defaults(act=run_train)

    evaluate = actions.add_parser("eval", help="test the learner of a run folder")
    evaluate.add_argument("run", type=Path, help="run folder")
    evaluate.add_argument("--data", metavar="DIR", help="where Omniglot, or the folder of images, lies now")
    evaluate.add_argument("--episodes", type=at_least(2), help="episodes of each cell (default: as the preset says)")
    evaluate.add_argument("--split", choices=["validation", "test"], default="test", help="default test")
    evaluate.add_argument("--rotations", action="store_true", help="count rotations as classes of their own")
    evaluate.add_argument("--seed", type=at_least(0), help="seed of the episodes drawn (default that of the run)")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    evaluate.set_defaults(act=run_eval)


def add_data(commands: Any) -> None:
    """``metarl data`` and its options."""
    data = commands.add_parser("data", help="get a data set, or say where it is")
    data.add_argument("name", choices=["omniglot"], help="omniglot: 1623 characters, 20 drawings of each; 15 MB")
    data.add_argument("--data", metavar="DIR", help="folder for it (default the user's cache)")
    data.add_argument("--no-download", action="store_true", help="only look for it")
    data.set_defaults(act=run_data)


def add_data_options(command: argparse.ArgumentParser) -> None:
    """The options that say where drawings come from."""
    place = command.add_mutually_exclusive_group()
    place.add_argument("--data", metavar="DIR", help="folder of Omniglot's archives (default METARL_DATA or the cache)")
    place.add_argument("--images", metavar="DIR", help="any folder of class folders of images, instead of Omniglot")


def run_train(args: argparse.Namespace) -> int:
    """``metarl fewshot train``."""
    settings = checked(lambda: [parse_assignment(text) for text in args.settings])
    if args.data is not None:
        settings += [(("data", "source"), "omniglot"), (("data", "folder"), args.data)]
    if args.images is not None:
        settings += [(("data", "source"), "images"), (("data", "folder"), args.images)]
    from metarl.experiments.fewshot import evaluate as evaluations
    from metarl.experiments.fewshot import train as trainings
    from metarl.experiments.fewshot.build import described
    from metarl.experiments.fewshot.options import configure, resolved
    from metarl.report.draw import draw_run
    from metarl.report.tables import evaluation_table
    from metarl.runs.folder import RunFolder

    wanted = checked(lambda: configure(args.preset, settings))
    experiment = checked(lambda: trainings.check(resolved(wanted)))
    print(f"data: {described(experiment.data)}")
    if (wanted.data.source, experiment.data.source) == ("auto", "glyphs"):
        print("      (Omniglot was not found: metarl data omniglot gets it, --data says where it is)")
    run = checked(
        lambda: (
            RunFolder.create_at(args.out)
            if args.out
            else RunFolder.create(Path("runs"), experiment.name, seed=args.seed)
        )
    )

    def conclude(trained: Trained, tracker: Tracker) -> None:
        print(f"trained {trained.updates:,} updates in {trained.seconds:.0f} s")
        evaluation = evaluations.evaluate(trained.learner, experiment, seed=args.seed)
        evaluation = replace(evaluation, **run_facts(run))
        evaluations.save_evaluation(run, evaluation)
        evaluations.save_episodes(run, trained.learner, experiment, args.seed)
        tracker.log_summary({"evaluation": to_plain(evaluation)})
        print(evaluation_table(evaluation))
        drawn = checked(lambda: draw_run(run))
        print(f"run folder: {run.path}")
        tell(drawn.images.values(), drawn.missing)
        for name, picture in drawn.images.items():
            tracker.log_image(picture, f"figures/{name}")

    trained = trainings.train(experiment, run, seed=args.seed, wandb=args.wandb, conclude=conclude)
    if trained.signal is not None:
        print(f"trained {trained.updates:,} updates in {trained.seconds:.0f} s")
        print(f"interrupted; what was learned until then is in {run.checkpoint}")
        return 128 + trained.signal
    return OK


def run_eval(args: argparse.Namespace) -> int:
    """``metarl fewshot eval``."""
    from metarl.experiments.fewshot import evaluate as evaluations
    from metarl.experiments.fewshot.train import load
    from metarl.report.tables import evaluation_table
    from metarl.evaluation.records import episodes_file
    from metarl.runs.folder import RunFolder

    run = checked(lambda: RunFolder.open(args.run))
    experiment, learner, own_seed = checked(lambda: load(run, args.data))
    facts = checked(lambda: run_facts(run))
    seed = own_seed if args.seed is None else args.seed
    rotations = True if args.rotations else None
    evaluation = checked(
        lambda: evaluations.evaluate(
            learner,
            experiment,
            split=args.split,
            episodes=args.episodes,
            rotations=rotations,
            seed=seed,
            quiet=args.json,
        )
    )
    evaluation = replace(evaluation, **facts)
    as_trained = (args.split, args.episodes, rotations, seed) == ("test", None, None, own_seed)
    if as_trained and not run.evaluation.is_file():  # of a run that was interrupted before
        checked(lambda: evaluations.save_evaluation(run, evaluation))
    if as_trained and not episodes_file(run).is_file():
        checked(lambda: evaluations.save_episodes(run, learner, experiment, own_seed))
    print(json.dumps(to_plain(evaluation)) if args.json else evaluation_table(evaluation))
    return OK


def run_facts(run: Any) -> dict[str, Any]:
    """What an evaluation says of the training that came before it."""
    status = run.status
    return {
        "train_seconds": float(status.get("train_seconds", 0.0)),
        "train_episodes": int(status.get("train_episodes", 0)),
        "train_seed": int(run.config["seed"]),
    }


def run_data(args: argparse.Namespace) -> int:
    """``metarl data``."""
    from metarl.data.omniglot import describe, download

    if not args.no_download:
        checked(lambda: download(args.data, progress=sys.stderr.isatty()))
    print(checked(lambda: describe(args.data)))
    return OK

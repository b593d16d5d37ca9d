"""``metarl classify``: a trained few-shot learner names the classes of new images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from metarl.cli.env import add_import, look_here
from metarl.cli.latest import add_run
from metarl.cli.table import print_table
from metarl.cli.terminal import OK, add_command, add_device, add_skip_bad, at_least, checked, refuse
from metarl.config import ConfigError
from metarl.files import check_target


def add_classify(commands: Any) -> None:
    """``metarl classify`` and its options."""
    classify = add_command(
        commands,
        "classify",
        "show classes to a trained few-shot learner, and let it classify new images",
        """
        metarl classify latest --support FOLDER --query new.png
        metarl classify latest --support FOLDER --save known.safetensors
        metarl classify latest --memory known.safetensors --query a.png b.png --json
        metarl classify latest --support FOLDER --calibrate OTHERS --query new.png
        """,
        "The classes come from --support, a folder with one subfolder of images per class.",
    )
    add_run(classify, "run folder of a few-shot learner")
    classify.add_argument(
        "--support", metavar="DIR", help="folder with one subfolder of images for each class to remember"
    )
    add_skip_bad(classify)
    classify.add_argument(
        "--memory",
        metavar="FILE",
        type=Path,
        help="file written by --save; its images are remembered again, and those of --support are added",
    )
    classify.add_argument(
        "--calibrate",
        metavar="DIR",
        help="folder like that of --support, of classes that were not trained on and won't be asked about: learn from "
        "them how sure an answer must be for its class to be a known one",
    )
    classify.add_argument("--query", metavar="FILE", nargs="+", default=[], help="images to classify")
    classify.add_argument("--save", metavar="FILE", type=Path, help="file in which to save what is remembered")
    classify.add_argument(
        "--recalled",
        metavar="N",
        type=at_least(1),
        help="for each query, also name the N remembered images that most influenced the answer",
    )
    classify.add_argument("--json", action="store_true", help="print one JSON object with all probabilities")
    add_device(classify, "auto")
    add_import(classify)
    classify.set_defaults(act=run_classify)


def run_classify(args: argparse.Namespace) -> int:
    """``metarl classify``."""
    if args.support is None and args.memory is None:
        refuse(ConfigError("classify needs something to remember: --support DIR, or --memory FILE", key="support"))
    if not args.query and args.save is None:
        refuse(ConfigError("classify has nothing to do: give --query FILE ..., or --save FILE", key="query"))
    if args.recalled and not args.query:
        refuse(
            ConfigError("--recalled is for the answers to queries; give images with --query FILE ...", key="recalled")
        )
    if args.skip_bad and args.support is None and args.calibrate is None:
        problem = "--skip-bad is for the images of a folder; give it with --support DIR or --calibrate DIR"
        refuse(ConfigError(problem, key="skip_bad"))
    if args.save is not None:
        check_target(args.save, "--save")
    look_here(args.imports)
    from metarl.agents.fewshot.trained import TrainedLearner
    from metarl.data.images import images_by_class
    from metarl.experiments.load import load

    learner = load(args.run, device=args.device, imports=args.imports or ())
    if not isinstance(learner, TrainedLearner):
        problem = f"{args.run} is no run of a few-shot learner of images, so it has no classes to remember"
        refuse(ConfigError(problem, key="run", remedy="give a run of one, or zoo:prototypical"))
    if args.memory is not None:
        learner.load_memory(args.memory)

    def images(folder: str) -> dict[str, list[Path]]:
        found, left_out = checked(lambda: images_by_class(folder, learner.reading, skip_bad=args.skip_bad))
        if left_out:
            print(f"metarl: left out with --skip-bad: {left_out}", file=sys.stderr)
        return found

    if args.support is not None:
        learner.remember(images(args.support))
    if args.calibrate is not None:
        learner.calibrate(images(args.calibrate))
    if args.save is not None:
        learner.save_memory(args.save)
    rows = []
    answers = learner.predict(args.query) if args.query else []
    for path, answer in zip(args.query, answers, strict=True):
        row: dict[str, Any] = {"query": path, "class": answer.name, "probability": answer.probability}
        if args.json:
            row |= {"probabilities": answer.probabilities, "known": answer.known, "unknown": answer.unknown}
        else:
            row["probability"] = f"{answer.probability:.1%}"
            row["next"] = "{} {:.1%}".format(*list(answer.probabilities.items())[1])
            row["known"] = "–" if answer.known is None else f"{answer.known:.1%}{' (unknown)' * bool(answer.unknown)}"
        if args.recalled:
            recalled = learner.recalled(path)[: args.recalled]
            named = [(one.source or f"{one.name} {one.example}", one.weight) for one in recalled]
            row["recalled"] = (
                [dict(zip(("image", "weight"), one, strict=True)) for one in named]
                if args.json
                else ", ".join(f"{image} {weight:.1%}" for image, weight in named)
            )
        rows.append(row)
    if args.json:
        print(json.dumps({"classes": learner.classes, "queries": rows}))
    elif rows:
        print_table(rows)
    else:
        print(f"remembered {sum(learner.classes.values())} images of {len(learner.classes)} classes in {args.save}")
    return OK

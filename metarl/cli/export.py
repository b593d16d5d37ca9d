"""``metarl export``: a trained agent or few-shot learner as a file for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.cli.env import add_import, look_here
from metarl.cli.latest import add_run
from metarl.cli.terminal import OK, add_command, at_least, refuse
from metarl.cli.train import require
from metarl.config import InputError
from metarl.files import check_target

if TYPE_CHECKING:
    from metarl.experiments.run import Run
    from metarl.export.write import Exported


def add_export(commands: Any) -> None:
    """``metarl export`` and its options."""
    export = add_command(
        commands,
        "export",
        "export an agent (as a function that computes one step) or a few-shot learner to ONNX or torch.export",
        """
        metarl export latest
        metarl export RUN --format torch --batch 16 --out deployed
        metarl export RUN --ways 20 --supports 100
        """,
    )
    add_run(export, "run folder of an agent or a few-shot learner")
    export.add_argument("--format", choices=["onnx", "torch"], default="onnx", help="format of the file (default onnx)")
    export.add_argument("--out", metavar="DIR", type=Path, help="folder to write to (default RUN/export)")
    export.add_argument(
        "--batch",
        metavar="N",
        type=at_least(1),
        help="agents: batch size of the exported function, that is, how many trials it can play side by side (default "
        "1)",
    )
    export.add_argument(
        "--ways", metavar="N", type=at_least(2), help="few-shot: largest number of classes (default: as in training)"
    )
    export.add_argument(
        "--supports",
        metavar="N",
        type=at_least(2),
        help="few-shot: largest number of labelled images (default: as in training); required for learners that read a "
        "stream, because they always take exactly this number",
    )
    add_import(export)
    export.set_defaults(act=run_export)


def run_export(args: argparse.Namespace) -> int:
    """``metarl export``."""
    from metarl.presets.names import kind_of
    from metarl.runs.folder import RunFolder

    kind = kind_of(RunFolder.open(args.run).config, str(args.run))  # before what takes long to import
    if kind == "recall":
        problem = f"{args.run} is the run of a recall benchmark's net, which can't be exported"
        refuse(InputError(problem, key="run", expected="a run of an agent or of a few-shot learner"))
    require(kind, "rl2", {"--batch": args.batch})
    require(kind, "fewshot", {"--ways": args.ways, "--supports": args.supports})
    if args.out is not None:
        check_target(args.out / "manifest", "--out")
    look_here(args.imports)
    from metarl.experiments.run import open_run

    run = open_run(args.run, device="cpu", imports=args.imports or ())
    if run.folder.is_entry and args.out is None:
        refuse(InputError(key="--out", expected="a folder: an entry of the zoo is not written to"))
    out = args.run / "export" if args.out is None else args.out
    made = exported(run, out, args)
    for path in made.files:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    print(f"answers differ from those of the model by at most {made.worst:.1e}")
    return OK


def exported(run: Run, out: Path, args: argparse.Namespace) -> Exported:
    """Export the model of a run.

    Args:
        run: of an agent or a few-shot learner.
        out: the file.
        args: of the command.
    """
    from metarl.experiments.rl.experiment import RL2Experiment

    experiment: Any = run.experiment
    if isinstance(experiment, RL2Experiment):
        from metarl.export.write import export

        scale = experiment.inputs.prev_reward_scale
        return export(run.model, out, args.format, batch=args.batch or 1, reward_scale=scale)
    from metarl.export.classifier import export_classifier

    reading = experiment.data.reading
    return export_classifier(run.model, reading, out, args.format, ways=args.ways, supports=args.supports)

"""``metarl export``: a trained agent as a file for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metarl.cli.env import add_import, look_here
from metarl.cli.latest import add_run
from metarl.cli.terminal import OK, add_command, at_least, refuse
from metarl.config import InputError

KINDS = {"fewshot": "few-shot learner", "recall": "recall benchmark's net"}


def add_export(commands: Any) -> None:
    """``metarl export`` and its options."""
    export = add_command(
        commands,
        "export",
        "write a trained agent as one step function, for ONNX or torch.export",
        """
        metarl export latest
        metarl export RUN --format torch --batch 16 --out deployed
        """,
    )
    add_run(export, "run folder of an agent")
    export.add_argument("--format", choices=["onnx", "torch"], default="onnx", help="format of the file (default onnx)")
    export.add_argument("--out", metavar="DIR", type=Path, help="folder to write to (default RUN/export)")
    export.add_argument(
        "--batch", metavar="N", type=at_least(1), default=1, help="trials that the file plays side by side (default 1)"
    )
    add_import(export)
    export.set_defaults(act=run_export)


def run_export(args: argparse.Namespace) -> int:
    """``metarl export``."""
    look_here(args.imports)
    from metarl.experiments.rl.experiment import RL2Experiment
    from metarl.experiments.run import open_run
    from metarl.export.write import export

    run = open_run(args.run, device="cpu", imports=args.imports or ())
    if not isinstance(run.experiment, RL2Experiment):
        problem = f"{args.run} is the run of a {KINDS[run.experiment.kind]}, which can't be exported"
        refuse(InputError(problem, key="run", expected="a run of an agent, which acts step by step"))
    if run.folder.is_entry and args.out is None:
        refuse(InputError(key="--out", expected="a folder: an entry of the zoo is not written to"))
    out = args.run / "export" if args.out is None else args.out
    scale = run.experiment.inputs.prev_reward_scale
    made = export(run.model, out, args.format, batch=args.batch, reward_scale=scale)
    for path in made.files:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    print(f"answers differ from the agent's by at most {made.worst:.1e}")
    return OK

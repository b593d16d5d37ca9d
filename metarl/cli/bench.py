"""``metarl bench``: memories side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metarl.cli.env import add_import, look_here
from metarl.cli.terminal import OK, add_device, at_least, checked


def add_bench(commands: Any) -> None:
    """``metarl bench`` and its options."""
    bench = commands.add_parser("bench", help="train several memories on recall tasks and compare them")
    bench.add_argument("what", choices=["memory"], help="memory: recall of sequences, at equal size and budget")
    bench.add_argument("--tasks", metavar="NAME", nargs="+", help="recall tasks (default all)")
    bench.add_argument("--memories", metavar="NAME", nargs="+", help="controllers, or STORE+ACCESS (default: 14)")
    bench.add_argument("--updates", type=at_least(2), default=3000, help="updates of a training at most (default 3000)")
    bench.add_argument("--seconds", type=at_least(1), help="seconds of a training at most (default no limit)")
    bench.add_argument("--batch", type=at_least(1), default=64, help="sequences per update (default 64)")
    bench.add_argument(
        "--parameters", type=at_least(1), default=40_000, help="size of each model ± 10 %% (default 40000)"
    )
    bench.add_argument(
        "--seed", type=at_least(0), nargs="+", default=[0], help="random seeds, one training each (default 0)"
    )
    bench.add_argument("--jobs", type=at_least(1), default=1, help="trainings at a time, one thread each (default 1)")
    bench.add_argument(
        "--out", type=Path, default=Path("runs/recall"), help="folder for results; those in it are kept (runs/recall)"
    )
    add_device(bench, "cpu")
    add_import(bench)
    bench.set_defaults(act=run_bench)


def run_bench(args: argparse.Namespace) -> int:
    """``metarl bench``."""
    look_here(args.imports)
    from metarl.config import choice
    from metarl.data.recall import RECALL_TASKS
    from metarl.evaluation.recall import RecallCell, RecallSettings
    from metarl.evaluation.results import RecallEvaluation
    from metarl.experiments.base import pick_device
    from metarl.experiments.recall.bench import FILE, complete
    from metarl.experiments.recall.candidates import SUITE, candidates
    from metarl.report.recall import draw_recall
    from metarl.report.tables import evaluation_table
    from metarl.runs.session import Stopped, handling, raise_stopped

    device = str(pick_device(args.device))
    tasks = [choice(name, RECALL_TASKS, "--tasks") for name in dict.fromkeys(args.tasks or RECALL_TASKS)]
    memories = [choice(name, candidates(), "--memories") for name in dict.fromkeys(args.memories or SUITE)]
    settings = RecallSettings(updates=args.updates, seconds=args.seconds, batch=args.batch, parameters=args.parameters)
    seeds = dict.fromkeys(args.seed)
    cells = [RecallCell(task, memory, seed, settings) for task in tasks for memory in memories for seed in seeds]
    try:
        with handling(raise_stopped):
            results = checked(lambda: complete(cells, args.out, jobs=args.jobs, imports=args.imports, device=device))
    except Stopped as error:
        print(f"interrupted; finished results are in {args.out / FILE}, and the same command continues from there")
        return 128 + error.number
    print(evaluation_table(RecallEvaluation(results=tuple(results))))
    print(f"results:    {args.out / FILE}")
    print(f"image:      {draw_recall(results, args.out / 'recall.png')}")
    return OK

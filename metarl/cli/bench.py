"""``metarl bench``: memories side by side, what training costs, and few-shot learners beside people."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from metarl.cli.env import add_import, look_here
from metarl.cli.lake import add_lake
from metarl.cli.seeds import add_seeds, named_seeds
from metarl.cli.terminal import OK, Parser, add_command, add_device, add_settings, at_least, checked, refuse
from metarl.config import ConfigError, parse_assignment

QUICK = (("train", "n_envs"), 4)
"""The setting of ``--quick``; those of the user come after it."""


def add_bench(commands: Any) -> None:
    """``metarl bench`` and its commands."""
    bench = add_command(
        commands,
        "bench",
        "compare memories, measure the cost of training, or compare few-shot learners with people",
        """
        metarl bench memory --tasks associative two_hop --memories gru episodic+attention
        metarl bench train bandit --quick
        metarl bench lake runs/lake
        """,
    )
    kinds = bench.add_subparsers(dest="what", required=True, metavar="WHAT", parser_class=Parser)
    _add_memory(kinds)
    _add_train(kinds)
    add_lake(kinds)


def _add_memory(kinds: Any) -> None:
    memory = add_command(
        kinds,
        "memory",
        "train several memories on recall tasks, at equal size and budget",
        """
        metarl bench memory --tasks associative two_hop
        metarl bench memory --memories gru episodic+attention --seeds 3 --jobs 2
        """,
        "Finished results are kept in the folder that --out names. To continue after an\n"
        "interruption, repeat the command.",
    )
    memory.add_argument("--tasks", metavar="NAME", nargs="+", help="recall tasks (default: all)")
    memory.add_argument(
        "--memories",
        metavar="NAME",
        nargs="+",
        help="memories to compare, each a controller or STORE+ACCESS (default: a set of 14)",
    )
    memory.add_argument(
        "--updates", type=at_least(2), default=3000, help="number of updates per training run (default 3000)"
    )
    memory.add_argument("--seconds", type=at_least(1), help="time limit per training run, in seconds (default: none)")
    memory.add_argument("--batch", type=at_least(1), default=64, help="number of sequences per update (default 64)")
    memory.add_argument(
        "--parameters",
        type=at_least(1),
        default=40_000,
        help="number of parameters of each model, give or take a tenth (default 40000)",
    )
    add_seeds(memory, "seeds for training each memory on each task (default only 0)")
    memory.add_argument(
        "--jobs",
        type=at_least(1),
        default=1,
        help="number of models to train at the same time, with one thread each (default 1)",
    )
    memory.add_argument(
        "--out",
        type=Path,
        default=Path("runs/recall"),
        help="folder for results (default runs/recall); results already there are kept",
    )
    add_device(memory, "cpu")
    add_import(memory)
    memory.set_defaults(act=run_memory)


def _add_train(kinds: Any) -> None:
    train = add_command(
        kinds,
        "train",
        "measure the speed and memory use of training an agent, and how both grow with the size of the problem",
        """
        metarl bench train bandit
        metarl bench train barcode --quick --json cost.json
        """,
    )
    train.add_argument(
        "preset", nargs="?", default="bandit", help="preset of an agent, or path of a TOML file (default bandit)"
    )
    add_settings(train, "one or more settings, such as env.arms=5 (repeatable)")
    train.add_argument("--rollouts", type=at_least(1), help="number of rollouts to time (default 5)")
    train.add_argument(
        "--grow",
        type=at_least(2),
        nargs="*",
        metavar="FACTOR",
        help="factors by which to multiply the length of trials and the numbers of environments, slots and units "
        "(default 2 4); --grow without a number leaves these sizes as they are",
    )
    train.add_argument(
        "--quick",
        action="store_true",
        help="run at toy size, with 4 environments and 1 rollout, and multiply sizes only by 2",
    )
    train.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to this file")
    add_device(train, None)
    add_import(train)
    train.set_defaults(act=run_train)


def run_memory(args: argparse.Namespace) -> int:
    """``metarl bench memory``."""
    look_here(args.imports)
    from metarl.cli.outcome import print_evaluation
    from metarl.config import choice
    from metarl.data.recall import RECALL_TASKS
    from metarl.evaluation.recall import RecallCell, RecallSettings
    from metarl.evaluation.results import RecallEvaluation
    from metarl.experiments.base import pick_device
    from metarl.experiments.recall.bench import FILE, complete
    from metarl.experiments.recall.candidates import SUITE, candidates
    from metarl.report.recall import draw_recall
    from metarl.runs.session import Stopped, handling, raise_stopped

    device = str(pick_device(args.device))
    tasks = [choice(name, RECALL_TASKS, "--tasks") for name in dict.fromkeys(args.tasks or RECALL_TASKS)]
    memories = [choice(name, candidates(), "--memories") for name in dict.fromkeys(args.memories or SUITE)]
    settings = RecallSettings(updates=args.updates, seconds=args.seconds, batch=args.batch, parameters=args.parameters)
    seeds = [0] if args.seeds is None else checked(lambda: named_seeds(args.seeds))
    cells = [RecallCell(task, memory, seed, settings) for task in tasks for memory in memories for seed in seeds]
    try:
        with handling(raise_stopped):
            results = checked(lambda: complete(cells, args.out, jobs=args.jobs, imports=args.imports, device=device))
    except Stopped as error:
        print(f"interrupted; finished results are in {args.out / FILE}, and the same command continues from there")
        return 128 + error.number
    print_evaluation(RecallEvaluation(results=tuple(results)))
    print(f"results:    {args.out / FILE}")
    print(f"image:      {draw_recall(results, args.out / 'recall.png')}")
    return OK


def run_train(args: argparse.Namespace) -> int:
    """``metarl bench train``."""
    look_here(args.imports)
    from metarl.config import to_plain
    from metarl.experiments.presets import load_experiment
    from metarl.experiments.rl.experiment import RL2Experiment
    from metarl.experiments.rl.growth import alone, growth, operations, rates
    from metarl.files import check_target, write_text
    from metarl.presets.names import preset_kind
    from metarl.report.throughput import growth_table, throughput_table
    from metarl.runs.session import Stopped, handling, raise_stopped

    settings = [QUICK] * args.quick + checked(lambda: [parse_assignment(text) for text in args.settings])
    settings += [(("device",), args.device)] if args.device else []
    if (kind := checked(lambda: preset_kind(args.preset))) != RL2Experiment.kind:
        expected = "one of an agent (kind 'rl2'); metarl list presets shows the kinds"
        refuse(ConfigError(key="the preset", given=f"{args.preset} (kind {kind})", expected=expected))
    experiment: Any = checked(lambda: load_experiment(args.preset, settings))
    if args.json is not None:
        if not args.json.parent.is_dir():
            refuse(ConfigError(key="--json", given=str(args.json), expected="a file in a folder that is there"))
        checked(lambda: check_target(args.json, "--json"))
    rollouts = args.rollouts or (1 if args.quick else 5)
    factors = ([2] if args.quick else [2, 4]) if args.grow is None else list(dict.fromkeys(args.grow))
    try:
        with handling(raise_stopped):
            print(experiment.describe())
            products = rates(experiment, (64, 128), 0.001) if args.quick else rates(experiment)
            cost = alone(experiment, rollouts, args.imports)
            counted = operations(experiment, args.imports)
            print(throughput_table(cost, counted, products))
            grown = list(growth(experiment, factors, rollouts, args.imports))
            if grown:
                print()
                told = [(g.what, g.factor, g.cost, g.reason or _settings(g.changed)) for g in grown]
                print(growth_table(cost, told))
    except Stopped as error:
        print("interrupted; what is missing was not measured")
        return 128 + error.number
    if args.json is not None:
        share = counted.total / cost.seconds / max(products.values())
        known = {"experiment": experiment.config(), "products": products, "operations": counted, "cost": cost}
        known |= {"steps_per_second": cost.steps_per_second, "share_of_limit": share, "growth": grown}
        checked(lambda: write_text(args.json, json.dumps(to_plain(known), indent=2) + "\n"))
    return OK


def _settings(changed: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in changed.items())

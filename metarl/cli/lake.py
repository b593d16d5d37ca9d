"""``metarl bench lake``: few-shot learners on the test that people were given."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from metarl.cli.env import add_import, look_here
from metarl.cli.table import Rows, print_table
from metarl.cli.terminal import OK, add_command, add_device, at_least, checked


def add_lake(kinds: Any) -> None:
    """The command and its options."""
    lake = add_command(
        kinds,
        "lake",
        "test few-shot learners as people were tested: on 20 characters of one alphabet, each shown once",
        """
        metarl bench lake runs/lake
        metarl bench lake runs/lake-s0 runs/lake-s1 --trials 2000 --json
        """,
    )
    told = "run folders; runs that differ only in their seeds are averaged"
    lake.add_argument("runs", metavar="RUN", type=Path, nargs="+", help=told)
    lake.add_argument(
        "--trials",
        type=at_least(0),
        default=10_000,
        help="number of additional trials, with alphabets, characters and drawers chosen at random from the "
        "evaluation set (default 10000; 0 for none); each group of 20 trials shares one support set; the 20 sets of "
        "20 trials published by Lake et al. are always used",
    )
    lake.add_argument("--seed", type=at_least(0), default=0, help="seed for choosing the additional trials (default 0)")
    lake.add_argument(
        "--data",
        metavar="DIR",
        help="folder that contains the Omniglot archives (default: METARL_DATA if set, otherwise the cache)",
    )
    lake.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_device(lake, "auto")
    add_import(lake)
    lake.set_defaults(act=run_lake)


def run_lake(args: argparse.Namespace) -> int:
    """``metarl bench lake``."""
    look_here(args.imports)
    from metarl.config import to_plain
    from metarl.evaluation.lake import BPL, PEOPLE, over_seeds
    from metarl.experiments.fewshot.lake import MISSING, lake_test
    from metarl.experiments.run import open_run

    def test(folder: Path) -> Any:
        run = open_run(folder, device=args.device, imports=args.imports or ())
        return lake_test(run, trials=args.trials, seed=args.seed, folder=args.data)

    tests = checked(lambda: [test(folder) for folder in dict.fromkeys(args.runs)])
    kinds = ("published", "random")
    rates = {kind: [rate for one in tests if (rate := getattr(one, kind)) is not None] for kind in kinds}
    alike = len({one.group for one in tests}) == 1
    means = {kind: over_seeds(found) for kind, found in rates.items() if found and alike}
    if args.json:
        averaged = {kind: dict(zip(("error", "se"), mean, strict=True)) for kind, mean in means.items()}
        print(json.dumps({"runs": to_plain(tests), "mean": averaged}))
        return OK
    rows: Rows = [
        {
            "run": one.run,
            "trained on": one.trained_on,
            "published runs": _shown((one.published.error, one.published.se)),
            "random": "–" if one.random is None else _shown((one.random.error, one.random.se)),
        }
        for one in tests
    ]
    if len(tests) > 1 and alike:
        shown = [_shown(means[kind]) if kind in means else "–" for kind in kinds]
        rows.append(dict(zip(rows[0], [f"mean of {len(tests)}", "", *shown], strict=True)))
    print_table(rows)
    print("errors in per cent ± standard error over episodes (and over runs); each query is answered alone")
    print(f"published runs: 400 trials of clean characters; people {PEOPLE:.1%}, Bayesian program learning {BPL:.1%}")
    if args.trials:
        told = f"{args.trials:,} trials of the evaluation alphabets with 20 characters or more, any two drawers"
        print(f"random: {told if rates['random'] else MISSING}")
    return OK


def _shown(rate: tuple[float, float]) -> str:
    return f"{100 * rate[0]:.2f} ± {100 * rate[1]:.2f}"

"""``metarl sweep``: many trainings, to choose settings by."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.cli.completion import complete_settings, completed_by
from metarl.cli.env import look_here
from metarl.cli.seeds import add_seeds, named_seeds
from metarl.cli.table import print_table
from metarl.cli.terminal import (
    FAILED,
    OK,
    add_command,
    add_device,
    add_quiet,
    at_least,
    checked,
    in_one_line,
    refuse,
)
from metarl.cli.train import add_trained, train_settings, trained_name
from metarl.config import ConfigError, InputError

if TYPE_CHECKING:
    from metarl.sweeps.store import Store
    from metarl.sweeps.sweep import Sweep
    from metarl.sweeps.table import Result

SWEEPS = Path("sweeps")
"""Where sweeps are that were given no folder."""
TRIALS = 20  # where nothing is said
METHODS = {
    "grid": "values to try for a setting, such as ppo.learning_rate=1e-3,3e-3 (repeatable; every combination is tried)",
    "random": "draw values from a list a,b,c or from a range, such as ppo.learning_rate=1e-4..1e-2:log or "
    "train.n_envs=64..512 (repeatable)",
    "tpe": "like --random, but favour values near those that did well (repeatable)",
}


def add_sweep(commands: Any) -> None:
    """``metarl sweep`` and its options."""
    sweep = add_command(
        commands,
        "sweep",
        "train with different settings and compare them on validation tasks",
        """
        metarl sweep bandit --grid ppo.learning_rate=3e-4,1e-3,3e-3 --seeds 3
        metarl sweep bandit --random ppo.learning_rate=1e-4..1e-2:log --trials 20
        metarl sweep prototypical --tpe fit.learning_rate=1e-4..1e-2:log --prune median
        """,
        "To use several processes for one sweep, start the same command in several\n"
        "terminals. To continue a sweep that was interrupted, start its command again. A\n"
        "sweep never uses test tasks. Sweeps need Optuna:\n"
        "pip install 'metarl-memory[sweep]'.",
    )
    add_trained(sweep, "name of a preset or path of a TOML file; optional with --env (default: the preset 'general')")
    ways = sweep.add_mutually_exclusive_group(required=True)
    for name, about in METHODS.items():
        completed_by(
            ways.add_argument(f"--{name}", metavar="KEY=VALUES", action="append", help=about), complete_settings
        )
    told = (
        f"number of combinations that --random or --tpe tries (default {TRIALS}); to "
        "extend a sweep, repeat the command with a larger number"
    )
    sweep.add_argument("--trials", type=at_least(1), metavar="N", help=told)
    add_seeds(
        sweep,
        "seeds to train each combination of settings with (default only 0); the result of a combination is the mean "
        "over its seeds",
    )
    sweep.add_argument(
        "--seed", type=at_least(0), default=0, help="seed for the values that --random and --tpe draw (default 0)"
    )
    sweep.add_argument(
        "--prune",
        choices=["median", "halving"],
        help="stop poor combinations of settings early, judged by their run with the first seed: those below the "
        "median of the others (median), or those that successive halving drops (halving); by default, all "
        "combinations are trained to the end",
    )
    sweep.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help=f"folder of the sweep (default: a folder in {SWEEPS}/, with a name derived from the settings)",
    )
    sweep.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna database that several processes share (default: a file in the folder of the sweep)",
    )
    talk = add_quiet(sweep, "print only the path of the sweep folder")
    talk.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_device(sweep, None)
    sweep.set_defaults(act=run_sweep)


def run_sweep(args: argparse.Namespace) -> int:
    """``metarl sweep``."""
    if not args.preset and not args.env:
        refuse(ValueError("sweep needs a preset (metarl list presets shows them), or an environment: --env ID"))
    look_here(args.imports)
    from metarl import parallel
    from metarl.runs.session import Stopped, handling, raise_stopped
    from metarl.sweeps.store import Store, optuna
    from metarl.sweeps.sweep import make_folder, name_of
    from metarl.sweeps.work import work

    if parallel.launched() is not None:
        refuse(ConfigError("a sweep shares its trials itself: start it in each place without torchrun", key="torchrun"))
    optuna()  # before anything is checked or made
    sweep = checked(lambda: sweep_of(args))
    definition = checked(sweep.definition)
    folder = args.out or SWEEPS / name_of(definition)
    if not (folder / "sweep.json").is_file():  # else it was checked when it began
        checked(sweep.check)
    checked(lambda: make_folder(folder, definition))
    store = Store(sweep, name_of(definition), folder, args.storage)
    quiet = args.quiet or args.json
    say: Callable[[str], None] = (lambda line: None) if quiet else (lambda line: print(line, flush=True))
    if left := store.unfinished():
        for line in sweep.warnings():
            say(f"note: {line}")
        say(f"sweep in {folder}: {left} trials left; Ctrl-C ends it, and the same command goes on")
    try:
        with handling(raise_stopped):
            work(store, say, {"quiet": quiet})
    except Stopped as error:
        tell_sweep(args, store)
        say("interrupted; the same command goes on")
        return 128 + error.number
    return tell_sweep(args, store)


def sweep_of(args: argparse.Namespace) -> Sweep:
    """The sweep of a command line; its settings are not checked.

    Raises:
        ConfigError: options that can't be read, or don't go together.
    """
    from metarl.presets.names import preset_kind
    from metarl.sweeps.space import Method, parse_space
    from metarl.sweeps.sweep import Sweep

    preset = args.preset or "general"
    settings = train_settings(args, preset)
    methods: tuple[Method, ...] = ("grid", "random", "tpe")
    method = next(name for name in methods if getattr(args, name))
    space = parse_space(method, getattr(args, method), preset_kind(preset))
    if method == "grid" and args.trials is not None:
        expected = f"none with --grid, which has {space.points} combinations"
        raise ConfigError(key="--trials", given=args.trials, expected=expected)
    return Sweep(
        preset=preset,
        settings=settings,
        name=trained_name(args),
        space=space,
        method=method,
        trials=space.points if method == "grid" else args.trials or TRIALS,
        seeds=(0,) if args.seeds is None else tuple(named_seeds(args.seeds)),
        prune=args.prune,
        seed=args.seed,
    )


def tell_sweep(args: argparse.Namespace, store: Store) -> int:
    """Print what came of it; returns the exit status."""
    from metarl.sweeps.table import report, results, rows_of, summary

    found = results(store)
    over = all(one.state not in ("running", "waiting") for one in found)
    page, trouble = None, None
    if over:
        try:
            page = report(found, store.folder)
        except InputError as error:  # the trials stand without it
            trouble = in_one_line(error)
    metric = store.sweep.base.validation
    if args.json:
        told = {"folder": str(store.folder), "metric": metric, "report": None if page is None else str(page)}
        print(json.dumps(told | summary(found, len(found)), indent=2))
    elif args.quiet:
        print(store.folder)
    else:
        print_table(rows_of(found, metric))
        tell_best(found)
        print(f"folder:     {store.folder}")
        if page is not None or trouble is not None:
            print(f"page:       {page}" if page is not None else f"missing:    the page: {trouble}")
    return FAILED if found and all(one.state == "failed" for one in found) else OK


def tell_best(found: list[Result]) -> None:
    """Print the settings that did best, and how to test them."""
    with suppress(IndexError):
        best = found[0]
        if best.state == "done":
            print(f"best:       --set {' '.join(f'{key}={value}' for key, value in best.settings.items())}")
        if best.state == "done" and best.runs:
            print(f"test it:    metarl train --resume {best.runs[0]}")

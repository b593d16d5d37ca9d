"""``metarl zoo``: the small trained models that come with the package."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from metarl.cli.completion import completed_by
from metarl.cli.table import print_table
from metarl.cli.terminal import FAILED, OK, Parser, add_command, add_device, add_quiet, at_least, checked
from metarl.cli.watch import add_options, run_watch
from metarl.config import InputError, to_plain
from metarl.runs.entries import PREFIX, entries, located
from metarl.runs.folder import RunFolder

ENTRY = "name from metarl zoo list, or a folder that metarl zoo pull made"


def add_zoo(commands: Any) -> None:
    """``metarl zoo`` and its commands."""
    zoo = add_command(
        commands,
        "zoo",
        "use the small trained models that come with the package, or models that others share",
        """
        metarl zoo list
        metarl zoo show bandit
        metarl zoo watch bandit --out trial.gif
        metarl zoo eval bandit -n 1000
        metarl eval zoo:bandit --set env.pulls=200
        """,
        "The commands eval, watch, play, classify and export take zoo:NAME in place of a\n"
        'run folder. In Python, metarl.load("zoo:NAME") opens the model.',
    )
    kinds = zoo.add_subparsers(dest="what", required=True, metavar="WHAT", parser_class=Parser)
    listing = add_command(kinds, "list", "list the models and how well each performs", "metarl zoo list --json")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    listing.set_defaults(act=run_list)
    show = add_command(kinds, "show", "show the card of a model", "metarl zoo show bandit")
    _add_name(show)
    show.add_argument("--json", action="store_true", help="print the card as one JSON object")
    show.set_defaults(act=run_show)
    _add_watch(kinds)
    _add_eval(kinds)
    _add_push(kinds)
    _add_pull(kinds)


def _add_name(command: argparse.ArgumentParser, **options: Any) -> None:
    argument = command.add_argument("name", metavar="NAME", help=ENTRY, **options)
    completed_by(argument, lambda prefix, **_: [name for name in entries() if name.startswith(prefix)])


def _add_watch(kinds: Any) -> None:
    watch = add_command(
        kinds,
        "watch",
        "watch an agent play held-out tasks (the same as metarl watch zoo:NAME)",
        """
        metarl zoo watch bandit
        metarl zoo watch bandit --out trial.gif
        """,
    )
    _add_name(watch)
    add_options(watch)
    watch.set_defaults(act=run_watched)


def _add_eval(kinds: Any) -> None:
    evaluate = add_command(
        kinds,
        "eval",
        "test models on held-out tasks, and compare the results with those on the models' cards",
        """
        metarl zoo eval
        metarl zoo eval bandit -n 1000 --seed 7
        """,
        "The exit status is 1 if a result differs from the one on the card by more than 4 standard errors.",
    )
    _add_name(evaluate, nargs="*")
    evaluate.add_argument(
        "-n",
        "--trials",
        dest="n",
        metavar="N",
        type=at_least(2),
        default=200,
        help="number of trials or few-shot episodes (default 200)",
    )
    evaluate.add_argument(
        "--seed", type=at_least(0), help="seed for drawing the tasks (default: the card's seed plus 1)"
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_quiet(evaluate, "show no progress")
    add_device(evaluate, "auto")
    evaluate.set_defaults(act=run_eval)


def _add_push(kinds: Any) -> None:
    push = add_command(
        kinds,
        "push",
        "share a model on the Hugging Face hub",
        """
        metarl zoo push bandit OWNER/bandit
        metarl zoo push runs/mine OWNER/mine --limits "Short trials only." --private
        """,
        "A finished run is first turned into a zoo entry, which holds only the weights and a card.",
    )
    _add_name(push)
    push.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub; created if it does not exist")
    push.add_argument(
        "--limits", metavar="TEXT", help="when sharing a run: what the model's card should say about its limits"
    )
    push.add_argument("--private", action="store_true", help="if the repository is new, make it private")
    push.set_defaults(act=run_push)


def _add_pull(kinds: Any) -> None:
    pull = add_command(
        kinds,
        "pull",
        "download a model from the Hugging Face hub, and check its files, which are treated as untrusted input",
        """
        metarl zoo pull OWNER/bandit
        metarl zoo pull OWNER/bandit --out theirs --revision v1
        """,
        "The downloaded folder can be used as a run folder. Nothing in it is unpickled or imported.",
    )
    pull.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub")
    pull.add_argument("--out", type=Path, metavar="FOLDER", help="folder to create (default NAME)")
    pull.add_argument("--revision", metavar="NAME", help="branch, tag or commit (default: the main branch)")
    pull.set_defaults(act=run_pull)


def entry(name: str) -> Path:
    """The folder of an entry by its name, or any folder.

    Raises:
        InputError: there is neither.
    """
    known = entries()
    if name in known:
        return known[name]
    return Path(name) if Path(name).is_dir() else located(name if name.startswith(PREFIX) else f"{PREFIX}{name}")


def run_list(args: argparse.Namespace) -> int:
    """``metarl zoo list``."""
    from metarl.zoo.card import figure_text, folder_size, read_card

    rows = []
    for name, folder in entries().items():
        card = read_card(folder)
        told = {"name": name, "tasks": card.tasks, "result": figure_text(card.figures[0])}
        others = " ".join(f"{key} {value:.2f}" for key, value in card.references.items())
        rows.append({**told, "beside it": others, "MB": f"{folder_size(folder) / 1e6:.2f}"})
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows)
    return OK


def run_show(args: argparse.Namespace) -> int:
    """``metarl zoo show``."""
    from metarl.zoo.card import card_text, read_card

    folder = entry(args.name)
    RunFolder.open(folder)  # which verifies the checksums
    print(json.dumps(to_plain(read_card(folder))) if args.json else card_text(folder))
    return OK


def run_watched(args: argparse.Namespace) -> int:
    """``metarl zoo watch``."""
    args.run = entry(args.name)
    return run_watch(args)


def run_eval(args: argparse.Namespace) -> int:
    """``metarl zoo eval``."""
    from metarl.zoo.card import number
    from metarl.zoo.check import check, missing_data, opened

    rows: list[dict[str, Any]] = []
    for name in args.name or entries():
        folder = entry(name)
        run = opened(folder, args.device)
        if missing := missing_data(run):
            if args.name:
                raise InputError(f"{name} can't be tested: {missing}", key="data")
            rows.append(
                {"name": name, "figure": f"skipped: {missing}", "card": "", "now": "", "errors": "", "holds": ""}
            )
            continue
        for one in check(folder, run, tasks=args.n, seed=args.seed, quiet=args.quiet or args.json):
            figure = one.card.name
            told = {"card": one.card, "now": one.now}
            shown = {k: f"{number(figure, v.value)} ± {number(figure, v.se)}" for k, v in told.items()}
            values = {k: [v.value, v.se] for k, v in told.items()} if args.json else shown
            errors = one.errors if args.json else f"{one.errors:.1f}"
            rows.append({"name": name, "figure": figure, **values, "errors": errors, "holds": one.holds})
    if args.json:
        print(json.dumps({"figures": rows}))
    else:
        print_table([{**row, "holds": {True: "yes", False: "NO"}.get(row["holds"], "")} for row in rows])
        print("±: standard error over tasks; errors: the difference, in its standard errors")
    return FAILED if any(row["holds"] is False for row in rows) else OK


def run_push(args: argparse.Namespace) -> int:
    """``metarl zoo push``."""
    from metarl.zoo.hub import push
    from metarl.zoo.make import make_entry

    folder = entry(args.name)
    if RunFolder.open(folder).is_entry:
        if args.limits is not None:
            raise InputError("--limits is for the card of a run; that of an entry is written", key="limits")
        print(push(folder, args.repository, private=args.private))
        return OK
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / folder.resolve().name
        make_entry(folder, made, limits=args.limits or "")
        print(push(made, args.repository, private=args.private))
    return OK


def run_pull(args: argparse.Namespace) -> int:
    """``metarl zoo pull``."""
    from metarl.zoo.card import card_text
    from metarl.zoo.hub import pull

    target = Path(args.repository.rpartition("/")[2]) if args.out is None else args.out
    folder = checked(lambda: pull(args.repository, target, revision=args.revision))
    print(card_text(folder))
    print(f"in {folder}: metarl zoo eval {folder} tests it")
    return OK

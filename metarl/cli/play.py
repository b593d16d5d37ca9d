"""``metarl play``: a page on this machine, to play against a trained agent or to draw for a few-shot learner."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from importlib import resources
from typing import Any

from metarl.cli.env import add_import, look_here
from metarl.cli.latest import add_run
from metarl.cli.terminal import OK, add_command, add_device, at_least, refuse
from metarl.config import ConfigError

PAGE = "play.html"


def add_play(commands: Any) -> None:
    """``metarl play`` and its options."""
    play = add_command(
        commands,
        "play",
        "play against a trained agent in the browser, or draw for a few-shot learner",
        """
        metarl play latest
        metarl play RUN --port 8000 --no-browser
        """,
        "An agent plays the same task beside you, and you see its memory.\n"
        "For a few-shot learner, you draw characters and name them; the learner then\n"
        "recognises them when you draw them again. The page can be opened only on this\n"
        "machine. Ctrl-C ends the command.",
    )
    add_run(play, "run folder")
    play.add_argument(
        "--port", metavar="N", type=at_least(1), help="port on which to serve the page (default: any free port)"
    )
    play.add_argument("--no-browser", action="store_true", help="print the address without opening a browser")
    play.add_argument("--seed", type=at_least(0), help="seed for drawing the held-out tasks (default: the run's seed)")
    add_device(play, "auto")
    add_import(play)
    play.set_defaults(act=run_play)


def run_play(args: argparse.Namespace) -> int:
    """``metarl play``."""
    look_here(args.imports)
    from metarl.cli.serve import PageServer
    from metarl.experiments.run import open_run

    run = open_run(args.run, device=args.device, imports=args.imports or ())
    game = game_of(run, args.seed)
    try:
        page = resources.files("metarl.cli").joinpath(PAGE).read_text(encoding="utf-8")
        with PageServer(page, game.verbs, args.port or 0) as server:
            print(f"{args.run}: {server.url}", flush=True)
            print("Ctrl-C ends it", flush=True)
            if not args.no_browser and (sys.platform in ("darwin", "win32") or displayed()):
                webbrowser.open(server.url)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("ended")
    finally:
        game.close()
    return OK


def game_of(run: Any, seed: int | None) -> Any:
    """What is played with a run: a :class:`metarl.experiments.rl.game.Game` or a board to draw on.

    Args:
        run: a :class:`metarl.experiments.run.Run`.
        seed: of the tasks; None: that of the run.

    Raises:
        ConfigError: there is nothing to play with.
    """
    from metarl.experiments.fewshot.board import board
    from metarl.experiments.rl.game import Game
    from metarl.experiments.rl.watch import watched

    kind = run.experiment.kind
    if kind == "recall":
        expected = "one of an agent or of a few-shot learner"
        refuse(ConfigError("there is nothing to play", key="RUN", given=f"a {kind} run", expected=expected))
    if kind == "rl2":
        return Game(watched(run, seed=seed))
    return board(run if seed is None else type(run)(run.experiment, seed, run.folder, run.model))


def displayed() -> bool:
    """Whether there is a screen, so that a browser doesn't open in the terminal."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

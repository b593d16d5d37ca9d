"""``metarl watch``: trials of a trained agent, step by step in the terminal and as an animation."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl.cli.env import add_import, look_here
from metarl.cli.latest import add_run
from metarl.cli.terminal import OK, add_command, add_device, at_least, checked, refuse
from metarl.config import ConfigError
from metarl.files import check_target

if TYPE_CHECKING:
    from metarl.evaluation.watch import Seen, Watched
    from metarl.types import Bytes

FPS = 5
NAMED = 3  # slots that a line names
SHORT = 16  # characters of what was seen
LEAST = 0.005  # of a read that is worth telling


def add_watch(commands: Any) -> None:
    """``metarl watch`` and its options."""
    watch = add_command(
        commands,
        "watch",
        "watch a trained agent play held-out tasks, and see what it reads from its memory",
        """
        metarl watch latest
        metarl watch zoo:bandit --out trial.gif
        metarl watch RUN --trials 2 --out trials.mp4 --fps 8
        """,
        "The command prints a line for each step. With --out, it also makes an\n"
        "animation, in which memory slots light up when they are read.",
    )
    add_run(watch, "run folder of an agent")
    add_options(watch)


def add_options(watch: argparse.ArgumentParser) -> None:
    """What can be said of how trials are watched; ``args.run`` is the run."""
    watch.add_argument(
        "-n", "--trials", metavar="N", type=at_least(1), default=1, help="number of trials to play (default 1)"
    )
    watch.add_argument(
        "--steps", metavar="N", type=at_least(1), help="number of steps to play in each trial (default: all)"
    )
    watch.add_argument(
        "--out", type=Path, metavar="FILE", help="also write an animation (FILE.gif) or a video (FILE.mp4)"
    )
    watch.add_argument(
        "--fps", metavar="N", type=at_least(1), help=f"frames per second of the animation or video (default {FPS})"
    )
    watch.add_argument("--seed", type=at_least(0), help="seed for drawing the held-out tasks (default: the run's seed)")
    watch.add_argument(
        "--split", choices=["validation", "test"], default="test", help="which held-out tasks to use (default test)"
    )
    watch.add_argument("--greedy", action="store_true", help="take the most probable actions instead of sampling")
    add_device(watch, "auto")
    add_import(watch)
    watch.set_defaults(act=run_watch)


def run_watch(args: argparse.Namespace) -> int:
    """``metarl watch``."""
    if args.fps and not args.out:
        refuse(ConfigError("--fps is for an animation; name its file with --out FILE.gif", key="fps"))
    look_here(args.imports)
    from metarl.report.movie import MOST, check_film, write_film

    if args.out:
        check_target(args.out, "--out")
        checked(lambda: check_film(args.out, args.fps or FPS))
    from metarl.experiments.rl.watch import watched
    from metarl.experiments.run import open_run

    run = open_run(args.run, device=args.device, imports=args.imports or ())
    agent = watched(run, split=args.split, seed=args.seed, deterministic=args.greedy, frames=args.out is not None)
    steps = agent.env.trial_steps if args.steps is None else min(args.steps, agent.env.trial_steps)
    if args.out and args.trials * steps > (most := MOST[args.out.suffix.lower()]):
        expected, remedy = f"at most {most:,} in a {args.out.suffix} file", "give fewer --trials, or --steps N"
        given = f"{args.trials} of {steps} steps"
        refuse(ConfigError(key="trials", given=given, expected=expected, remedy=remedy))
    try:
        shown = frames(agent, args.trials, steps, draw=args.out is not None)
        if args.out is None:
            for _ in shown:
                pass
        else:
            count = checked(lambda: write_film(shown, args.out, args.fps or FPS))
            alone = "" if agent.env.render_mode else " (the environment has no frames: only the memory is shown)"
            print(f"image:      {args.out}, {count} frames{alone}")
    finally:
        agent.env.close()
    return OK


def frames(agent: Watched, trials: int, steps: int, *, draw: bool) -> Iterator[tuple[Bytes, bool]]:
    """Play and print trials.

    Args:
        agent: who plays.
        trials: how many.
        steps: of each, at most.
        draw: whether there are frames.

    Returns:
        A frame for each step, and whether it is the last one of a trial; nothing without ``draw``.
    """
    from gymnasium.error import DependencyNotInstalled

    from metarl.report.film import film_frame

    for number in range(trials):
        agent.begin(number)
        print(f"trial {number + 1} of {trials}: {agent.env.distribution.family}, seed {agent.seed}")
        print(line("step", "episode", "saw", "action", "reward", "total", "read from memory"))
        total = 0.0
        for _ in range(steps):
            seen = agent.step()
            total += seen.reward
            print(told(agent, seen, total))
            if draw:
                try:
                    view = agent.env.render() if agent.env.render_mode else None
                except DependencyNotInstalled as error:
                    refuse(ConfigError(f"the environment can't be drawn: {error}", key="--out"))
                yield film_frame(seen, view), agent.over or seen.step == steps
            if agent.over:
                break


def line(*parts: Any) -> str:
    """A line of the table, no longer than the terminal."""
    widths = (5, 8, SHORT + 1, 8, 8, 9)
    text = "".join(f"{part!s:<{wide}}" for part, wide in zip(parts, widths, strict=False)) + str(parts[-1])
    return text[: shutil.get_terminal_size().columns].rstrip() if sys.stdout.isatty() else text


def told(agent: Watched, seen: Seen, total: float) -> str:
    """A step as a line.

    Args:
        agent: who took it.
        seen: the step.
        total: the reward of the trial so far.
    """
    from metarl.report.film import spelled

    action = spelled(seen.action)
    return line(seen.step, seen.episode, saw(agent, seen), action, f"{seen.reward:.3g}", f"{total:.4g}", recalled(seen))


def saw(agent: Watched, seen: Seen) -> str:
    """What was observed, in few characters."""
    from gymnasium import spaces

    from metarl.types import OBS_KEY

    part = seen.observation.get(OBS_KEY)
    if part is None:
        return "several parts"
    if part.ndim > 1:
        return f"image {part.shape[0]}x{part.shape[1]}"
    space: Any = agent.env.distribution.observation_space
    if isinstance(space, spaces.Discrete):
        return "–" if space.n == 1 else f"state {int(np.argmax(part)) + space.start}"
    if np.isin(part, (0, 1)).all():
        text = "".join(str(int(number)) for number in part)
    else:
        text = " ".join(f"{number:.2f}" for number in part)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def recalled(seen: Seen) -> str:
    """The slots that were read most, with what they hold."""
    from metarl.report.film import spelled

    if seen.state is not None:
        return "no slots"
    if seen.weights is None:
        return "not read, or not told"
    parts = []
    for slot in np.argsort(-np.nan_to_num(seen.weights), kind="stable")[:NAMED].tolist():
        if not seen.weights[slot] > LEAST:
            break
        held = seen.held[slot] if slot < len(seen.held) else None
        about = f" (action {spelled(held.action)} paid {held.mean:.2f}, {held.times}×)" if held else ""
        parts.append(f"{seen.weights[slot]:.0%} slot {slot}{about}")
    return ", ".join(parts) or "nothing"

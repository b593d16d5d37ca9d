"""Rows of docs/results/control.json: ``python scripts/reproduce/beyond.py [--jobs 2]``, physics beyond training.

The agents of ``control.py`` for CartPole, with the preset's pole lengths and masses in training, play poles and masses
that they have never met: up to 1.5 times beyond either end of the range. Runs that are there already are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import Measured, pooled, put, ratio, runs_of, train, trained_at

from metarl.envs.cartpole_physics import CartPolePhysics
from metarl.evaluation.results import AgentEvaluation
from metarl.experiments.run import Run, open_run

COMMAND = "python scripts/reproduce/beyond.py"
FACTOR = 1.5  # how far beyond an end of its range a number goes
POLES, MASSES = ("length",), ("masspole", "masscart")
BEYOND: Mapping[str, tuple[tuple[str, ...], str]] = {
    "shorter poles": (POLES, "low"),
    "longer poles": (POLES, "high"),
    "lighter carts and poles": (MASSES, "low"),
    "heavier carts and poles": (MASSES, "high"),
    "shorter poles, lighter carts and poles": ((*POLES, *MASSES), "low"),
    "longer poles, heavier carts and poles": ((*POLES, *MASSES), "high"),
}
"""What is beyond the range of training, and at which end; all other numbers are drawn as in training."""
LEAST = 0.9


def beyond(family: CartPolePhysics, names: tuple[str, ...], end: str) -> dict[str, tuple[float, float]]:
    """The ranges of the numbers called ``names``, from an end of those of ``family`` to 1.5 times beyond it."""
    ranges = {}
    for name in names:
        low, high = getattr(family, name)
        ranges[name] = (low / FACTOR, low) if end == "low" else (high, high * FACTOR)
    return ranges


def last_episode(played: AgentEvaluation) -> Measured:
    """Mean and standard error of the return of the last episode of a trial."""
    return played.by_episode[-1], played.by_episode_se[-1]


def main() -> None:
    """Train what is missing, play both ends, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each (default 2)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default 0")
    parser.add_argument("--trials", type=int, default=1000, help="of each test (default 1000)")
    parser.add_argument("--out", type=Path, default=Path("runs/control"), help="default runs/control")
    args = parser.parse_args()
    evaluations = train("cartpole", "cartpole", args.seeds, ["env.reveal=false"], args.out, args.jobs)
    runs = runs_of(args.out, "cartpole", args.seeds)

    def play(settings: Mapping[str, tuple[float, float]]) -> list[AgentEvaluation]:
        opened: list[Run] = [
            open_run(run, [(("env", name), list(ends)) for name, ends in settings.items()]) for run in runs
        ]
        played: list[Any] = [
            one.experiment.evaluate(one.model, n=args.trials, seed=one.seed, alone=True) for one in opened
        ]
        return played

    inside = pooled([last_episode(one) for one in play({})])
    for what, (names, end) in BEYOND.items():
        ranges = beyond(CartPolePhysics(), names, end)
        ours = pooled([last_episode(one) for one in play(ranges)])
        told = ", ".join(f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in ranges.items())
        put(
            "control",
            evaluations,
            args.seeds,
            {
                "setting": f"CartPole beyond the physics of training: {what} ({told})",
                "method": "cartpole",
                "metric": "return of the last episode, as a share of that on the physics of training",
                "goal": (LEAST, None),
                "references": {"there, of 200": round(ours[0], 2), "on the physics of training": round(inside[0], 2)},
                "command": COMMAND,
                "commit": trained_at(*runs),
            },
            *ratio(ours, inside),
        )


if __name__ == "__main__":
    main()

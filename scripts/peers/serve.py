"""What the scripts of all peers do with their learner: rollouts whenever asked to, or a race to a mean return.

A learner's ``rollout`` plays one and learns from it. Standard output has a line of JSON for each answer, and nothing
else: first what the learner is, then, for each number read from standard input, what as many rollouts took.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Race:
    """Seconds until the mean return of the last trials reaches a bar.

    Args:
        bar: that is to be reached.
        cap: seconds after which the race is over.
        window: trials whose mean it is, at least.
    """

    def __init__(self, bar: float, cap: float, window: int) -> None:
        self.bar, self.cap, self.window = bar, cap, window
        self.seconds: float | None = None
        self.steps = 0
        self.curve: list[tuple[float, int, float]] = []
        self._kept: deque[tuple[int, float]] = deque()
        self._began = time.perf_counter()

    def add(self, steps: int, returns: Any) -> bool:
        """Take the returns ``[N]`` of trials that ended, after ``steps`` in all; whether the race is over."""
        elapsed, self.steps = time.perf_counter() - self._began, steps
        self._kept.append((len(returns), float(sum(returns))))
        while sum(count for count, _ in self._kept) - self._kept[0][0] >= self.window:
            self._kept.popleft()
        count = sum(count for count, _ in self._kept)
        if count >= self.window:
            mean = sum(total for _, total in self._kept) / count
            self.curve.append((round(elapsed, 2), steps, round(mean, 3)))
            if mean >= self.bar:
                self.seconds = elapsed
        return self.seconds is not None or elapsed > self.cap

    def result(self) -> dict[str, Any]:
        """Plain data: ``seconds`` is None where the bar was not reached."""
        best = max((mean for _, _, mean in self.curve), default=None)
        thin = self.curve[:: max(1, len(self.curve) // 50)]
        return {"seconds": self.seconds, "steps": self.steps, "best": best, "curve": thin}


class Learner(NamedTuple):
    """A recurrent PPO agent in training.

    Args:
        facts: versions, and the number of parameters.
        rollout: plays one and learns from it; how many steps it had, and the returns ``[N]`` of the trials that ended.
        race: trains until a race is over, where that is not done rollout by rollout.
    """

    facts: dict[str, Any]
    rollout: Callable[[], tuple[int, Any]]
    race: Callable[[Race], None] | None = None


def main(make: Callable[[argparse.Namespace], Learner], **options: dict[str, Any]) -> None:
    """Run a learner as the command line says.

    Args:
        make: the learner, ready to train, everything imported and compiled.
        options: of its own for the parser: the arguments of ``add_argument`` by name.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1, help="0: as the library chooses")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bar", type=float, help="race to this mean return")
    parser.add_argument("--cap", type=float, default=300.0, help="seconds of the race at most")
    parser.add_argument("--window", type=int, default=1024, help="trials whose mean return counts")
    for name, option in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **option)
    args = parser.parse_args()
    for variable in THREAD_VARIABLES if args.threads else ():
        os.environ[variable] = str(args.threads)
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    learner = make(args)
    if args.bar is not None:
        race = Race(args.bar, args.cap, args.window)
        if learner.race is None:
            steps, over = 0, False
            while not over:
                more, returns = learner.rollout()
                steps += more
                over = race.add(steps, returns)
        else:
            learner.race(race)
        print(json.dumps({**learner.facts, **race.result()}), file=answers, flush=True)
        return
    print(json.dumps(learner.facts), file=answers, flush=True)
    for line in sys.stdin:
        began, steps = time.perf_counter(), 0
        for _ in range(int(line)):
            steps += learner.rollout()[0]
        print(json.dumps({"steps": steps, "seconds": time.perf_counter() - began}), file=answers, flush=True)


PPO: dict[str, dict[str, Any]] = {
    "envs": {"type": int, "default": 256},
    "epochs": {"type": int, "default": 4},
    "minibatches": {"type": int, "default": 4},
    "lr": {"type": float, "default": 1e-3},
    "gamma": {"type": float, "default": 0.99},
    "lam": {"type": float, "default": 0.8},
    "ent": {"type": float, "default": 0.02},
    "reward_scale": {"type": float, "default": 0.05},
}
"""Options of PPO that all peers have."""

"""The Bernoulli bandit's rows of docs/results/bandits.json: ``python scripts/reproduce/bandits.py [--jobs 2]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import references, train, write

from metarl.report.results import commit

BOTH_CORES = ["train.threads=2", "train.total_timesteps=38_400_000"]
LONG = "preset bandit-long"
RUNS = {  # name of the run: what is said of it, preset, settings, seeds, goal
    "bandit": ("preset bandit", "bandit", [], (0,), 82.0),
    "bandit-long": (LONG, "bandit-long", [], (0, 1, 2), 82.5),
    "bandit-long-two-threads": (f"{LONG}, {', '.join(BOTH_CORES)}", "bandit-long", BOTH_CORES, (0,), 82.5),
}
SETTING = "Bernoulli bandit, k=10, n=100, held-out tasks"
COMMAND = "python scripts/reproduce/bandits.py"


def main() -> None:
    """Train the demo's preset and the long one, evaluate each run on tasks of its own, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/bandits"))
    args = parser.parse_args()
    version = commit()
    for name, (method, preset, settings, seeds, low) in RUNS.items():
        evaluations = train(preset, name, seeds, settings, args.out, 1 if settings else args.jobs)
        common = {
            "setting": SETTING,
            "metric": "reward per trial, sampled actions",
            "references": references(evaluations),
            "command": COMMAND,
            "commit": version,
        }
        write("bandits", evaluations, seeds, {**common, "method": method, "goal": (low, None)})
        off = {**common, "method": f"{method}, memory off", "goal": (None, 51.0)}
        write("bandits", evaluations, seeds, off, entry="ablations.off")


if __name__ == "__main__":
    main()

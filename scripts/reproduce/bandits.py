"""The Bernoulli bandit's rows of docs/results/bandits.json: ``python scripts/reproduce/bandits.py [--jobs 2]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import references, train, write
from results.rows import commit

PRESETS = {"bandit": ((0,), 82.0), "bandit-long": ((0, 1, 2), 82.5)}
"""Seeds and goal of each preset."""
SETTING = "Bernoulli bandit, k=10, n=100, held-out tasks"
COMMAND = "python scripts/reproduce/bandits.py"


def main() -> None:
    """Train the demo's preset and the long one, evaluate each run on tasks of its own, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/bandits"))
    args = parser.parse_args()
    version = commit()
    for preset, (seeds, low) in PRESETS.items():
        evaluations = train(preset, preset, seeds, [], args.out, args.jobs)
        common = {
            "setting": SETTING,
            "metric": "reward per trial, sampled actions",
            "references": references(evaluations),
            "command": COMMAND,
            "commit": version,
        }
        write("bandits", evaluations, seeds, {**common, "method": f"preset {preset}", "goal": (low, None)})
        off = {**common, "method": f"preset {preset}, memory off", "goal": (None, 51.0)}
        write("bandits", evaluations, seeds, off, ablation="off")


if __name__ == "__main__":
    main()

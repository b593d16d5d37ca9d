"""The Bernoulli bandit's rows of docs/results/bandits.json: ``python scripts/reproduce/bandits.py [--jobs 2]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from runs import references, train, write

from metarl.report.results import commit

SEEDS = (0, 1, 2)
SETTING = "Bernoulli bandit, k=10, n=100, held-out tasks"
COMMAND = "python scripts/reproduce/bandits.py"


def main() -> None:
    """Train the demo's preset and the long one for three seeds, evaluate, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/bandits"))
    args = parser.parse_args()
    version = commit()
    for preset, goal in (("bandit", (82.0, None)), ("bandit-long", (82.5, None))):
        evaluations = train(preset, preset, SEEDS, [], args.out, args.jobs)
        common = {"setting": SETTING, "references": references(evaluations[0]), "command": COMMAND, "commit": version}
        sampled = {**common, "metric": "reward per trial, sampled actions", "goal": goal}
        write("bandits", evaluations, SEEDS, {**sampled, "method": f"preset {preset}"})
        off = {**common, "metric": "reward per trial, sampled actions", "goal": (None, 51.0)}
        write("bandits", evaluations, SEEDS, {**off, "method": f"preset {preset}, memory off"}, entry="ablations.off")


if __name__ == "__main__":
    main()

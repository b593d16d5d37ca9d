"""The Bernoulli bandit's rows of docs/results/bandits.json: ``python scripts/reproduce/bandits.py [--jobs 2]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import pooled, references, returned, train, write
from results.rows import commit

SEEDS = (0, 1, 2)
SETTING = "Bernoulli bandit, k=10, n=100, held-out tasks"
METRIC = "reward per trial, sampled actions"
COMMAND = "python scripts/reproduce/bandits.py"
OF_GITTINS = 0.992  # the goal, as a share of what Gittins reaches on the same tasks
TRAINED_WITHOUT = {"asked once a step": ["memory.per_action=false"]}


def main() -> None:
    """Train the demo's preset, with and without a question for each arm; evaluate each run on tasks of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/bandits"))
    args = parser.parse_args()
    version = commit()
    evaluations = train("bandit", "bandit", SEEDS, [], args.out, args.jobs)
    common = {"setting": SETTING, "metric": METRIC, "command": COMMAND, "commit": version}
    common["references"] = references(evaluations)
    gittins, _ = pooled([returned(e.references["Gittins"]) for e in evaluations])
    low = round(OF_GITTINS * gittins, 2)
    write("bandits", evaluations, SEEDS, {**common, "method": "preset bandit", "goal": (low, None)})
    off = {**common, "method": "preset bandit, memory off", "goal": (None, 51.0)}
    write("bandits", evaluations, SEEDS, off, ablation="off")
    for name, settings in TRAINED_WITHOUT.items():
        others = train("bandit", name.replace(" ", "-"), SEEDS[:1], settings, args.out, args.jobs)
        values = {**common, "method": f"preset bandit, {name}", "goal": (None, None)}
        write("bandits", others, SEEDS[:1], {**values, "references": references(others)})


if __name__ == "__main__":
    main()

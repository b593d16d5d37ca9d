"""The tabular MDP's rows of docs/results/mdps.json: ``python scripts/reproduce/mdps.py [--jobs 2]``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import put, references, train, write
from results.rows import commit

SEEDS = (0, 1, 2)
SETTING = "tabular MDP, 10 states, 5 actions, 10 episodes x 10 steps, held-out tasks"
COMMAND = "python scripts/reproduce/mdps.py"
RIVALS = ("greedy", "greedy, fixed ties", "Bayes bonus")


def main() -> None:
    """Train three seeds, evaluate each on tasks of its own beside the planners, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/mdps"))
    args = parser.parse_args()
    version = commit()
    evaluations = train("mdp", "mdp", SEEDS, [], args.out, args.jobs)
    common = {"setting": SETTING, "command": COMMAND, "commit": version, "references": references(evaluations)}
    common["references"] |= {"known MDP": round(evaluations[0].ceilings["known MDP"] * 10, 3)}
    method, metric = "preset mdp", "reward per trial, sampled actions"
    write("mdps", evaluations, SEEDS, {**common, "method": method, "metric": metric, "goal": (153.0, None)})
    off = {**common, "method": f"{method}, memory off", "metric": metric, "goal": (None, None)}
    write("mdps", evaluations, SEEDS, off, ablation="off")
    for name in RIVALS:
        differences = [e.references[name].agent_minus for e in evaluations]
        halves = [(d.interval[1] - d.interval[0]) / 2 for d in differences]
        mean, half = np.mean([d.mean for d in differences]), np.sqrt(np.sum(np.square(halves))) / len(halves)
        metric = f"agent minus {name}, paired: lower end of the 95 % interval"
        values = {**common, "method": method, "metric": metric, "goal": (0.0, None)}
        put("mdps", evaluations, SEEDS, values, float(mean - half), float(half / 1.96))


if __name__ == "__main__":
    main()

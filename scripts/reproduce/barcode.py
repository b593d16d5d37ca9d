"""The barcode bandit's rows of docs/results/barcode.json: ``python scripts/reproduce/barcode.py [--jobs 2]``."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import references, train, write

from metarl.report.results import commit

SEEDS = (0,)
EPISODES = 100
SETTING = "barcode bandit, 10 arms, 10 contexts x 10 repeats, 10 pulls an episode, held-out tasks"
METRIC = "mean reward an episode, sampled actions"
COMMAND = "python scripts/reproduce/barcode.py"
AGENTS = {"barcode": ("attention over the trial", 8.3), "barcode-episodic": ("slot an episode, reinstated", 8.0)}
CONTROL = "trained with all memory emptied at each episode"


def main() -> None:
    """Train both agents, and both with their memory emptied at each episode; evaluate, ablate, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/barcode"))
    args = parser.parse_args()
    version = commit()
    jobs = [(preset, horizon) for preset in ("barcode-episodic", "barcode") for horizon in ("trial", "episode")]

    def run(job: tuple[str, str]) -> list[dict[str, object]]:
        preset, horizon = job
        return train(preset, f"{preset}-{horizon}", SEEDS, [f"memory.horizon={horizon}"], args.out, 1)

    with ThreadPoolExecutor(args.jobs) as pool:
        results = dict(zip(jobs, pool.map(run, jobs), strict=True))
    for preset, (name, low) in AGENTS.items():
        evaluations = results[preset, "trial"]
        common = {"setting": SETTING, "metric": METRIC, "command": COMMAND, "commit": version}
        common["references"] = references(evaluations, EPISODES)
        write("barcode", evaluations, SEEDS, {**common, "method": name, "goal": (low, None)}, per=EPISODES)
        for ablation, text in (("off", "memory off"), ("shuffled", "keys shuffled")):
            values = {**common, "method": f"{name}, {text}", "goal": (None, 4.5)}
            write("barcode", evaluations, SEEDS, values, entry=f"ablations.{ablation}", per=EPISODES)
        values = {**common, "method": f"{name}, {CONTROL}", "goal": (3.9, 4.44)}
        write("barcode", results[preset, "episode"], SEEDS, values, per=EPISODES)


if __name__ == "__main__":
    main()

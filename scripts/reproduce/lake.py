"""The rows of docs/results/lake.json: ``python scripts/reproduce/lake.py [--data DIR] [--only PART ...]``.

The preset lake is trained on all 30 background alphabets with five seeds, and on each of the two minimal sets of five
alphabets with two, a process and a thread each. All are tested on the 20 published runs and on random trials of the
evaluation alphabets; those of 30 alphabets also on the controls of ``scripts/lake_controls.py``. A run that lies in the
folder of the runs already is taken, if it was trained with the settings that the preset has now.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common import refuse_another, save, train, trained_at
from lake_controls import CONTROLS, PUBLISHED, RANDOM, look_up, measure
from results.rows import Row

from metarl.evaluation.lake import over_seeds

NAME, COMMAND = "lake", "python scripts/reproduce/lake.py"
TRIALS = 10_000
METRIC = "error %"
SETTING = "Omniglot, one alphabet, 20 ways, 1 shot by one drawer, queries by another, each answered alone; {where}"
MINIMAL = {"published convnet": 23.0, "Prototypical published": 30.1}


@dataclass(frozen=True)
class Part:
    """What is trained, and what it should reach."""

    trained_on: str
    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    goals: Mapping[str, float]
    """The greatest error in per cent."""
    published: Mapping[str, float]
    """Errors of others on the published runs, in per cent."""
    tests: tuple[str, ...] = (PUBLISHED, RANDOM)


PARTS: Mapping[str, Part] = {
    "lake": Part(
        "trained on the 30 background alphabets",
        ("data.trainval=true",),
        (0, 1, 2, 3, 4),
        {PUBLISHED: 3.3, RANDOM: 12.0},
        {"people": 4.5, "BPL": 3.3, "RCN": 7.3, "Siamese": 8.0, "Prototypical published": 13.7},
        CONTROLS,
    ),
    "small1": Part("trained on 5 alphabets, set 1", ("data.scheme=lake_small1",), (0, 1), {PUBLISHED: 15.0}, MINIMAL),
    "small2": Part("trained on 5 alphabets, set 2", ("data.scheme=lake_small2",), (0, 1), {PUBLISHED: 15.0}, MINIMAL),
}


def main() -> None:
    """Train, test and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA, or the user's cache)")
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS), help="parts (default all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="of each part (default five, and two of five alphabets)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/lake"), help="default runs/lake")
    args = parser.parse_args()
    found = look_up(args.data)
    for name in args.only:
        part = PARTS[name]
        seeds = tuple(args.seeds or part.seeds)
        settings = ["threads=1", *part.settings]
        folders = [args.out / f"{name}-s{seed}" for seed in seeds]
        for folder in folders:
            refuse_another(folder, "lake", settings)
        evaluations = train("lake", name, seeds, settings, args.out, args.jobs, ["--data", args.data] * bool(args.data))
        rates = measure(found, folders, trials=TRIALS, folder=args.data, tests=part.tests)
        version = ", ".join(dict.fromkeys(trained_at(folder) for folder in folders))
        for test, each in rates.items():
            error, se = over_seeds(each)
            alone = {f"seed {seed}": round(100 * one.error, 2) for seed, one in zip(seeds, each, strict=True)}
            row = Row(
                setting=SETTING.format(where=test),
                method=f"preset lake, {part.trained_on}",
                metric=METRIC,
                ours=100 * error,
                se=100 * se,
                n_tasks=each[0].trials,
                seeds=seeds,
                goal=(None, part.goals.get(test)),
                references={**(part.published if test == PUBLISHED else {}), **alone},
                command=f"{COMMAND} --only {name}",
                train_seconds=max(one.train_seconds for one in evaluations),
                train_steps=evaluations[0].train_steps,
                commit=version,
                parameters=evaluations[0].parameters,
                flags="not transductive",
            )
            save(NAME, row)


if __name__ == "__main__":
    main()

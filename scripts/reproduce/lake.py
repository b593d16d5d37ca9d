"""The rows of docs/results/lake.json: ``python scripts/reproduce/lake.py [--data DIR] [--only PART ...]``.

The preset lake is trained on all 30 background alphabets with five seeds, and on each of the two minimal sets of five
alphabets with two, a process and a thread each. All are tested on the 20 published runs and on random trials of the
evaluation alphabets; those of 30 alphabets also on the controls of ``scripts/lake_controls.py``.

What each seed reached is kept in docs/results/lake, so that seeds may be trained one by one, on several days: a row is
the mean of all that are there and were trained with the settings that the preset has now. Their runs aren't needed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import runs_of, same_settings, save, train, trained_at
from lake_controls import CONTROLS, PUBLISHED, RANDOM, look_up, measure
from results.rows import ROOT, Row

from metarl.config import build, to_plain
from metarl.evaluation.lake import ErrorRate, over_seeds
from metarl.files import write_json
from metarl.runs.folder import RunFolder

NAME, COMMAND = "lake", "python scripts/reproduce/lake.py"
KEPT = ROOT / "docs" / "results" / NAME
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


@dataclass(frozen=True)
class Kept:
    """What the training with one seed reached.

    Args:
        config: of the run.
        commit: that trained it.
        seconds: of training.
        updates: of training.
        parameters: of the net.
        rates: by test.
    """

    config: dict[str, Any]
    commit: str
    seconds: float
    updates: int
    parameters: int
    rates: dict[str, ErrorRate]


def main() -> None:
    """Train, test and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA, or the user's cache)")
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS), help="parts (default all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="of each part (default five, and two of five alphabets)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/lake"), help="default runs/lake")
    args = parser.parse_args()
    for name in args.only:
        known = taken(name)
        missing = [seed for seed in args.seeds or PARTS[name].seeds if seed not in known]
        write(name, known | trained(name, missing, args))


def taken(name: str) -> dict[int, Kept]:
    """What is kept of a part, by seed, where it was trained with the settings that the part has now."""
    kept = {path: build(Kept, json.loads(path.read_text("utf-8")), str(path)) for path in KEPT.glob(f"{name}-s*.json")}
    same = {path: one for path, one in kept.items() if same_settings(one.config, "lake", settings(name))}
    for path in sorted(set(kept) - set(same)):
        print(f"{path}: left out, as it was trained with other settings than the preset has now")
    return {one.config["seed"]: one for one in same.values()}


def settings(name: str) -> list[str]:
    """Those of a part beside the preset's."""
    return ["threads=1", *PARTS[name].settings]


def trained(name: str, seeds: list[int], args: argparse.Namespace) -> dict[int, Kept]:
    """Train a part with these seeds, test it, and keep what each reached."""
    if not seeds:
        return {}
    found, made = look_up(args.data), dict[int, Kept]()
    folders = runs_of(args.out, name, seeds)
    place = ["--data", args.data] * bool(args.data)
    evaluations = train("lake", name, seeds, settings(name), args.out, args.jobs, place)
    for seed, folder, done in zip(seeds, folders, evaluations, strict=True):
        config = RunFolder.open(folder).config
        config = {**config, "seed": seed, "data": {**config["data"], "folder": None}}  # wherever it lay
        rates = measure(found, [folder], trials=TRIALS, folder=args.data, tests=PARTS[name].tests)
        made[seed] = Kept(
            config=config,
            commit=trained_at(folder),
            seconds=done.train_seconds,
            updates=done.train_steps,
            parameters=done.parameters,
            rates={test: rate for test, (rate,) in rates.items()},
        )
        KEPT.mkdir(parents=True, exist_ok=True)
        write_json(KEPT / f"{name}-s{seed}.json", to_plain(made[seed]))
    return made


def write(name: str, kept: Mapping[int, Kept]) -> None:
    """The rows of a part, the mean over seeds."""
    part, seeds = PARTS[name], sorted(kept)
    every = [kept[seed] for seed in seeds]
    for test in part.tests:
        each = [one.rates[test] for one in every]
        error, se = over_seeds(each)
        alone = {f"seed {seed}": round(100 * one.error, 2) for seed, one in zip(seeds, each, strict=True)}
        row = Row(
            setting=SETTING.format(where=test),
            method=f"preset lake, {part.trained_on}",
            metric=METRIC,
            ours=100 * error,
            se=100 * se,
            n_tasks=each[0].trials,
            seeds=tuple(seeds),
            goal=(None, part.goals.get(test)),
            references={**(part.published if test == PUBLISHED else {}), **alone},
            command=f"{COMMAND} --only {name}",
            train_seconds=max(one.seconds for one in every),
            train_steps=every[0].updates,
            commit=", ".join(dict.fromkeys(one.commit for one in every)),
            parameters=every[0].parameters,
            flags="not transductive",
        )
        save(NAME, row)


if __name__ == "__main__":
    main()

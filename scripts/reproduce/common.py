"""What the scripts of this folder share: training runs, one process each, and rows from what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from metarl.report.results import Row, upsert, write_markdown

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def train(
    preset: str,
    name: str,
    seeds: Sequence[int],
    settings: Sequence[str],
    out: Path,
    jobs: int,
    options: Sequence[str] = (),
) -> list[Any]:
    """The evaluations of ``metarl train`` for each seed, one thread each; a run that is there already is taken.

    ``options`` are further ones of the command.
    """

    def one(seed: int) -> Any:
        folder = out / f"{name}-s{seed}"
        result = folder / "evaluation.json"
        if not result.is_file():
            started = [*metarl("train", preset), "--seed", str(seed), "--out", str(folder), *options]
            for setting in settings:
                started += ["--set", setting]
            with open(out / f"{name}-s{seed}.log", "w") as log:
                subprocess.run(started, check=True, stdout=log, stderr=subprocess.STDOUT, env=ONE_THREAD)
        return json.loads(result.read_text())

    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, seeds))


def metarl(*command: str) -> list[str]:
    """The command line of a command of metarl's."""
    return [sys.executable, "-m", "metarl", *command]


def pooled(entries: Sequence[Mapping[str, Any]], per: float = 1.0) -> tuple[float, float]:
    """Mean over seeds, each evaluated on tasks of its own, and its standard error, both divided by ``per``."""
    means = [entry["return_mean"] / per for entry in entries]
    errors = [entry["return_se"] / per for entry in entries]
    return float(np.mean(means)), float(np.sqrt(np.sum(np.square(errors))) / len(errors))


def write(
    name: str,
    evaluations: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    values: Mapping[str, Any],
    *,
    entry: str = "",
    per: float = 1.0,
) -> Row:
    """Write the row of ``entry``, a dotted path in an evaluation ("" for the agent), to docs/results/NAME.json."""

    def pick(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
        for part in filter(None, entry.split(".")):
            evaluation = evaluation[part]
        return evaluation

    return put(name, evaluations, seeds, values, *pooled([pick(e) for e in evaluations], per))


def put(
    name: str,
    evaluations: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    values: Mapping[str, Any],
    ours: float,
    se: float | None,
) -> Row:
    """Write a row with this number to docs/results/NAME.json."""
    row = Row(
        ours=ours,
        se=se,
        n_tasks=evaluations[0]["trials"],
        seeds=tuple(seeds),
        train_seconds=max(e["train_seconds"] for e in evaluations),
        train_steps=evaluations[0]["train_steps"],
        **values,
    )
    upsert(ROOT / "docs" / "results" / f"{name}.json", row)
    write_markdown(ROOT / "docs")
    print(f"{row.method}, {row.metric}: {row.ours:.3f} ± {1.96 * (row.se or 0):.3f} (goal {row.goal})")
    return row


def ratio(over: tuple[float, float], under: tuple[float, float]) -> tuple[float, float]:
    """The ratio of two independent means and its standard error (first order), from means and standard errors."""
    (top, top_se), (bottom, bottom_se) = over, under
    value = top / bottom
    return value, abs(value) * float(np.hypot(top_se / top, bottom_se / bottom))


def references(evaluations: Sequence[Mapping[str, Any]], per: float = 1.0) -> dict[str, float]:
    """What the references reached on the same tasks, mean over seeds."""
    names = evaluations[0]["references"]
    return {name: round(pooled([e["references"][name] for e in evaluations], per)[0], 3) for name in names}

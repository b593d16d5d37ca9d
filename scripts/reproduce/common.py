"""What the scripts of this folder share: training runs, one process each, and rows from what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metarl.config import apply, load_toml, parse_assignment
from metarl.evaluation.results import ActorResult, read_evaluation
from metarl.experiments.base import Experiment
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.presets import from_config, preset_path, without_options
from metarl.runs.folder import RunFolder

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where the package of the results lies
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

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
    """The evaluations of ``metarl train`` for each seed, one thread each.

    A run that is there already is taken, and one that was cut off goes on, if it has these settings.

    ``options`` are further ones of the command.
    """
    folders = runs_of(out, name, seeds)
    for folder in folders:
        refuse_another(folder, preset, settings)

    def one(seed: int, folder: Path) -> Any:
        result = folder / "evaluation.json"
        if not result.is_file():
            started = [*metarl("train", preset), "--seed", str(seed), "--out", str(folder), *options]
            for setting in settings:
                started += ["--set", setting]
            if (folder / "config.json").is_file():
                started = metarl("train", "--resume", str(folder))
            with open(f"{folder}.log", "w") as log:
                subprocess.run(started, check=True, stdout=log, stderr=subprocess.STDOUT, env=ONE_THREAD)
        return read_evaluation(result)

    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, seeds, folders))


def runs_of(out: Path, name: str, seeds: Sequence[int]) -> list[Path]:
    """The folders in which :func:`train` puts the runs of these seeds."""
    return [out / f"{name}-s{seed}" for seed in seeds]


def refuse_another(run: Path, preset: str, settings: Sequence[str]) -> None:
    """Stop where a run folder is there that was trained with other settings; see :func:`same_settings`."""
    if (run / "config.json").is_file() and not same_settings(RunFolder.open(run).config, preset, settings):
        raise SystemExit(f"{run} was trained with other settings than {preset} has now; move it away to train anew")


def same_settings(config: Mapping[str, Any], preset: str, settings: Sequence[str]) -> bool:
    """Whether a run with this config was trained as a preset is now; seed, words and where data lay don't count."""
    found = from_config({key: value for key, value in config.items() if key != "seed"}, preset)
    changed = [parse_assignment(text) for text in settings]
    toml = without_options(load_toml(preset_path(preset)), changed)
    config = apply(toml, [(("name",), found.name), *changed])
    asked = from_config(config, preset)  # not checked, which may read all data
    return not_words(found) == not_words(asked)


def not_words(experiment: Experiment) -> Experiment:
    """The experiment without what changes nothing."""
    experiment = replace(experiment, about="")
    if not isinstance(experiment, FewShotExperiment):
        return experiment
    data = experiment.data
    return replace(experiment, data=replace(data, folder="." if data.source == "images" else None))


def trained_at(*runs: Path) -> str:
    """The commits of the code that trained these runs, short, with ``+dirty`` where it differed; or ``unknown``.

    Rows that were written before a training make its checkout dirty, but not its code.
    """
    now, each = commit(), [RunFolder.open(run).meta.git for run in runs]
    return ", ".join(
        dict.fromkeys(now if git and git.commit.startswith(now) else str(git or "unknown") for git in each)
    )


def metarl(*command: str) -> list[str]:
    """The command line of a command of metarl's."""
    return [sys.executable, "-m", "metarl", *command]


Measured = tuple[float, float]
"""A mean and its standard error."""


def returned(result: ActorResult) -> Measured:
    """The return of an actor."""
    return result.return_mean, result.return_se


def pooled(entries: Sequence[Measured], per: float = 1.0) -> Measured:
    """Mean over seeds, each evaluated on tasks of its own, and its standard error, both divided by ``per``."""
    means, errors = np.array(entries).T / per
    return float(np.mean(means)), float(np.sqrt(np.sum(np.square(errors))) / len(errors))


def above(evaluations: Sequence[Any], reference: str) -> Measured:
    """The agents' return less a reference's, paired by task, and its standard error."""
    differences = [e.references[reference].agent_minus for e in evaluations]
    low, high = np.array([one.interval for one in differences]).T
    return pooled([(one.mean, se) for one, se in zip(differences, (high - low) / 3.92, strict=True)])


def percent_of(reference: str, evaluations: Sequence[Any]) -> Measured:
    """What agents reach in per cent of a reference, and its standard error by the paired differences."""
    base, _ = pooled([returned(e.references[reference]) for e in evaluations])
    lag, error = above(evaluations, reference)
    return 100 * (1 + lag / base), 100 * error / base


def write(
    name: str,
    evaluations: Sequence[Any],
    seeds: Sequence[int],
    values: Mapping[str, Any],
    *,
    ablation: str | None = None,
    per: float = 1.0,
) -> Row:
    """Write the row of the agent, or of an ablation of it, to docs/results/NAME.json."""
    results = [e if ablation is None else e.ablations[ablation] for e in evaluations]
    return put(name, evaluations, seeds, values, *pooled([returned(one) for one in results], per))


def put(
    name: str,
    evaluations: Sequence[Any],
    seeds: Sequence[int],
    values: Mapping[str, Any],
    ours: float,
    se: float | None,
) -> Row:
    """Write a row with this number to docs/results/NAME.json."""
    row = Row(
        ours=ours,
        se=se,
        n_tasks=evaluations[0].trials,
        seeds=tuple(seeds),
        train_seconds=max(e.train_seconds for e in evaluations),
        train_steps=evaluations[0].train_steps,
        **values,
    )
    save(name, row)
    return row


def save(name: str, *rows: Row) -> None:
    """Write rows to docs/results/NAME.json and the pages made from it."""
    upsert(ROOT / "docs" / "results" / f"{name}.json", *rows)
    write_markdown(ROOT / "docs")
    for row in rows:
        print(f"{row.where}, {row.method}, {row.metric}: {row.ours:.3f} ± {1.96 * (row.se or 0):.3f} (goal {row.goal})")


def ratio(over: Measured, under: Measured) -> Measured:
    """The ratio of two independent means and its standard error (first order), from means and standard errors."""
    (top, top_se), (bottom, bottom_se) = over, under
    value = top / bottom
    return value, abs(value) * float(np.hypot(top_se / top, bottom_se / bottom))


def references(evaluations: Sequence[Any], per: float = 1.0) -> dict[str, float]:
    """What the references reached on the same tasks, mean over seeds."""
    names = evaluations[0].references
    return {name: round(pooled([returned(e.references[name]) for e in evaluations], per)[0], 3) for name in names}

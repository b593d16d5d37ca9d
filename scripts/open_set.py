"""How well a trained few-shot learner tells unknown classes: ``python scripts/open_set.py RUN [--split test]``.

Every episode remembers some held-out classes and asks about as many images of them as of other held-out classes. It
prints the AUROC of ``known`` (1: every known query gets more than every unknown one; 0.5: chance) beside that of the
greatest probability, and what the learner's threshold does. Of the validation classes some were those that it was
calibrated by; the test classes are all new. ``--keep`` makes a row of it in docs/results/omniglot.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from results.pages import write_markdown
from results.rows import ROOT, Row, upsert

import metarl
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.data.sources import FewShotSource
from metarl.evaluation.pooling import NORMAL95
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.run import Run
from metarl.functional.stats import auroc
from metarl.seeding import numpy_rng

QUERIES = 2  # of each class


class Measured(NamedTuple):
    """Scores ``[episodes, queries, 2]`` of known and unknown queries: being known, and the greatest probability."""

    known: np.ndarray
    unknown: np.ndarray


def measure(learner: TrainedLearner, pool: FewShotSource, ways: int, shots: int, episodes: int, seed: int) -> Measured:
    """Scores of known and of unknown queries.

    Args:
        learner: calibrated; what it remembers is replaced.
        pool: held-out classes.
        ways: classes that are remembered, and as many that are not.
        shots: images of each.
        episodes: how many.
        seed: of the episodes.
    """
    rng = numpy_rng(seed, "evaluation", ways, shots)
    found: list[list[tuple[float, float]]] = []
    for _ in range(episodes):
        drawn = pool.draw(rng, 1, 2 * ways, shots + QUERIES)[0]
        for name in learner.classes:
            learner.forget(name)
        learner.remember({str(number): list(drawn[number, :shots]) for number in range(ways)})
        answers = learner.predict(list(drawn[:, shots:].reshape(-1, *pool.shape)))
        found.append([(float(answer.known or 0.0), answer.probability) for answer in answers])
    return Measured(*np.split(np.array(found), 2, axis=1))


def area(measured: Measured, score: int) -> tuple[float, float]:
    """AUROC of a score over all queries, and its standard error by leaving out one episode at a time (jackknife)."""
    known, unknown = (part[..., score] for part in measured)
    n = len(known)
    without = [auroc(*(np.delete(part, number, axis=0).ravel() for part in (known, unknown))) for number in range(n)]
    return auroc(known.ravel(), unknown.ravel()), float(np.std(without) * np.sqrt(n - 1))


def main() -> None:
    """Measure a run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a few-shot learner")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", action="store_true", help="write the row of a run on Omniglot, tested on test classes"
    )
    args = parser.parse_args()
    learner = metarl.load(args.run)
    run = metarl.open_run(args.run)
    experiment = run.experiment
    if not isinstance(learner, TrainedLearner) or not isinstance(experiment, FewShotExperiment):
        parser.error(f"{args.run} is no run of a few-shot learner")
    judge = learner.open_set
    if judge is None:
        parser.error(f"{args.run} was not calibrated: it was trained on its validation classes, or they are too few")
    pool = experiment.source(args.split)
    known_commit = (args.run / "meta.json").is_file()  # an entry of the zoo has none
    if args.keep and not (args.split == "test" and experiment.data.source == "omniglot" and known_commit):
        parser.error("--keep is for --split test and the run folder of a learner of Omniglot: nothing else has a row")
    found = measure(learner, pool, args.ways, args.shots, args.episodes, args.seed)
    known, unknown = (part.reshape(-1, 2) for part in found)
    told, greatest = (area(found, score) for score in range(2))
    print(f"{args.ways}-way {args.shots}-shot, {args.episodes} episodes, {args.split} classes, half of queries unknown")
    for name, (value, error) in (("known", told), ("greatest probability", greatest)):
        print(f"AUROC of {name:20} {value:.4f} ± {NORMAL95 * error:.4f}")
    rejected, noticed = ((part[:, 0] < judge.threshold).mean() for part in (known, unknown))
    print(f"at the threshold {judge.threshold:.3f}: {rejected:.1%} of known queries rejected, {noticed:.1%} of unknown")
    if args.keep:
        references = {
            "AUROC of the greatest probability": round(greatest[0], 4),
            "% of unknown noticed": round(100 * float(noticed), 1),
            "% of known rejected": round(100 * float(rejected), 1),
        }
        keep(run, args, told, references)


def keep(run: Run, args: argparse.Namespace, told: tuple[float, float], references: dict[str, float]) -> None:
    """Write the row of a run; ``told`` is the AUROC and its standard error."""
    row = Row(
        setting=f"Omniglot, {args.ways} known ways, {args.shots} shot, and as many unknown, unseen characters",
        method=f"{run.experiment.name}, {run.steps:,} episodes",
        metric="AUROC of known",
        ours=told[0],
        se=told[1],
        n_tasks=args.episodes,
        seeds=(run.seed,),
        goal=(0.95, None),
        references=references,
        command="python scripts/open_set.py RUN --split test --keep",
        train_seconds=run.seconds,
        train_steps=run.steps,
        commit=str(run.folder.meta.git or "unknown"),
    )
    upsert(ROOT / "docs" / "results" / "omniglot.json", row)
    write_markdown(ROOT / "docs")


if __name__ == "__main__":
    main()

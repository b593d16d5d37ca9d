"""How well a trained few-shot learner tells unknown classes: ``python scripts/open_set.py RUN [--split test]``.

Every episode remembers some held-out classes and asks about as many images of them as of other held-out classes. It
prints the AUROC of ``known`` (1: every known query gets more than every unknown one; 0.5: chance) beside that of the
greatest probability, and what the learner's threshold does. Of the validation classes some were those that it was
calibrated by; the test classes are all new.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

import metarl
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.data.pool import Pool
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.functional.stats import auroc
from metarl.seeding import numpy_rng

QUERIES = 2  # of each class


class Measured(NamedTuple):
    """Scores ``[n]`` of known and unknown queries: whether of a known class, and the greatest probability."""

    known: np.ndarray
    unknown: np.ndarray


def measure(learner: TrainedLearner, pool: Pool, ways: int, shots: int, episodes: int, seed: int) -> Measured:
    """Scores ``[n, 2]`` of known and of unknown queries.

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
    scores = np.array(found)
    half = ways * QUERIES
    return Measured(scores[:, :half].reshape(-1, 2), scores[:, half:].reshape(-1, 2))


def main() -> None:
    """Measure a run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a few-shot learner")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    learner = metarl.load(args.run)
    experiment = metarl.open_run(args.run).experiment
    if not isinstance(learner, TrainedLearner) or not isinstance(experiment, FewShotExperiment):
        parser.error(f"{args.run} is no run of a few-shot learner")
    judge = learner.open_set
    if judge is None:
        parser.error(f"{args.run} was not calibrated: it was trained on its validation classes, or they are too few")
    pool = experiment.source(args.split)
    known, unknown = measure(learner, pool, args.ways, args.shots, args.episodes, args.seed)
    print(f"{args.ways}-way {args.shots}-shot, {args.episodes} episodes, {args.split} classes, half of queries unknown")
    print(f"AUROC of known                {auroc(known[:, 0], unknown[:, 0]):.4f}")
    print(f"AUROC of greatest probability {auroc(known[:, 1], unknown[:, 1]):.4f}")
    rejected, noticed = ((part[:, 0] < judge.threshold).mean() for part in (known, unknown))
    print(f"at the threshold {judge.threshold:.3f}: {rejected:.1%} of known queries rejected, {noticed:.1%} of unknown")


if __name__ == "__main__":
    main()

"""Whether an entry still does as well as its card says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from metarl.config import choice
from metarl.data.omniglot.archives import found
from metarl.evaluation.pooling import NORMAL95
from metarl.evaluation.results import AgentEvaluation, Evaluation, FewShotEvaluation
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.run import Run, open_run
from metarl.runs.manifest import CARD
from metarl.zoo.card import Figure, read_card

MOST = 4.0  # standard errors of the difference; by chance one figure in 16,000 is further off
TASKS = 200


class Checked(NamedTuple):
    """A figure of a card beside a new measurement.

    Args:
        errors: the difference, in its standard errors.
    """

    card: Figure
    now: Figure
    errors: float

    @property
    def holds(self) -> bool:
        """Whether the difference may be chance."""
        return self.errors <= MOST


def figures(evaluation: Evaluation) -> list[Figure]:
    """The means of an evaluation that a card tells.

    Raises:
        ValueError: it is neither of an agent nor of a few-shot learner.
    """
    if isinstance(evaluation, AgentEvaluation):
        told = [("return of a trial", evaluation.return_mean, evaluation.return_se, evaluation.trials)]
    elif isinstance(evaluation, FewShotEvaluation):
        cells = evaluation.cells
        told = [(f"{one.ways}-way {one.shots}-shot accuracy", one.accuracy, one.se, one.episodes) for one in cells]
        for stream in evaluation.streams:
            low, high = stream.by_instance_interval[-1]
            name = f"accuracy of instance {len(stream.by_instance)} of {stream.ways} classes"
            told.append((name, stream.by_instance[-1], (high - low) / 2 / NORMAL95, stream.episodes))
    else:
        raise ValueError("the zoo holds agents and few-shot learners, and no nets of the recall benchmark")
    return [Figure(name=name, value=value, se=se, tasks=n, trained=value) for name, value, se, n in told]


def missing_data(run: Run) -> str | None:
    """Which data the tests of a run need that are not here; None: none."""
    experiment = run.experiment
    if not isinstance(experiment, FewShotExperiment) or experiment.data.source != "omniglot":
        return None
    return None if found(experiment.data.folder) else "Omniglot is not here; metarl data omniglot downloads it"


def check(folder: Path, run: Run, *, tasks: int = TASKS, seed: int | None = None, quiet: bool = True) -> list[Checked]:
    """Test the model of an entry on held-out tasks, beside the figures of its card.

    Args:
        folder: of the entry.
        run: of it, opened.
        tasks: trials, or episodes of each setting.
        seed: of the tasks; None: the one after the card's, so that they are others and the errors independent.
        quiet: no progress bar.

    Raises:
        InputError: the card is damaged, or of other figures than this version measures.
    """
    card = read_card(folder)
    seed = card.seed + 1 if seed is None else seed
    measured = {
        one.name: one for one in figures(run.evaluate(split=card.split, n=tasks, seed=seed, quiet=quiet, alone=True))
    }
    rows = []
    for one in card.figures:
        now = measured[choice(one.name, measured, f"{folder / CARD}: the name of a figure")]
        own = max(now.se, one.se * math.sqrt(one.tasks / now.tasks))  # of few tasks, all right, the error looks like 0
        error = math.hypot(one.se, own)
        apart = abs(now.value - one.value)
        rows.append(Checked(one, now, 0.0 if apart == 0 else apart / error if error else math.inf))
    return rows


def opened(folder: Path, device: str = "auto") -> Run:
    """The run of an entry, with its model; see :func:`metarl.experiments.run.open_run`.

    Raises:
        InputError: it has no card.
    """
    read_card(folder)
    return open_run(folder, device=device)

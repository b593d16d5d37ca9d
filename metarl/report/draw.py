"""All pictures of a run folder, and what is missing for the others."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from metarl.report import trials
from metarl.report.episodes import episodes
from metarl.report.evaluation import read_evaluation
from metarl.report.fewshot import is_fewshot
from metarl.report.fewshot_page import draw_fewshot
from metarl.report.figures import adaptation_curve
from metarl.report.learning import learning_curve, series
from metarl.report.reads import memory_reads
from metarl.runs.folder import RunError, RunFolder


class Drawn(NamedTuple):
    """What was drawn of a run."""

    pictures: dict[str, Path]
    """Paths of pictures by what they show: ``adaptation``, ``learning``, ``memory``, ``episodes``; of a few-shot run
    ``instances``, ``drawings``, ``streams``, ``recall``, ``learning``."""
    missing: list[str]
    """A line for each picture that could not be drawn: what it lacks and how that is made."""


def draw_run(run: RunFolder) -> Drawn:
    """Draw all that a run folder has the data for, into its ``figures`` folder.

    Raises:
        RunError: a file is damaged, or there is nothing to draw.
    """
    if is_fewshot(run):
        return Drawn(*draw_fewshot(run))
    evaluation, metrics = read_evaluation(run), run.metrics()
    kept = trials.load(trials.path_of(run)) if trials.path_of(run).is_file() else []
    learned = len(series(metrics, "rollout/ep_rew_mean")[0]) > 0
    drawn = Drawn({}, [])
    if not (evaluation or learned or kept):
        raise RunError(
            f"{run.path} has nothing to draw: no evaluation.json, no {trials.FILE} and no return in metrics.jsonl; "
            "train or evaluate first"
        )
    again = f"make it with metarl eval {run.path}"
    if evaluation:
        drawn.pictures["adaptation"] = adaptation_curve(evaluation, run.figures / "adaptation.png")
    else:
        drawn.missing.append(f"adaptation curve: {run.path} has no evaluation.json; {again}")
    if learned:
        drawn.pictures["learning"] = learning_curve(metrics, run.figures / "learning.png")
    else:
        drawn.missing.append(
            f"learning curve: {run.path} has no return of a training trial; train for at least one whole trial"
        )
    if kept and kept[0].weights is not None:  # an agent without a store has none, and lacks nothing
        drawn.pictures["memory"] = memory_reads(kept[0], run.figures / "memory.png")
    if kept:
        drawn.pictures["episodes"] = episodes(kept, run.figures / "episodes.png")
    else:
        drawn.missing.append(f"memory and single trials: {run.path} has no {trials.FILE}; {again}")
    return drawn

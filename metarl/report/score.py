"""The one number that stands for an evaluation where runs are listed or compared over seeds."""

from __future__ import annotations

from typing import NamedTuple

from metarl.evaluation.pooling import NORMAL95
from metarl.evaluation.results import AgentEvaluation, Evaluation, FewShotEvaluation
from metarl.report.agent import mean_return, return_unit


class Score(NamedTuple):
    """A result.

    Args:
        name: what it is, such as "return" of a trial, or "5-way 1-shot" accuracy.
        mean: over tasks; accuracies are shares.
        half: half the width of its 95 % interval over tasks.
    """

    name: str
    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.name} {shown(self.name, self.mean)} ± {shown(self.name, self.half)}"


def shown(name: str, value: float) -> str:
    """A value of this name as text: accuracies in per cent."""
    return f"{value:.2f}" if name.startswith("return") else f"{100 * value:.2f} %"


def score(evaluation: Evaluation) -> Score:
    """The mean return of an agent; the accuracy of a few-shot learner in its first setting, or of a memory."""
    if isinstance(evaluation, AgentEvaluation):
        unit = return_unit([evaluation])
        each = unit == "episode"
        low, high = (each and evaluation.episode_interval) or evaluation.return_interval
        return Score("return per episode" if each else "return", mean_return(evaluation, unit), (high - low) / 2)
    if isinstance(evaluation, FewShotEvaluation):
        if evaluation.cells:
            cell = evaluation.cells[0]
            low, high = cell.interval
            return Score(f"{cell.ways}-way {cell.shots}-shot", cell.accuracy, (high - low) / 2)
        stream = evaluation.streams[0]
        low, high = stream.by_instance_interval[-1]
        return Score(
            f"{stream.ways} classes, instance {len(stream.by_instance)}", stream.by_instance[-1], (high - low) / 2
        )
    result = evaluation.results[0]
    return Score("recall", result.accuracy, NORMAL95 * result.se)

"""What came out of a run in one sentence, and how far it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metarl.evaluation.results import AgentEvaluation, Evaluation, FewShotEvaluation
from metarl.report import fewshot
from metarl.report.agent import best_reference, ends_of_scale, mean_and_half, mean_return, return_unit
from metarl.report.recall import grid
from metarl.runs.status import PRUNED, cut_short

UNITS = {"rl2": "environment steps", "fewshot": "training episodes", "recall": "training sequences"}
"""What the steps of a training are called, by kind of run."""


def verdict(evaluation: Evaluation) -> str:
    """The result in one sentence: an agent's share of the way to the best reference, with and without its memory."""
    if isinstance(evaluation, AgentEvaluation):
        return _agent(evaluation)
    if isinstance(evaluation, FewShotEvaluation):
        return _fewshot(evaluation)
    made = grid(evaluation.results)
    means = {m: [made.cells[m, t].accuracy for t in made.tasks if (m, t) in made.cells] for m in made.memories}
    full = {m: sum(v) / len(v) for m, v in means.items() if len(v) == len(made.tasks)} or {
        m: sum(v) / len(v) for m, v in means.items()
    }
    best = max(full, key=lambda memory: full[memory])
    over = f"over {len(made.tasks)} tasks" if len(made.tasks) > 1 else f"on {made.tasks[0]}"
    chance = sum(made.chance) / len(made.chance)
    others = f", best of {len(full)} memories" if len(full) > 1 else ""
    return f"{best} recalls {100 * full[best]:.1f} % {over}{others}; chance is {100 * chance:.1f} %"


def _agent(evaluation: AgentEvaluation) -> str:
    unit = return_unit([evaluation])
    ends = ends_of_scale(evaluation, unit)
    off = evaluation.ablations.get("off")
    if ends is None or ends[1] <= ends[0]:
        text = f"Reward {mean_and_half(evaluation, unit)} per {unit}"
        return text + (f"; with its memory off {mean_and_half(off, unit)}" if off else "")
    way = [100 * (mean_return(one, unit) - ends[0]) / (ends[1] - ends[0]) for one in (evaluation, off) if one]
    text = f"{way[0]:.0f} % of the way from random to {best_reference(evaluation)}"
    return text + (f"; with its memory off {way[1]:z.0f} %" if off else "")


def _fewshot(evaluation: FewShotEvaluation) -> str:
    if evaluation.cells:
        cell = evaluation.cells[0]
        theirs = fewshot.known_cells(evaluation).accuracy.get((cell.ways, cell.shots))
        known = "" if theirs is None else f", published {fewshot.shown(theirs)} %"
        right = f"{fewshot.in_percent(cell.accuracy, cell.interval)} % of answers right"
        return f"{right} in {fewshot.cell_name(cell)} episodes; chance is {100 / cell.ways:.3g} %{known}"
    stream = evaluation.streams[0]
    first, last = (100 * stream.by_instance[i] for i in (0, -1))
    chance = 100 * fewshot.CHANCE[stream.labels](stream.ways)
    of = f"{fewshot.stream_name(stream)}: {first:.1f} % right when a class is first shown"
    return f"{of}, {last:.1f} % at instance {len(stream.by_instance)}; chance is {chance:.2g} %"


def state(config: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[str, bool]:
    """How far a run came, in words, and whether it came to the end that was asked for.

    Args:
        config: of the run.
        status: of the run.
    """
    steps, asked = int(status.get("train_steps") or 0), planned_steps(config)
    unit = UNITS.get(str(config.get("kind")), "steps")
    short = asked is not None and 0 < steps < asked
    far = f"{steps:,} of {asked:,} {unit}" if short else f"{steps:,} {unit}" if steps else ""
    seconds = float(status.get("train_seconds") or 0)
    took = f" in {seconds / 60:.0f} min" if seconds >= 120 else f" in {seconds:.0f} s" if seconds >= 1 else ""
    if status["status"] == "finished":
        cut = cut_short(config, status)
        if cut or short:
            reason = f"{cut[0].upper()}{cut[1:]}" if cut else "Training was cut short"
            return f"{reason}{f'; {far} were trained{took}' if far else ''}.", False
        return f"Finished{f': {far} trained{took}' if far else ''}.", True
    if status.get("ended") == PRUNED:
        return f"Pruned by its sweep{f' after {far}{took}' if far else ''}: it did worse than others.", False
    words = {"interrupted": "Interrupted", "failed": "Failed", "running": "Not finished, or killed"}
    why = f" ({status['reason']})" if status.get("reason") else ""
    after = f" after {far}{took}" if far else ""
    return f"{words[status['status']]}{why}{after}: what follows is of what was learned until then.", False


def planned_steps(config: Mapping[str, Any]) -> int | None:
    """The environment steps that an agent was to be trained for; None where that is not said."""
    train = config.get("train")
    steps = train.get("total_timesteps") if isinstance(train, Mapping) else None
    return steps if isinstance(steps, int) else None

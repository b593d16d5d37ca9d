"""The table of an evaluation, as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from metarl.report.evaluation import (
    ABLATIONS,
    Evaluation,
    best_reference,
    check,
    headline,
    held_out,
    random_return,
    return_unit,
    step_word,
)

WIDTH = 100
"""Columns of a terminal that the table keeps to."""
_NAME_WIDTH = 40
_NOTHING = "-"


def evaluation_table(evaluation: Evaluation) -> str:
    """The agent, its ablations and the references, one a row; at most :data:`WIDTH` columns, without colours.

    The columns are the mean return with half the width of its 95 % interval over tasks (per trial; per episode where
    episodes are longer than a step), the share of the way from random to the best reference, and the steps until the
    mean reward reaches 90 % of its final rate.

    Args:
        evaluation: the fields of ``evaluation.json``.

    Raises:
        ValueError: a field is missing.
    """
    check(evaluation)
    head, ours, theirs = evaluation_rows(evaluation)
    widths = [max(len(line[column]) for line in (head, *ours, *theirs)) for column in range(4)]
    aligned = [[_aligned(line, widths) for line in part] for part in ([head], ours, theirs)]
    rule = "-" * len(aligned[0][0])
    body = [*aligned[0], rule, *aligned[1], rule, *aligned[2], *([rule] if theirs else [])]
    notes = [
        line for note in evaluation_notes(evaluation) for line in textwrap.wrap(note, WIDTH, subsequent_indent="  ")
    ]
    return "\n".join([*_title(evaluation), "", *body, *notes])


Cells = tuple[str, ...]
"""A row of a table: a name, then the values."""


def evaluation_rows(evaluation: Evaluation) -> tuple[Cells, list[Cells], list[Cells]]:
    """The head of the table of an evaluation, the rows of the agent and those of the references, as text."""
    unit, per = return_unit(evaluation)
    best = best_reference(evaluation)
    head = ("", f"reward per {unit}", f"random to {best}" if best else "share", f"{step_word(evaluation)}s to 90 %")

    def cells(name: str, result: Evaluation) -> Cells:
        return name, _mean(result, per), _share(evaluation, result), str(result.get("steps_to_adapt", _NOTHING))

    ours, theirs = ([cells(*row) for row in rows(evaluation)] for rows in (_agent_rows, _reference_rows))
    return head, ours, theirs


def _agent_rows(evaluation: Evaluation) -> Iterator[tuple[str, Evaluation]]:
    yield "agent (sampled actions)", evaluation
    if "greedy_return_mean" in evaluation:
        start = "greedy_"
        fields = {name.removeprefix(start): value for name, value in evaluation.items() if name.startswith(start)}
        yield "agent (greedy actions)", fields
    for key, name in ABLATIONS.items():
        if key in evaluation.get("ablations", {}):
            yield name, evaluation["ablations"][key]


def _reference_rows(evaluation: Evaluation) -> Iterator[tuple[str, Evaluation]]:
    for name, result in evaluation.get("references", {}).items():
        yield textwrap.shorten(name, _NAME_WIDTH, placeholder="..."), result


def _mean(result: Evaluation, per: float) -> str:
    """``82.61 ± 0.17``; the interval is left blank where none was computed."""
    mean = f"{result['return_mean'] / per:.2f}"
    if "return_interval" not in result:
        return mean + " " * len(" ± 0.00")
    low, high = result["return_interval"]
    return f"{mean} ± {(high - low) / 2 / per:.2f}"


def _share(evaluation: Evaluation, result: Evaluation) -> str:
    best, start = best_reference(evaluation), random_return(evaluation)
    if best is None or start is None:
        return _NOTHING
    way = evaluation["references"][best]["return_mean"] - start
    return f"{100 * (result['return_mean'] - start) / way:.1f} %" if way > 0 else _NOTHING


def _title(evaluation: Evaluation) -> list[str]:
    where = f"{held_out(evaluation)}, seed {evaluation['seed']}" if "seed" in evaluation else held_out(evaluation)
    return textwrap.wrap(f"{headline(evaluation)}: {where}", WIDTH, subsequent_indent="  ")


def evaluation_notes(evaluation: Evaluation) -> Iterator[str]:
    """What the columns mean, and what is known of the family."""
    unit, _ = return_unit(evaluation)
    step, best = step_word(evaluation), best_reference(evaluation)
    yield "±: half the width of the 95 % interval over tasks"
    if best:
        yield f"random to {best}: share of the way from random actions to {best}"
    if "steps_to_adapt" in evaluation:
        yield f"{step}s to 90 %: until the mean reward reaches 90 % of its final rate"
    else:
        yield f"{step}s to 90 %: not told of trials that have different lengths"
    if known := evaluation.get("ceilings"):
        values = ", ".join(f"{name} {value:.2f}" for name, value in known.items())
        yield f"known values per {unit}: {values}"


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    name, *cells = line
    return "   ".join(
        [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
    )

"""The table of an evaluation of any kind, and any table as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metarl.evaluation.pooling import NORMAL95
from metarl.evaluation.results import ActorResult, AgentEvaluation, Evaluation, FewShotEvaluation, RecallEvaluation
from metarl.report import agent, fewshot, recall
from metarl.report.canvas import counted
from metarl.tasks.trial.told import SUCCESS

WIDTH = 100  # columns of a terminal that tables keep to
_NAME_WIDTH = 40
_EPISODES = 5  # the most columns of what was told by episode

Cells = tuple[str, ...]  # a row: a name, then the values


class Part(NamedTuple):
    """Rows that belong together, under a name of their own where it isn't empty.

    Args:
        head: of the columns, where they differ from those of the table.
    """

    name: str
    rows: list[Cells]
    head: Cells = ()


class Table(NamedTuple):
    """A table with what is written above and below it."""

    title: str
    head: Cells
    parts: list[Part]
    notes: list[str]


def evaluation_table(evaluation: Evaluation) -> str:
    """The results as plain text, one actor, cell or memory a row; at most :data:`WIDTH` columns, without colours."""
    table = table_of(evaluation)
    body = aligned([table.head, *(row for part in table.parts if not part.head for row in part.rows)])
    own = [aligned([part.head, *part.rows]) if part.head else [] for part in table.parts]
    rule = "-" * max(map(len, [*body, *(line for lines in own for line in lines)]))
    text, start = [body[0]], 1
    for (name, rows, head), lines in zip(table.parts, own, strict=True):
        text += [rule, *[name] * bool(name), *(lines or body[start : start + len(rows)])]
        start += 0 if head else len(rows)
    return "\n".join([*_wrapped(table.title), "", *text, rule, *(line for n in table.notes for line in _wrapped(n))])


def aligned(rows: Sequence[Cells]) -> list[str]:
    """Rows as lines of equal length: names on the left, values in columns, flush on the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    pairs = [list(zip(row, widths, strict=True)) for row in rows]
    return ["   ".join([row[0][0].ljust(row[0][1]), *(cell.rjust(wide) for cell, wide in row[1:])]) for row in pairs]


def table_of(evaluation: Evaluation) -> Table:
    """The table of an evaluation; see :func:`evaluation_table`."""
    if isinstance(evaluation, AgentEvaluation):
        return _agent(evaluation)
    return _fewshot(evaluation) if isinstance(evaluation, FewShotEvaluation) else _recall(evaluation)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _agent(evaluation: AgentEvaluation) -> Table:
    """Return, share of the way from random to the best reference, and steps until it has adapted."""
    unit = agent.return_unit([evaluation])
    best, ends = agent.best_reference(evaluation), agent.ends_of_scale(evaluation, unit)
    step = agent.step_word(evaluation)

    def cells(name: str, result: ActorResult) -> Cells:
        adapted = "-" if result.steps_to_adapt is None else str(result.steps_to_adapt)
        return (
            _shortened(name),
            agent.mean_and_half(result, unit),
            agent.share(agent.mean_return(result, unit), ends),
            adapted,
        )

    ours, others = agent.ours(evaluation), list(evaluation.references.items())
    parts = [Part("", [cells(*row) for row in ours]), Part("", [cells(*row) for row in others])]
    told = dict.fromkeys(name for _, result in [*ours, *others] for name in result.infos)
    parts += [_told(name, [*ours, *others]) for name in told]
    notes = ["±: half the width of the 95 % interval over tasks"]
    notes += ["success: the share of episodes in which it was told at any step"] if SUCCESS in told else []
    notes += [f"random to {best}: share of the way from random actions to {best}"] if best else []
    meaning = "until the mean reward reaches 90 % of its final rate; -: the first does already"
    if evaluation.steps_to_adapt is None:
        meaning = "n/a: the first reaches it, trials differ in length, or the final rate is not positive"
    notes.append(f"{step}s to 90 %: {meaning}")
    if evaluation.cut:
        left_out = " and left out" if unit == "episode" else ""
        notes.append(f"{evaluation.cut:.0%} of the agent's trials ended inside an episode, which is cut{left_out}")
    notes += agent.kept(evaluation, "steps")
    if evaluation.ceilings:
        values = ", ".join(f"{name} {value:.2f}" for name, value in evaluation.ceilings.items())
        notes.append(f"known values per {unit}: {values}")
    return Table(
        f"{agent.headline(evaluation)}: {agent.held_out(evaluation)}, seed {evaluation.seed}",
        ("", f"reward per {unit}", f"random to {best}" if best else "share", f"{step}s to 90 %"),
        [part for part in parts if part.rows],
        notes,
    )


def _told(name: str, results: Sequence[tuple[str, ActorResult]]) -> Part:
    """What environments told, by episode; some in between are left out where there are more than there is room for."""
    most = max(len(result.infos.get(name, ())) for _, result in results)

    def cell(result: ActorResult, episode: int) -> str:
        means, errors = result.infos.get(name, ()), result.infos_se.get(name, ())
        mean, error = (one[episode] if episode < len(one) else None for one in (means, errors))
        return "-" if mean is None else f"{mean:.2f} ± {NORMAL95 * (error or 0):.2f}"

    for columns in range(min(most, _EPISODES), 0, -1):
        shown = np.linspace(0, most - 1, columns).astype(int).tolist()
        rows = [(_shortened(row), *(cell(result, i) for i in shown)) for row, result in results]
        head = "", *(f"episode {i + 1}" for i in shown)
        if len(aligned([head, *rows])[0]) <= WIDTH:
            return Part(name, rows, head)
    return Part(name, [])


def _shortened(name: str) -> str:
    return textwrap.shorten(name, _NAME_WIDTH, placeholder="...")


def _fewshot(evaluation: FewShotEvaluation) -> Table:
    """Accuracy by ways and shots, and by instance of streams, beside what was published."""
    cells = fewshot.by_cell(evaluation)
    parts = [_shares("", cells)] if cells else []
    for stream in evaluation.streams:
        parts.append(_shares(fewshot.stream_name(stream), fewshot.by_instance(evaluation, stream), "instance "))
    return Table(fewshot.headline(evaluation), ("", "accuracy %", "paper"), parts, list(_fewshot_notes(evaluation)))


def _shares(name: str, shares: fewshot.Shares, before: str = "") -> Part:
    return Part(name, [(f"{before}{row}", ours, fewshot.shown(known)) for row, (ours, known) in shares.items()])


def _fewshot_notes(evaluation: FewShotEvaluation) -> Iterator[str]:
    yield f"{fewshot.data_name(evaluation)}, {fewshot.classes_name(evaluation)}, {fewshot.flags(evaluation)}"
    episodes = counted([*(one.episodes for one in evaluation.cells), *(one.episodes for one in evaluation.streams)])
    yield f"±: half the width of the 95 % interval over {episodes} episodes, seed {evaluation.seed}"
    known = fewshot.known_cells(evaluation)
    if known.source and evaluation.cells:
        yield f"paper: {known.source}; with the rotations of characters as further classes"
    for stream in evaluation.streams:
        found = fewshot.known_stream(evaluation, stream)
        if found.source:
            yield f"paper, {fewshot.stream_name(stream)}: {found.name}, {found.source}"
    if not evaluation.real:
        yield "drawn glyphs are made by the program; nothing measured on them can be compared with Omniglot"
    if evaluation.train_seconds is not None:
        count = evaluation.train_steps
        yield f"trained{f' on {count:,} episodes' if count else ''} in {fewshot.training_time(evaluation)}"
    yield from agent.kept(evaluation, "episodes")


def _recall(evaluation: RecallEvaluation) -> Table:
    """Accuracy of each memory on each task, and of chance."""
    made = recall.grid(evaluation.results)

    def cells(memory: str) -> Cells:
        found = [made.cells.get((memory, task)) for task in made.tasks]
        return memory, *("–" if one is None else f"{100 * one.accuracy:.1f} ± {196 * one.se:.1f} %" for one in found)

    rows = [cells(memory) for memory in made.memories]
    rows.append(("chance", *(f"{100 * value:.1f} %" for value in made.chance)))
    return Table(
        "Recall: accuracy of each memory on each task",
        ("memory", *made.tasks),
        [Part("", rows)],
        ["±: half the width of the 95 % interval over sequences", recall.budget(evaluation.results[0].cell.settings)],
    )

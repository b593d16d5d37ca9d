"""The generated parts of ``results.md``, ``memory.md`` and ``omniglot.md`` in ``docs``, and ``results/NAME.md``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from metarl.files import write_text
from results import fewshot, headlines, recall
from results.rows import Row, meets, read
from results.text import shown, shown_goal, table

BEGIN = "<!-- generated from docs/results/*.json by `make results`: do not edit below -->"
END = "<!-- end of the generated part -->"
WHOLE = "<!-- generated from {name}.json by `make results`: do not edit -->"
HOW = "[Results](../results.md) says how to read this table."

HEAD = ("row", "setting", "method", "metric", "ours ± SE", "goal", "references", "tasks", "seeds", "training", "commit")


def markdown(rows: Sequence[Row]) -> str:
    """A table of the rows, short ones in bold and marked, and below it the command that gives each row."""
    lines = table((*HEAD, "verdict"), [_row_cells(number, row) for number, row in enumerate(rows, start=1)])
    lines += ["", "Commands, from the root of the checkout:", ""]
    for command, group in groupby(enumerate(rows, start=1), key=lambda item: item[1].command):
        numbers = [number for number, _ in group]
        which = f"row {numbers[0]}" if len(numbers) == 1 else f"rows {numbers[0]} to {numbers[-1]}"
        lines.append(f"- {which}: `{' '.join(command.split())}`")
    return "\n".join(lines) + "\n"


def render(docs_dir: str | Path) -> str:
    """What ``results.md`` should say: its text by hand, with the headlines and the list of tables made anew.

    Raises:
        ValueError: a file of rows is damaged, or ``results.md`` is missing or has lost a marker.
    """
    docs = Path(docs_dir)
    tables = _tables(docs)
    if not tables:
        return _between(docs / "results.md", "No results have been measured yet.\n")
    everything = [row for rows in tables.values() for row in rows]
    listed = table(
        ("table", "results", "short of the goal"),
        [(f"[{name}](results/{name}.md)", str(len(rows)), str(_short(rows) or "–")) for name, rows in tables.items()],
    )
    parts = [headlines.markdown(tables), f"{len(everything)} results, {_short(everything)} short of the goal:\n"]
    return _between(docs / "results.md", "\n".join([*filter(None, parts), *listed]) + "\n")


def render_tables(docs_dir: str | Path) -> dict[str, str]:
    """What ``results/NAME.md`` should say, by name: every row of ``results/NAME.json``, and its command.

    Raises:
        ValueError: a file of rows is damaged.
    """
    return {
        name: "\n\n".join((f"# Results: {name}", WHOLE.format(name=name), HOW, markdown(rows)))
        for name, rows in _tables(Path(docs_dir)).items()
    }


def render_memory(docs_dir: str | Path) -> str:
    """The same of ``memory.md``, whose generated part is the recall benchmark's."""
    docs = Path(docs_dir)
    return _between(docs / "memory.md", recall.markdown(read(docs / "results" / f"{recall.NAME}.json")))


def render_omniglot(docs_dir: str | Path) -> str:
    """The same of ``omniglot.md``: the accuracies as its own tables, then all other rows as in ``results/``."""
    docs = Path(docs_dir)
    rows = read(docs / "results" / f"{fewshot.NAME}.json")
    others = [row for row in rows if not fewshot.is_accuracy(row)]
    more = f"Other measurements:\n\n{markdown(others)}" if others else ""
    return _between(docs / "omniglot.md", "\n".join(filter(None, [fewshot.markdown(rows), more])))


def write_markdown(docs_dir: str | Path) -> Path:
    """Make the generated parts of ``docs_dir/results.md`` and, where there are such, of the other pages anew.

    They are made from ``docs_dir/results/*.json``; see :func:`render` and :func:`render_tables`. Returns the path of
    ``results.md``.
    """
    docs = Path(docs_dir)
    pages = {docs / "results.md": render(docs)}
    for name, made in (("memory.md", render_memory), ("omniglot.md", render_omniglot)):
        if (docs / name).is_file():
            pages[docs / name] = made(docs)
    pages |= {docs / "results" / f"{name}.md": text for name, text in render_tables(docs).items()}
    for page, text in pages.items():
        write_text(page, text)
    return docs / "results.md"


def _tables(docs: Path) -> dict[str, list[Row]]:
    """The rows of each file that has any, by its name without the suffix."""
    tables = {path.stem: read(path) for path in sorted((docs / "results").glob("*.json"))}
    return {name: rows for name, rows in tables.items() if rows}


def _short(rows: Sequence[Row]) -> int:
    """How many miss their goal."""
    return sum(not meets(row) for row in rows)


def _between(page: Path, made: str) -> str:
    """The text of ``page`` with ``made`` between its markers."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{page} must have the lines {BEGIN!r} and {END!r}, in this order and once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return "\n".join([before + BEGIN, "", made, END]) + after


def _row_cells(number: int, row: Row) -> list[str]:
    ours = shown(row.ours) + ("" if row.se is None else f" ± {row.se:.2g}")
    verdict = "–" if row.goal == (None, None) else "met" if meets(row) else "**short**"
    unit = "episodes" if fewshot.is_accuracy(row) else "steps"
    training = (
        f"{row.train_steps:,} {unit}, {row.train_seconds:,.0f} s" if row.train_steps or row.train_seconds else "–"
    )
    training += f", {row.parameters:,} parameters" if row.parameters else ""
    return [
        str(number),
        f"{row.where}; {row.flags}" if row.flags else row.where,
        row.method,
        row.metric,
        ours if meets(row) else f"**{ours}**",
        shown_goal(row),
        ", ".join(f"{name} {shown(value)}" for name, value in row.references.items()) or "–",
        f"{row.n_tasks:,}" if row.n_tasks else "–",
        ", ".join(map(str, row.seeds)),
        training,
        row.commit,
        verdict,
    ]

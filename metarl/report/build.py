"""The report of one run or of several: figures, and a page that holds them all."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metarl.evaluation.records import read_trials
from metarl.files import write_text
from metarl.report import html
from metarl.report.compare import Member, families, flatten, gather, members_of
from metarl.report.draw import SHOWS, Drawn, draw_member
from metarl.report.replay import BYTES, replayed
from metarl.report.tables import Table, table_of
from metarl.report.together import together
from metarl.report.verdict import state, verdict
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.status import cut_short

PAGE = "report.html"
FILM_BYTES = 900_000  # of an animation that a page has room for
GIF = (b"GIF87a", b"GIF89a")
MOST = 2_500_000  # characters of a page beyond which the figures of further runs are named instead of shown


class Report(NamedTuple):
    """What a report consists of."""

    page: Path
    images: list[Path]
    missing: list[str]


def build_report(runs: Sequence[RunFolder], out: Path | None = None) -> Report:
    """Draw every image of the runs, those of all of them together where there are several, and write the page.

    Args:
        runs: at least one, all of one kind; agents that differ in their seeds alone are one curve, their mean.
        out: the page, an ``.html`` file; left out: ``report.html`` in the folder of the first run.

    Raises:
        RunError: a damaged run, one with nothing to draw, or runs that cannot be compared.
        ValueError: ``out`` is no ``.html`` file in a folder that exists.
    """
    page = checked_page(out) if out else runs[0].path / PAGE
    members = members_of(runs)
    if members[0].kind == "rl2":
        for family in families(members):
            gather(family)  # what cannot be compared is refused before anything is drawn
    drawn = {member.run.path: draw_member(member, ".svg") for member in members}
    images = [path for one in drawn.values() for path in one.images.values()]
    if len(members) == 1:
        heading, parts = members[0].run.path.resolve().name, list(_run(members[0], drawn[members[0].run.path], 2, 1))
    else:
        stem = str(page.parent / f"{page.stem}-" if out else runs[0].figures / "compared-")
        made = together(members, stem)
        images += made.images.values()
        heading, parts = made.heading, [*_unfinished(made.named), *made.parts, html.title("Each run")]
        room = MOST - sum(map(len, parts))
        for name, member in made.named:
            part = html.folded(name, _run(member, drawn[member.run.path], 3, len(members)))
            if len(part) > room:
                part = html.folded(name, _run(member, drawn[member.run.path], 3, len(members), figures=False))
            parts.append(part)
            room -= len(part)
    write_text(page, html.page(heading, parts))
    return Report(page, images, [line for one in drawn.values() for line in one.missing])


def checked_page(out: Path) -> Path:
    """``out``, once it is known to be a place where a page can be written."""
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise ValueError(f"the page would be {out}, expected a file that ends in .html, such as {PAGE}")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} for the page {out.name}; make it first or give another path")
    return out


def _run(member: Member, drawn: Drawn, level: int, runs: int, figures: bool = True) -> Iterator[str]:
    """The sections of one of several runs; its figures are left out where there is no room for them."""
    table = table_of(member.evaluation) if member.evaluation else None
    images = dict(drawn.images) if figures else {}
    if member.evaluation:
        yield html.headline(verdict(member.evaluation))
    if (status := _status(member)) is not None:
        yield html.state(*state(member.config, status))
    if table:
        yield html.paragraph(table.title)
        if "adaptation" in images:
            yield from html.shown(images.pop("adaptation"), SHOWS["adaptation"], level=level)
        yield from _table(table)
    if runs == 1:
        yield from _film(member)
    for name, path in images.items():
        yield from html.shown(path, SHOWS[name], level=level)
        if name == "episodes" and (data := _replay(member, runs)):
            yield html.title("Replay", level)
            yield html.paragraph("Trials of the trained agent, step by step, chosen before anything was seen of them.")
            yield html.player("replay", data)
    if not figures:
        yield html.title("Figures", level)
        yield html.paragraph("They lie in the run folder; this page has no room for more.", *drawn.images.values())
    if drawn.missing:
        yield html.title("Missing", level)
        yield html.paragraph(*drawn.missing)
    yield html.title("Where it comes from", level)
    yield html.table(("", "value"), _origin(member), words=True)
    yield html.folded(
        "Configuration", [html.table(("option", "value"), flatten(member.config, ()).items(), words=True)]
    )


def _film(member: Member) -> Iterator[str]:
    """The animation in the folder of a run, or why it is not shown; nothing where there is none."""
    path = member.run.path / "figures" / member.run.film.name
    if not path.is_file():
        return
    yield html.title("One trial")
    if path.stat().st_size > FILM_BYTES:
        yield html.paragraph(f"{path} has more than {FILM_BYTES:,} bytes, for which this page has no room.")
    elif (data := path.read_bytes())[:6] not in GIF:
        yield html.paragraph(f"{path} is no GIF.")
    else:
        yield html.moving(data, "A trial of a test task: the environment, and beside it the memory lighting up")


def _table(table: Table) -> Iterator[str]:
    """The parts of a table, those without a name as one."""
    if rows := [row for part in table.parts if not part.name for row in part.rows]:
        yield html.table(table.head, rows)
    for name, rows, head in table.parts:
        if name:
            yield html.paragraph(name)
            yield html.table(head or table.head, rows)
    yield html.paragraph(*table.notes)


def _unfinished(named: Sequence[tuple[str, Member]]) -> Iterator[str]:
    """A line for each run that did not come to the end that was asked for."""
    for name, member in named:
        try:
            text, whole = state(member.config, member.run.status)
        except RunError:  # told where the run is shown
            continue
        if not whole:
            yield html.state(f"{name}: {text}", whole)


def _replay(member: Member, runs: int) -> dict[str, Any] | None:
    """The recorded trials of one of several runs, which share what a page may weigh."""
    env = member.config.get("env")
    return replayed(read_trials(member.run), env if isinstance(env, dict) else {}, 2 * BYTES // (1 + runs))


def _status(member: Member) -> dict[str, Any] | None:
    """The status of a run; None, with a warning, where the folder does not tell it."""
    try:
        return member.run.status
    except RunError as error:  # the results stand without it
        warnings.warn(str(error), stacklevel=2)
        return None


def _origin(member: Member) -> Iterator[tuple[str, object]]:
    """Command, state, commit and versions, as far as the folder tells."""
    yield "folder", member.run.path
    try:
        status = member.run.status
        yield "status", "; ".join(filter(None, [status["status"], cut_short(member.config, status)]))
        meta = member.run.meta
    except RunError as error:  # the results stand without it
        warnings.warn(str(error), stacklevel=2)
        yield "unknown", error
        return
    yield "command", shlex.join(meta.command)
    if meta.git is not None:
        yield "commit", f"{meta.git.commit}{' with changes' if meta.git.dirty else ''}"
    for name in ("started", "platform", "cpus"):
        yield name, getattr(meta, name)
    for name, version in meta.versions.items():
        yield f"{name} version", version

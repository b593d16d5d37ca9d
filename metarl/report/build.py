"""The report of one run or of several: pictures, and a page that holds them all."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metarl.files import replacing
from metarl.report import fewshot_page, html
from metarl.report.compare import Member, Setting, common_env, flatten, gather, pooled
from metarl.report.draw import Drawn, draw_run
from metarl.report.evaluation import best_reference, headline, held_out, random_return, return_unit
from metarl.report.fewshot import is_fewshot, read_fewshot
from metarl.report.overlay import adaptation_overlay, learning_overlay
from metarl.report.tables import evaluation_notes, evaluation_rows
from metarl.runs.folder import RunError, RunFolder

PAGE = "report.html"
_SHOWS = {
    "adaptation": ("Adaptation within a trial", "mean reward along the trial, of the agent and the references"),
    "learning": ("Learning", "return of training trials over environment steps"),
    "memory": ("Memory", "reading weights over memory slots at every step of a trial"),
    "episodes": ("Single trials", "what the agent saw, did and was paid at the beginning and the end of a trial"),
}


class Report(NamedTuple):
    """What a report consists of."""

    page: Path
    pictures: list[Path]
    missing: list[str]


def build_report(runs: Sequence[RunFolder], out: Path | None = None) -> Report:
    """Draw every picture of the runs, those of all of them together where there are several, and write the page.

    Args:
        runs: at least one; runs that differ in their seeds alone are one curve, their mean.
        out: the page, an ``.html`` file; left out: ``report.html`` in the folder of the first run.

    Raises:
        RunError: a damaged run, one with nothing to draw, or runs that cannot be compared.
        ValueError: ``out`` is no ``.html`` file in a folder that exists.
    """
    page = checked_page(out) if out else runs[0].path / PAGE
    stem = str(page.parent / f"{page.stem}-") if out else None
    heading, parts, pictures, missing = (_fewshot if _one_kind(runs) == "fewshot" else _trials)(runs, stem)
    with replacing(page) as temporary:
        temporary.write_text(html.page(heading, parts), encoding="utf-8")
    return Report(page, pictures, missing)


class _Made(NamedTuple):
    heading: str
    parts: list[str]
    pictures: list[Path]
    missing: list[str]


def _one_kind(runs: Sequence[RunFolder]) -> str:
    """``fewshot`` or ``trials``, which all runs must be."""
    kinds = ["fewshot" if is_fewshot(run) else "trials" for run in runs]
    for run, kind in zip(runs, kinds, strict=True):
        if kind != kinds[0]:
            raise RunError(
                f"{runs[0].path} and {run.path} cannot be compared: only one of them is a run of few-shot learning; "
                "give runs of one kind"
            )
    return kinds[0]


def _trials(runs: Sequence[RunFolder], stem: str | None) -> _Made:
    """Pictures and page of agents; ``stem`` begins the paths of common pictures."""
    settings = gather(runs)
    members = [member for setting in settings for member in setting.members]
    drawn = {member.run.path: draw_run(member.run) for member in members}
    pictures = [path for one in drawn.values() for path in one.pictures.values()]
    missing = [line for one in drawn.values() for line in one.missing]
    if len(members) == 1:
        heading, parts = members[0].run.path.resolve().name, list(_run(members[0], drawn[members[0].run.path], 2))
    else:
        heading = f"{len(members)} runs of {common_env(members)['env']}"
        together = _overlays(settings, drawn.values(), stem or str(runs[0].figures / "compared-"))
        pictures += together.values()
        parts = list(_comparison(settings, together))
        for member in members:
            name = f"{member.run.path.resolve().name} (seed {member.seed})"
            parts.append(html.folded(name, _run(member, drawn[member.run.path], 3)))
    return _Made(heading, parts, pictures, missing)


def _fewshot(runs: Sequence[RunFolder], stem: str | None) -> _Made:
    """Pictures and page of few-shot runs, as :func:`_trials`."""
    paths = [run.path.resolve() for run in runs]
    if twice := [str(run.path) for run, path in zip(runs, paths, strict=True) if paths.count(path) > 1]:
        raise RunError(f"the run {twice[-1]} is given twice; name every run once")
    members = [Member(run, run.config, read_fewshot(run), run.metrics()) for run in runs]
    drawn = [draw_run(run) for run in runs]
    pictures = [path for one in drawn for path in one.pictures.values()]
    missing = [line for one in drawn for line in one.missing]
    if len(members) == 1:
        return _Made(paths[0].name, list(_fewshot_run(members[0], drawn[0], 2)), pictures, missing)
    named = [(member.run, member.evaluation) for member in members]
    together = fewshot_page.draw_together(named, stem or str(runs[0].figures / "compared-"))
    parts = list(fewshot_page.together_parts(named, together))
    for name, member, one in zip(fewshot_page.names(named), members, drawn, strict=True):
        parts.append(html.folded(name, _fewshot_run(member, one, 3)))
    return _Made(f"{len(members)} few-shot runs", parts, pictures + list(together.values()), missing)


def checked_page(out: Path) -> Path:
    """``out``, once it is known to be a place where a page can be written."""
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise ValueError(f"the page would be {out}, expected a file that ends in .html, such as {PAGE}")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} for the page {out.name}; make it first or give another path")
    return out


def _overlays(settings: Sequence[Setting], drawn: Iterable[Drawn], stem: str) -> dict[str, Path]:
    """The pictures of all runs together that any of them has the data for."""
    known = {name for one in drawn for name in one.pictures}
    overlays = {"adaptation": adaptation_overlay, "learning": learning_overlay}
    return {name: draw(settings, f"{stem}{name}.png") for name, draw in overlays.items() if name in known}


def _comparison(settings: Sequence[Setting], together: dict[str, Path]) -> Iterator[str]:
    for name, path in together.items():
        yield html.title(_SHOWS[name][0])
        yield html.picture(path, f"{_SHOWS[name][1]}, of {len(settings)} settings")
        if name == "adaptation":
            yield from _returns(settings)
    if settings[0].options:
        yield html.title("What tells the settings apart")
        rows = [[name, *(setting.options[name] for setting in settings)] for name in settings[0].options]
        yield html.table(["option", *(setting.label for setting in settings)], rows, words=True)
    yield html.title("Each run")


def _returns(settings: Sequence[Setting]) -> Iterator[str]:
    rows = []
    for setting in settings:
        mean = pooled(setting.evaluated, "return_mean")
        if mean is None:
            continue
        first = setting.evaluated[0]
        _, per = return_unit(first)
        share = _share(setting, float(mean[0][0]))
        seeds = ", ".join(str(member.seed) for member in setting.members if member.evaluation)
        rows.append((setting.label, seeds, f"{mean[0][0] / per:.2f} ± {mean[1][0] / per:.2f}", share))
    first = next(one for setting in settings for one in setting.evaluated)
    yield html.table(("setting", "seeds", f"reward per {return_unit(first)[0]}", "random to best reference"), rows)
    yield html.paragraph(
        "±: half the width of the 95 % interval over tasks and seeds (Student's t over the runs of a setting; over "
        "tasks alone for a single run)"
    )


def _share(setting: Setting, mean: float) -> str:
    """The share of the way from random actions to the best reference, both averaged over the runs."""
    ways = []
    for one in setting.evaluated:
        best, start = best_reference(one), random_return(one)
        if best is None or start is None:
            return "-"
        ways.append((start, one["references"][best]["return_mean"]))
    start, best_mean = (sum(side) / len(ways) for side in zip(*ways, strict=True))
    return f"{100 * (mean - start) / (best_mean - start):.1f} %" if best_mean > start else "-"


def _run(member: Member, drawn: Drawn, level: int) -> Iterator[str]:
    """The sections of one run."""
    evaluation = member.evaluation
    if evaluation:
        yield html.paragraph(headline(evaluation), held_out(evaluation))
    for name, path in drawn.pictures.items():
        yield html.title(_SHOWS[name][0], level)
        yield html.picture(path, _SHOWS[name][1])
        if name == "adaptation" and evaluation:
            head, ours, theirs = evaluation_rows(evaluation)
            yield html.table(head, [*ours, *theirs])
            yield html.paragraph(*evaluation_notes(evaluation))
    yield from _end(member, drawn, level)


def _fewshot_run(member: Member, drawn: Drawn, level: int) -> Iterator[str]:
    """The same of a few-shot run."""
    yield from fewshot_page.run_parts(member.evaluation, drawn.pictures, level)
    yield from _end(member, drawn, level)


def _end(member: Member, drawn: Drawn, level: int) -> Iterator[str]:
    """What is missing, and where the run comes from."""
    if drawn.missing:
        yield html.title("Missing", level)
        yield html.paragraph(*drawn.missing)
    yield html.title("Where it comes from", level)
    yield html.table(("", "value"), _origin(member), words=True)
    yield html.folded(
        "Configuration", [html.table(("option", "value"), flatten(member.config, ()).items(), words=True)]
    )


def _origin(member: Member) -> Iterator[tuple[str, object]]:
    """Command, state, commit and versions, as far as the folder tells."""
    yield "folder", member.run.path
    try:
        yield "status", member.run.status.get("status", "unknown")
        meta: dict[str, Any] = member.run.meta
    except RunError as error:  # the results stand without it
        yield "unknown", error
        return
    command = meta.get("command")
    if isinstance(command, list):
        yield "command", shlex.join(map(str, command))
    git = meta.get("git")
    if isinstance(git, dict):
        yield "commit", f"{git.get('commit')}{' with changes' if git.get('dirty') else ''}"
    for name in ("started", "platform", "cpus"):
        if name in meta:
            yield name, meta[name]
    versions = meta.get("versions")
    if isinstance(versions, dict):
        for name, version in versions.items():
            yield f"{name} version", version

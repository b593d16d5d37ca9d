"""Several runs of one kind on one page: the images of all of them together, and the tables that compare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from metarl.evaluation.pooling import pooled
from metarl.evaluation.results import FewShotEvaluation
from metarl.report import fewshot, html
from metarl.report.adaptation import adaptation_overlay
from metarl.report.agent import ends_of_scale, return_unit, share
from metarl.report.compare import Member, Setting, common_env, families, gather
from metarl.report.draw import SHOWS
from metarl.report.instances import Stream, instances
from metarl.report.learning import learning_overlay, main_series
from metarl.report.methods import methods, profiles
from metarl.report.methods import parts as over_all

FEW = (
    "Interquartile means, probabilities of improvement and performance profiles are shown of settings with three or "
    "more seeds on every task, and of several families where all have references."
)


class Together(NamedTuple):
    """What a page shows of several runs before it shows each of them.

    Args:
        named: the runs in the order of the page, and what each is called.
    """

    heading: str
    named: list[tuple[str, Member]]
    images: dict[str, Path]
    parts: list[str]


def together(members: Sequence[Member], stem: str) -> Together:
    """Draw and compare runs of one kind.

    Args:
        members: two or more.
        stem: what the paths of their common images begin with.

    Returns:
        What the page shows of all runs.

    Raises:
        RunError: the runs cannot be compared.
    """
    if members[0].kind == "recall":
        named = [(member.run.path.resolve().name, member) for member in members]
        return Together(f"{len(members)} recall runs", named, {}, [])
    return (_agents if members[0].kind == "rl2" else _fewshot)(members, stem)


def _learned(groups: Sequence[tuple[str, Sequence[Member]]], stem: str) -> dict[str, Path]:
    """How named groups of runs of one kind learned; nothing where none has."""
    kind = groups[0][1][0].kind
    runs = [(name, [member.metrics for member in members]) for name, members in groups]
    if not any(len(main_series(metrics, kind)[1][0]) for _, group in runs for metrics in group):
        return {}
    return {"learning": learning_overlay(runs, kind, f"{stem}learning.svg")}


def _agents(members: Sequence[Member], stem: str) -> Together:
    """Runs of one family or of several: all of them over seeds and families, then each family."""
    groups = families(members)
    several = len(groups) > 1
    gathered = [gather(group) for group in groups]
    made = [
        _family(group, settings, f"{stem}{number}-" if several else stem)
        for number, (group, settings) in enumerate(zip(groups, gathered, strict=True), start=1)
    ]
    images, parts = {}, []
    if (over := methods(gathered)) is not None:
        images["profiles"] = profiles(over, f"{stem}profiles.svg")
        parts += list(over_all(over, images["profiles"]))
    elif sum(map(len, gathered)) > 1:
        parts.append(html.paragraph(FEW))
    for number, one in enumerate(made, start=1):
        images |= {f"{name}-{number}" if several else name: path for name, path in one.images.items()}
        parts += [html.title(one.heading)] * several + one.parts
    heading = f"{len(members)} runs of {len(groups)} families" if several else made[0].heading
    return Together(heading, [named for one in made for named in one.named], images, parts)


def _family(members: Sequence[Member], settings: Sequence[Setting], stem: str) -> Together:
    images = {}
    if any(setting.evaluated for setting in settings):
        images["adaptation"] = adaptation_overlay(settings, f"{stem}adaptation.svg")
    images |= _learned([(setting.name, setting.members) for setting in settings], stem)
    named = [
        (f"{member.run.path.resolve().name} (seed {member.seed})", member)
        for setting in settings
        for member in setting.members
    ]
    heading = f"{len(members)} runs of {common_env(members)[0]}"
    return Together(heading, named, images, list(_agent_parts(settings, images)))


def _agent_parts(settings: Sequence[Setting], images: Mapping[str, Path]) -> Iterator[str]:
    for name, path in images.items():
        yield from html.shown(path, SHOWS[name], f"of {len(settings)} settings")
        if name == "adaptation":
            yield from _returns([setting for setting in settings if setting.evaluated])
    if settings[0].options:
        yield html.title("Settings that differ")
        rows = [[name, *(setting.options[name] for setting in settings)] for name in settings[0].options]
        yield html.table(["option", *(setting.label for setting in settings)], rows, words=True)


def _returns(settings: Sequence[Setting]) -> Iterator[str]:
    rows = []
    unit = return_unit(one for setting in settings for one in setting.evaluated)
    for setting in settings:
        mean = pooled(setting.evaluated, "return_mean" if unit == "trial" else "episode_mean")
        assert mean is not None
        value, half = (float(part[0]) for part in mean)
        ways = [ends for one in setting.evaluated if (ends := ends_of_scale(one, unit)) is not None]
        known = len(ways) == len(setting.evaluated)
        ends = (sum(way[0] for way in ways) / len(ways), sum(way[1] for way in ways) / len(ways)) if known else None
        seeds = ", ".join(str(member.seed) for member in setting.members if member.evaluation)
        rows.append((setting.label, seeds, f"{value:.2f} ± {half:.2f}", share(value, ends)))
    yield html.table(("setting", "seeds", f"reward per {unit}", "random to best reference"), rows)
    yield html.paragraph(
        "±: half the width of the 95 % interval over tasks and seeds (Student's t over the runs of a setting; over "
        "tasks alone for a single run)"
    )


def _fewshot(members: Sequence[Member], stem: str) -> Together:
    named = list(zip(names(members), members, strict=True))
    known = [(name, m.evaluation) for name, m in named if isinstance(m.evaluation, FewShotEvaluation)]
    images = {}
    if entries := [Stream(name, stream) for name, one in known for stream in one.streams]:
        images["instances"] = instances(entries, f"{stem}instances.svg", f"{len(members)} runs")
    images |= _learned([(name, [member]) for name, member in named], stem)
    parts = [part for make in (_cells, _instances) for part in make(known)]
    if known:
        parts.append(html.paragraph("±: half the width of the 95 % interval over episodes; in brackets: the paper's"))
    parts += [
        part for name, path in images.items() for part in html.shown(path, SHOWS[name], f"of {len(members)} runs")
    ]
    return Together(f"{len(members)} few-shot runs", named, images, parts)


def names(members: Sequence[Member]) -> list[str]:
    """What to call each few-shot run: its preset and seed, what differs where these are not enough, or its folder."""
    differs = {member.run.path: s.label for s in gather(members) if s.options for member in s.members}
    short = [_called(member) for member in members]
    longer = [_called(member, differs.get(member.run.path, "")) for member in members]
    first = [one if short.count(one) == 1 else more for one, more in zip(short, longer, strict=True)]
    folders = [member.run.path.resolve().name for member in members]
    return [
        name if name and first.count(name) == 1 else f"{name} ({folder})".strip()
        for name, folder in zip(first, folders, strict=True)
    ]


def _called(member: Member, differs: str = "") -> str:
    """Preset, what differs and seed of a few-shot run; empty for one without an evaluation."""
    one = member.evaluation
    if not isinstance(one, FewShotEvaluation):
        return ""
    seed = member.seed if one.train_seed is None else one.train_seed
    return ", ".join(filter(None, [one.preset, differs, f"seed {seed}"]))


_ABOUT = ("data", "classes", "learner", "training")
Known = Sequence[tuple[str, FewShotEvaluation]]  # names and evaluations of runs


def _about(one: FewShotEvaluation) -> list[str]:
    return [fewshot.data_name(one), fewshot.classes_name(one), fewshot.flags(one), fewshot.training_time(one)]


def _beside(shares: fewshot.Shares, columns: Sequence[str]) -> Iterator[str]:
    """Our share in each column, with the published one in brackets."""
    for name in columns:
        ours, theirs = shares.get(name, (fewshot.NOTHING, None))
        yield ours if theirs is None else f"{ours} ({fewshot.shown(theirs)})"


def _cells(known: Known) -> Iterator[str]:
    """Runs by ways and shots."""
    cells = {(cell.ways, cell.shots): fewshot.cell_name(cell) for _, one in known for cell in one.cells}
    columns = [cells[size] for size in sorted(cells)]
    rows = [[name, *_beside(fewshot.by_cell(one), columns), *_about(one)] for name, one in known if one.cells]
    if rows:
        yield html.title("Accuracy in %")
        yield html.table(["run", *columns, *_ABOUT], rows, words=True)


def _instances(known: Known) -> Iterator[str]:
    """Streams of runs by instance."""
    columns = [str(n) for n in fewshot.INSTANCES]
    rows = []
    for name, one in known:
        for stream in one.streams:
            shares = _beside(fewshot.by_instance(one, stream), columns)
            rows.append([name, fewshot.stream_name(stream), *shares, *_about(one)])
    if rows:
        yield html.title("Accuracy in % by instance")
        yield html.table(["run", "streams", *columns, *_ABOUT], rows, words=True)

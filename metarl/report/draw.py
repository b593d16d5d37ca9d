"""All images of a run folder, and what is missing for the others; each kind of run has a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from metarl.evaluation.records import EPISODES, TRIALS, FewShotRecord, Trial, read_episodes, read_trials
from metarl.evaluation.results import AgentEvaluation, FewShotEvaluation, RecallEvaluation
from metarl.files import remove_left
from metarl.report import instances
from metarl.report.adaptation import adaptation_curve
from metarl.report.compare import Member, members_of
from metarl.report.confusions import confusions
from metarl.report.drawings import drawings, stream_drawings
from metarl.report.episodes import episodes
from metarl.report.fewshot import data_name
from metarl.report.learning import LEARNING, learned, learning_curve
from metarl.report.reads import memory_reads
from metarl.report.recall import draw_recall
from metarl.report.recalled import recall_sheet
from metarl.report.sheet import is_image
from metarl.runs.folder import RunError, RunFolder

SHOWS: Mapping[str, tuple[str, str]] = {
    "adaptation": ("Adaptation within a trial", "mean reward along the trial, of the agent and the references"),
    "instances": ("Accuracy by instance", "accuracy by how often a class was shown, chance and published curves"),
    "memories": ("Recall", "accuracy of each memory on each task"),
    "learning": ("Learning", "how training went: return, accuracy or loss along it"),
    "memory": ("Memory", "reading weights over memory slots at every step of a trial"),
    "episodes": ("Single trials", "observations, actions and rewards at the beginning and the end of a trial"),
    "drawings": ("Single episodes", "support images, queries and the answers, correct and wrong"),
    "confusions": ("What was confused", "wrong queries beside an example of the class answered and one of their own"),
    "streams": ("Single streams", "examples step by step with their labels and the answers"),
    "recall": ("What was recalled", "weights over the support for single queries"),
}
"""Title and description of each image."""
Images = Iterator[tuple[str, Callable[[Path], Path]]]  # names and what draws to a path


class Drawn(NamedTuple):
    """What was drawn of a run.

    Args:
        images: paths by what they show, a key of :data:`SHOWS`.
        missing: a line for each image that could not be drawn: what it lacks and how that is made.
    """

    images: dict[str, Path]
    missing: list[str]


class Kind(NamedTuple):
    """How the runs of a kind are drawn.

    Args:
        evaluated: what an evaluation shows.
        recorded: what the records of single tasks show; empty where there are none.
        read: reads the records.
        images: those of evaluation and records.
        unlearned: why there may be no learning curve, and what to do.
    """

    evaluated: str
    recorded: str
    file: str
    read: Callable[[RunFolder], Any]
    images: Callable[[Member, Any], Images]
    unlearned: str


def draw_run(run: RunFolder) -> Drawn:
    """Draw all that a run folder has the data for, into its ``figures`` folder.

    Raises:
        RunError: a file is damaged, or there is nothing to draw.
    """
    return draw_member(members_of([run])[0])


def draw_member(member: Member, suffix: str = ".png") -> Drawn:
    """What :func:`draw_run` does, once the folder has been read; the suffix says the format of the images."""
    run, kind = member.run, KINDS[member.kind]
    record = kind.read(run)
    # Of a run that was killed in training there is no model to evaluate yet.
    again = f"make it with metarl {'eval' if run.checkpoint.is_file() else 'train --resume'} {run.path}"
    has_learned = member.kind in LEARNING and learned(member.metrics, member.kind)
    if not (member.evaluation or has_learned or record):
        nothing = " and ".join(filter(None, ["no evaluation.json", kind.file and f"no {kind.file}"]))
        told = f", and metrics.jsonl {kind.unlearned}" if kind.unlearned else ""
        raise RunError(f"{run.path} has nothing to draw: {nothing}{told}", key=str(run.path), remedy=again)
    missing = [] if member.evaluation else [f"{kind.evaluated}: {run.path} has no evaluation.json; {again}"]
    if isinstance(member.evaluation, AgentEvaluation) and not member.evaluation.by_episode:
        missing.append(f"adaptation curve: no episode was finished in all trials of {run.path}; give trials more steps")
    makers = dict(kind.images(member, record))
    if has_learned:
        makers["learning"] = partial(learning_curve, member.metrics, member.kind)
    elif kind.unlearned:
        missing.append(f"learning curve: metrics.jsonl of {run.path} {kind.unlearned}")
    if kind.file and not record:
        missing.append(f"{kind.recorded}: {run.path} has no {kind.file}; {again}")
    elif member.kind == "fewshot" and not makers.keys() & {"drawings", "streams"}:
        missing.append(f"single episodes: the examples of {run.path} are no images")
    remove_left(run.figures.glob(".*.tmp"))
    return Drawn({name: makers[name](run.figures / f"{name}{suffix}") for name in SHOWS if name in makers}, missing)


def _agent(member: Member, trials: list[Trial]) -> Images:
    if isinstance(member.evaluation, AgentEvaluation) and member.evaluation.by_episode:
        yield "adaptation", partial(adaptation_curve, member.evaluation)
    if trials and trials[0].weights is not None:  # an agent without a store has none, and lacks nothing
        yield "memory", partial(memory_reads, trials[0])
    if trials:
        yield "episodes", partial(episodes, trials)


def _fewshot(member: Member, record: FewShotRecord | None) -> Images:
    one = member.evaluation
    what, ink = member.run.path.resolve().name, True
    if isinstance(one, FewShotEvaluation):
        what, ink = f"{one.preset} on {data_name(one)}", not one.data.startswith("images")
        if one.streams:
            entries = [instances.Stream(what, stream) for stream in one.streams]
            yield "instances", lambda path: instances.instances(entries, path, what)
    if record and record.episodes and is_image(record.episodes.support_x.shape[2:]):
        few = record.episodes
        yield "drawings", lambda path: drawings(few, path, what, ink)
        if not few.correct.all():
            yield "confusions", lambda path: confusions(few, path, what, ink)
        if few.weights is not None:  # a learner that recalls nothing by weight lacks nothing
            yield "recall", lambda path: recall_sheet(few, path, what, ink)
    if record and record.streams and is_image(record.streams.x.shape[2:]):
        streams = record.streams
        yield "streams", lambda path: stream_drawings(streams, path, what, ink)


def _recall(member: Member, record: None) -> Images:
    if isinstance(member.evaluation, RecallEvaluation):
        yield "memories", partial(draw_recall, member.evaluation.results)


KINDS: Mapping[str, Kind] = {
    "rl2": Kind(
        "adaptation curve",
        "memory and single trials",
        TRIALS,
        read_trials,
        _agent,
        "has no return of a training trial; train for at least one whole trial",
    ),
    "fewshot": Kind(
        "table of accuracies",
        "single episodes and what was recalled",
        EPISODES,
        read_episodes,
        _fewshot,
        "has neither accuracy nor loss; train for longer",
    ),
    "recall": Kind("table of accuracies", "", "", lambda run: None, _recall, ""),
}

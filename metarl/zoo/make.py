"""Making an entry of a finished run: its weights alone, measured again, with a card."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from metarl.config import InputError, build, to_plain
from metarl.evaluation.results import AgentEvaluation, FewShotEvaluation
from metarl.experiments.run import Run, open_run
from metarl.files import MANIFEST, write_json, write_manifest
from metarl.report.agent import headline
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.manifest import CARD, KEPT
from metarl.training.checkpoint import read_checkpoint, write_checkpoint
from metarl.zoo.card import Card, Figure, Precision
from metarl.zoo.check import figures

FILES = ("config.json", "status.json", "checkpoint.zip", CARD, MANIFEST)
TRAINING = ("training_state", "episodes", "successes", "session")
"""What a checkpoint says that only training needs."""
STATUS = ("status", "since", "trained", "train_seconds", "train_steps", "kept_step")
Judged = AgentEvaluation | FewShotEvaluation
POINTS = 20  # of a learning curve
CURVES = ("rollout/ep_rew_mean", "validation/accuracy", "train/accuracy")
AGENT_LIMITS = (
    "Trained on these tasks alone, in trials of at most {steps} steps; for other tasks, sizes and lengths nothing was "
    "measured."
)
LEARNER_LIMITS = "Trained on these images alone; for other images, ways and shots nothing was measured."
LOCAL = ("--out", "--data")
"""Options of a command line that tell of one machine."""


def make_entry(path: str | Path, target: str | Path, *, limits: str = "", quiet: bool = False) -> Card:
    """Make an entry of a finished run.

    Parameters are rounded to half precision where every figure then stays within one standard error of the run's own,
    on the same tasks; else they stay as they were.

    Args:
        path: of the run folder.
        target: the folder to make; its name is that of the entry.
        limits: sentences for the card, after those that hold of every model of this kind.
        quiet: no progress bar.

    Raises:
        FileExistsError: there is something at ``target``.
        InputError: the run is not finished, its code is not known by a commit, it names code of others, or its figures
            are others with this version.
    """
    target = Path(target)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists; choose another folder or remove it first")
    run = open_run(path, device="cpu")
    evaluation, commit = _checked(run)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".entry-", dir=target.parent) as place:
        made = Path(place) / target.name
        _write_model(run, made)
        told = _measured(run, evaluation, made, quiet)
        precision: Precision = "half"
        if _changed(told):
            precision = "single"
            _write_model(run, made, half=False)
            told = _measured(run, evaluation, made, quiet)
            if changed := _changed(told):
                problem = f"{run.folder.path} has another {changed[0].name} with this version: {changed[0].value:.4f}"
                raise InputError(
                    problem, key=changed[0].name, expected=f"{changed[0].trained:.4f}, as it was evaluated"
                )
        card = _card(run, evaluation, commit, target.name, told, precision, limits)
        write_json(made / CARD, to_plain(card))
        os.replace(made, target)
    return card


def _checked(run: Run) -> tuple[Judged, str]:
    """The evaluation of a run that an entry can be made of, and the commit of its code."""
    path, evaluation, status = run.folder.path, run.evaluation, run.folder.status.get("status")
    if run.folder.is_entry:
        raise RunError(f"{path} is an entry already", key=str(path), expected="a run folder")
    if status != "finished" or evaluation is None:
        remedy = f"metarl train --resume {path} completes it"
        raise RunError(f"the run {path} is not finished", key="status", given=status, remedy=remedy)
    if not isinstance(evaluation, AgentEvaluation | FewShotEvaluation):
        figures(evaluation)  # which refuses it
        raise AssertionError
    git = run.folder.meta.git
    if git is None or git.dirty:
        problem = f"{path} was trained with code that no commit holds, so nobody could train it again"
        raise RunError(problem, key="git", given=None if git is None else str(git), remedy="commit, and train again")
    return evaluation, git.commit


def _write_model(run: Run, folder: Path, half: bool = True) -> None:
    """Write an entry without its card."""
    folder.mkdir(exist_ok=True)
    write_manifest(folder, {name: [] for name in (*KEPT, CARD)})
    config = run.folder.config
    if isinstance(data := config.get("data"), dict) and data.get("source") == "omniglot":
        config["data"] = {**data, "folder": None}  # which lies elsewhere on other machines
    write_json(folder / "config.json", config)
    write_json(folder / "status.json", {k: v for k, v in run.folder.status.items() if k in STATUS})
    meta, groups = read_checkpoint(run.folder.checkpoint)
    group = run.experiment.weights
    tensors, module = groups[group], getattr(run.model, group, run.model)
    if half:
        parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        tensors = {name: _rounded(one) if name in parameters else one for name, one in tensors.items()}
    kept = {name: value for name, value in meta.items() if name not in TRAINING}
    write_checkpoint(folder / "checkpoint.zip", kept, {group: tensors}, half=[group] if half else [])


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    """A parameter ``[...]`` in half precision, where its numbers have a form there."""
    rounded = tensor.half()
    return rounded if tensor.dtype == torch.float32 and bool(torch.isfinite(rounded).all()) else tensor


def _measured(run: Run, evaluation: Judged, folder: Path, quiet: bool) -> list[Figure]:
    """The figures of the entry in ``folder``, each beside that of the run on the same tasks."""
    own = figures(evaluation)
    again = open_run(folder, device="cpu").evaluate(n=own[0].tasks, seed=evaluation.seed, quiet=quiet, alone=True)
    return [replace(now, trained=one.value) for now, one in zip(figures(again), own, strict=True)]


def _changed(told: Sequence[Figure]) -> list[Figure]:
    """The figures that rounding changed by more than a standard error."""
    return [one for one in told if abs(one.value - one.trained) > one.se]


def _card(
    run: Run,
    evaluation: Judged,
    commit: str,
    name: str,
    told: Sequence[Figure],
    precision: Precision,
    limits: str,
) -> Card:
    """The card of an entry."""
    module = getattr(run.model, run.experiment.weights, run.model)
    curve_of, curve = _curve(run.folder, run.experiment.axis)
    if isinstance(evaluation, AgentEvaluation):
        general = AGENT_LIMITS.format(steps=evaluation.steps_per_trial)
        references = {key: one.return_mean for key, one in evaluation.references.items()}
        own: dict[str, Any] = {"tasks": headline(evaluation), "in_distribution": evaluation.in_distribution}
        own["references"] = references
    else:
        general, own = LEARNER_LIMITS, {"tasks": evaluation.data}
    about = run.experiment.about.partition(";")[0]  # after it presets tell figures, and a card has its own
    own |= {"name": name, "kind": run.experiment.kind, "about": " ".join(about.split())}
    own |= {"split": evaluation.split, "train_seed": run.seed, "seed": evaluation.seed}
    own |= {"steps": run.steps, "unit": run.experiment.unit, "curve": curve, "curve_of": curve_of}
    own |= {"parameters": sum(one.numel() for one in module.parameters()), "precision": precision, "figures": told}
    own |= {"command": command_of(run.folder.meta.command), "commit": commit, "versions": run.folder.meta.versions}
    own |= {"licence": "MIT", "limits": " ".join(f"{general} {limits}".split())}
    return build(Card, to_plain(own), f"the card of {name}")


def _curve(folder: RunFolder, axis: str) -> tuple[str, tuple[tuple[int, float], ...]]:
    """A few points of the learning curve, the last among them, and the name of what it shows."""
    rows: list[Mapping[str, Any]] = list(folder.metrics())
    name = next((name for name in CURVES if any(name in row for row in rows)), "")
    known = [(int(row[axis]), float(f"{row[name]:.4g}")) for row in rows if row.get(name) is not None]
    count = min(POINTS, len(known))
    return name, tuple(known[round((i + 1) * len(known) / count) - 1] for i in range(count))


def command_of(words: Sequence[str]) -> str:
    """A command line as one types it, without what tells of one machine.

    >>> command_of(["__main__.py", "train", "bandit", "--seed", "0", "--out", "runs/a"])
    'metarl train bandit --seed 0'
    """
    program, *given = words
    kept, skip = [], False
    for word in given:
        local = word.partition("=")[0] in LOCAL
        if not (skip or local):
            kept.append(word)
        skip = local and "=" not in word
    return " ".join(["metarl" if program in ("__main__.py", "metarl") else f"python {program}", *kept])

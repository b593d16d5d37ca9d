"""Rows of measured results and the files ``docs/results/NAME.json`` that hold them: validated, replaced whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen

from metarl.config import build, to_plain
from metarl.files import read_json, write_text
from metarl.runs import provenance

ROOT = Path(__file__).resolve().parents[2]
Text = Annotated[str, MinLen(1)]
Count = Annotated[int, Ge(0)]
TEMPLATES = (
    "{part}: {task} ({sizes}), {budget}",
    "{data} {ways}-way {shots}-shot, {classes}",
    "{data} stream, {ways} classes, {labels}, {classes}",
)
"""How the settings of recall, of few-shot episodes and of few-shot streams are written."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number, what it should be, and how to measure it again; :func:`checked` says whether it fits."""

    setting: Text | dict[str, str | int]
    """The family with its options: what was played; as text, or by name as one of :data:`TEMPLATES` needs it."""
    method: Text
    """Who played."""
    metric: Text
    """What was measured, with its unit."""
    ours: float
    se: Annotated[float, Ge(0)] | None
    """Standard error of ``ours``; None where it is unknown."""
    n_tasks: Count
    """Held-out tasks for each seed; 0 where none were played."""
    seeds: Annotated[tuple[int, ...], MinLen(1)]
    """Of the training runs that were averaged."""
    goal: tuple[float | None, float | None]
    """Lowest and highest acceptable value; None for an open end."""
    references: dict[str, float]
    """Known or measured values to compare with, by name."""
    command: Text
    """What was run, from the root of the checkout."""
    train_seconds: Annotated[float, Ge(0)]
    """Of one training run; 0 where nothing was trained."""
    train_steps: Count
    """Environment steps of one training run, or its few-shot episodes; 0 where nothing was trained."""
    commit: Text
    """What :func:`commit` said when the command started."""
    parameters: Count = 0
    """Trained numbers of the model; 0 where it is not told."""
    flags: str = field(default="")
    """What else has to be known to compare the method with others; it may be empty."""

    @property
    def where(self) -> str:
        """The setting as text."""
        if isinstance(self.setting, str):
            return self.setting
        for template in TEMPLATES:
            try:
                return template.format(**self.setting)
            except KeyError:
                continue
        raise ValueError(f"setting has {', '.join(self.setting)}, expected the names in one of {', '.join(TEMPLATES)}")

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two rows the same result: setting, method, metric, and flags."""
        return self.where, self.method, self.metric, self.flags

    def named(self, *names: str) -> bool:
        """Whether the setting has these names."""
        return not isinstance(self.setting, str) and set(names) <= self.setting.keys()

    def __getitem__(self, name: str) -> Any:
        """A part of the setting."""
        assert not isinstance(self.setting, str)
        return self.setting[name]


def meets(row: Row) -> bool:
    """Whether the measured value lies within its goal, ends included; so does any value without a goal."""
    low, high = row.goal
    return (low is None or row.ours >= low) and (high is None or row.ours <= high)


def read(path: str | Path) -> list[Row]:
    """The rows of one file; none where there is no file yet.

    Raises:
        ValueError: the file is damaged; the message names the file and the row.
    """
    path = Path(path)
    if not path.exists():
        return []
    return checked(read_json(path, list), str(path))


def checked(data: list[Any], where: str) -> list[Row]:
    """Rows from plain data.

    Raises:
        ValueError: one is damaged, or two are the same result.
    """
    rows: list[Row] = []
    for number, item in enumerate(data, start=1):
        rows.append(build(Row, item, f"{where}, row {number}"))
        low, high = rows[-1].goal
        if low is not None and high is not None and low > high:
            raise ValueError(f"{where}, row {number}: goal is {low} to {high}, expected the lowest value first")
        if rows[-1].key in [row.key for row in rows[:-1]]:
            raise ValueError(f"{where}, row {number}: a row before has the same setting, method and metric; remove one")
    return rows


def upsert(path: str | Path, *made: Row, alone: bool = False) -> None:
    """Add rows to a file, each in the place of the one with the same :attr:`Row.key` if there is one.

    The file is replaced whole or not at all, and made with its folder where it is missing.

    Args:
        path: the file.
        made: the rows.
        alone: take out all others that the same commands have made before.

    Raises:
        ValueError: the file or a row is damaged; the file stays as it is.
    """
    path = Path(path)
    keys, commands = {row.key for row in made}, {row.command for row in made} if alone else set()
    known = [row for row in read(path) if row.key in keys or row.command not in commands]
    rows = {row.key: row for row in (*known, *made)}
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = [to_plain(row) for row in rows.values()]
    checked(plain, "made")
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def commit(root: Path = ROOT) -> str:
    """The checkout's commit, short, with ``+dirty`` where the code differs from it; ``unknown`` without a checkout.

    Changes below ``docs/`` don't count: each command that measures writes its row there.
    """
    return str(provenance.commit(root, exclude=["docs"]) or "unknown")

"""Rows of measured results and the files ``docs/results/NAME.json`` that hold them: validated, replaced whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from metarl.files import replacing


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number, what it should be, and how to measure it again.

    Raises:
        TypeError: a field is of another type.
        ValueError: a number is not finite or out of range, a text is empty, or a goal's ends are in the wrong order.
    """

    setting: str
    """The family with its options: what was played."""
    method: str
    """Who played."""
    metric: str
    """What was measured, with its unit."""
    ours: float
    se: float | None
    """Standard error of ``ours``; None where it is unknown."""
    n_tasks: int
    """Held-out tasks for each seed; 0 where none were played."""
    seeds: tuple[int, ...]
    """Of the training runs that were averaged."""
    goal: tuple[float | None, float | None]
    """Lowest and highest acceptable value; None for an open end."""
    references: Mapping[str, float]
    """Known or measured values to compare with, by name."""
    command: str
    """What was run, from the root of the checkout."""
    train_seconds: float
    """Of one training run; 0 where nothing was trained."""
    train_steps: int
    """Environment steps of one training run, or its few-shot episodes; 0 where nothing was trained."""
    commit: str
    """What :func:`commit` said when the command started."""
    parameters: int = 0
    """Trained numbers of the model; 0 where it is not told."""
    flags: str = ""
    """What else has to be known to compare the method with others; it may be empty."""

    def __post_init__(self) -> None:
        for name in ("setting", "method", "metric", "command", "commit"):
            _check(name, getattr(self, name), str, "a text")
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; every result says its {name}")
        _number("ours", self.ours)
        if self.se is not None:
            _number("se", self.se, least=0)
        _check("flags", self.flags, str, "a text")
        for name in ("n_tasks", "train_steps", "parameters"):
            _check(name, getattr(self, name), int, "a whole number")
            _number(name, getattr(self, name), least=0)
        _number("train_seconds", self.train_seconds, least=0)
        _check("seeds", self.seeds, tuple | list, "a list of whole numbers")
        if not self.seeds:
            raise ValueError("seeds is empty, expected the seed of at least one run")
        for seed in self.seeds:
            _check("seeds", seed, int, "a list of whole numbers")
        _check("references", self.references, Mapping, "an object of numbers by name")
        for name, value in self.references.items():
            _check("references", name, str, "an object of numbers by name")
            _number(f"references[{name!r}]", value)
        _check_goal(self.goal)
        # Frozen, so lists from JSON become tuples behind its back: equal rows compare equal.
        object.__setattr__(self, "seeds", tuple(self.seeds))
        object.__setattr__(self, "goal", tuple(self.goal))

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two rows the same result: setting, method, metric, and flags."""
        return self.setting, self.method, self.metric, self.flags

    @classmethod
    def from_json(cls, data: Any) -> Row:
        """A row from a JSON object with exactly its fields; those with a default may be left out."""
        _check("a row", data, Mapping, "an object")
        names = [field.name for field in fields(cls)]
        if missing := [field.name for field in fields(cls) if field.default is MISSING and field.name not in data]:
            raise ValueError(f"{', '.join(missing)} missing, expected {', '.join(names)}")
        if unknown := [name for name in data if name not in names]:
            raise ValueError(f"{', '.join(unknown)} unknown, expected {', '.join(names)}")
        return cls(**data)


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
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; expected a JSON list of rows") from None
    if not isinstance(data, list):
        raise ValueError(f"{path} holds {_described(data)}, expected a JSON list of rows")
    rows: list[Row] = []
    for number, item in enumerate(data, start=1):
        try:
            rows.append(Row.from_json(item))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, row {number}: {error}") from None
        if rows[-1].key in [row.key for row in rows[:-1]]:
            raise ValueError(f"{path}, row {number}: a row before has the same setting, method and metric; remove one")
    return rows


def upsert(path: str | Path, *made: Row, alone: bool = False) -> None:
    """Add rows to a file, each in the place of the one with the same :attr:`Row.key` if there is one.

    The file is replaced whole or not at all, and made with its folder where it is missing.

    Args:
        path: the file.
        made: the rows.
        alone: take out all others that the same commands have made before.

    Raises:
        ValueError: the file is damaged; it stays as it is.
    """
    path = Path(path)
    keys, commands = {row.key for row in made}, {row.command for row in made} if alone else set()
    known = [row for row in read(path) if row.key in keys or row.command not in commands]
    rows = {row.key: row for row in (*known, *made)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        text = json.dumps([asdict(each) for each in rows.values()], indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _check(name: str, value: Any, kind: Any, expected: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} is {_described(value)}, expected {expected}")


def _number(name: str, value: Any, least: float = -math.inf) -> None:
    _check(name, value, int | float, "a number")
    if not math.isfinite(value) or value < least:
        raise ValueError(
            f"{name} is {value}, expected a finite number" + (f" of at least {least:g}" if least > -math.inf else "")
        )


def _check_goal(goal: Any) -> None:
    expected = "[low, high] with null for an open end"
    _check("goal", goal, tuple | list, expected)
    if len(goal) != 2:
        raise ValueError(f"goal is {_described(goal)}, expected {expected}")
    for end in goal:
        if end is not None:
            _number("goal", end)
    if None not in goal and goal[0] > goal[1]:
        raise ValueError(f"goal is {list(goal)}, expected {expected}, low first")


def _described(value: Any) -> str:
    text = repr(value)
    return f"{text[:60]}..." if len(text) > 60 else text

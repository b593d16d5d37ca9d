"""The rows of ``metrics.jsonl``: numbers by name, of which the x-axis and the time never go back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from metarl.types import Number

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Row = dict[str, float | None]
AXES = ("env_steps", "episodes", "sequences")  # counts, one of which each row has
TIME = "time"


@cache
def _rows() -> TypeAdapter[Row]:
    """What reads a line: compiled, since a run may have a million."""
    import pydantic  # here, since importing metarl has to stay cheap

    return pydantic.TypeAdapter(dict[str, Number | None], config=pydantic.ConfigDict(strict=True))


def read_rows(lines: Iterable[bytes]) -> Iterator[Row | ValueError]:
    """What each line holds, or what is wrong with it.

    A row holds numbers or null. Where it has a time or the name of an x-axis, that is at least 0 and at least as large
    as in the last sound row; an x-axis counts whole steps.
    """
    read = _rows().validate_json
    last = dict.fromkeys((TIME, *AXES), 0.0)
    for line in lines:
        try:
            row = read(line)
            reached = {name: _reached(name, row[name], last[name]) for name in last.keys() & row.keys()}
        except ValueError as error:  # pydantic's too
            yield ValueError(_first(error))
            continue
        last |= reached
        yield row


def _reached(name: str, value: float | None, least: float) -> float:
    if value is None or not value >= least:
        raise ValueError(f"{name} is {value}, expected {least:g} or more, as before")
    if name != TIME and value % 1:
        raise ValueError(f"{name} is {value}, expected a whole number")
    return value


def _first(error: ValueError) -> str:
    """The first problem, in one line."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join([*map(str, first["loc"]), first["msg"]])

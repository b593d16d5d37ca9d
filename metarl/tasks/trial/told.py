"""Numbers that environments tell in ``info``, such as whether the task was solved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from metarl.config import InputError
from metarl.types import Array, Bools, Floats, StepResult

SUCCESS, IS_SUCCESS = "success", "is_success"
INFOS = "infos"  # the key of an environment's metadata that holds the names

Told = dict[str, Floats]
"""Numbers by name, ``[n]`` each; NaN in rows that did not tell one."""


def reported_names(infos: Iterable[str]) -> dict[str, str]:
    """The keys to look for and the names they are reported under: ``infos``, and both names of success."""
    return {SUCCESS: SUCCESS, IS_SUCCESS: SUCCESS} | {key: key for key in infos if key != IS_SUCCESS}


def numbers(info: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    """What one environment tells, by the name that it is reported under; None and NaN tell nothing.

    Args:
        info: of the environment.
        names: what :func:`reported_names` returned.

    Raises:
        InputError: a value is no number.
    """
    out: dict[str, float] = {}
    for key in names.keys() & info.keys():
        value, name = as_number(key, info[key]), names[key]
        if value == value:
            out[name] = max(value, out.get(name, value))  # under both names, success is either
    return out


def as_number(key: str, value: Any) -> float:
    """A value of ``info`` as a float; None becomes NaN.

    Raises:
        InputError: it is no number, or infinite.
    """
    if value is None:
        return np.nan
    plain = value.item() if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0 else value
    if not isinstance(plain, bool | int | float) or np.isinf(plain):
        remedy = "tell a finite number or a truth value, or leave the key out with a wrapper"
        raise InputError(key=f"info[{key!r}]", given=value, expected="a number", remedy=remedy)
    return float(plain)


def gather(told: Iterable[tuple[int, Mapping[str, float]]], n: int) -> Told:
    """What single rows told as arrays ``[n]``; ``told`` are row and numbers."""
    out: Told = {}
    for row, values in told:
        for name, value in values.items():
            if name not in out:
                out[name] = np.full(n, np.nan)
            out[name][row] = value
    return out


def told_in(info: Mapping[str, Any], names: Mapping[str, str], done: Bools, dead: Bools) -> Told | None:
    """What rows told in a step, from the info of one of Gymnasium's vector environments.

    Args:
        info: of the step.
        names: what :func:`reported_names` returned.
        done: ``[n]``: rows whose trial ended with the step; ``info["final_info"]`` is theirs, where it is given.
        dead: ``[n]``: rows that played no step.

    Returns:
        None where no row told anything.

    Raises:
        InputError: a value is no number.
    """
    final = info.get("final_info")
    told = [] if final is None else _rows(final, names, done)
    told += _rows(info, names, ~dead if final is None else ~dead & ~done)
    return gather(told, len(done)) or None


def _rows(info: Mapping[str, Any], names: Mapping[str, str], rows: Bools) -> list[tuple[int, dict[str, float]]]:
    """Row and numbers, from arrays with a mask beside each."""
    keys = [key for key in names if key in info]
    if not keys:
        return []
    masks = {key: info.get(f"_{key}", rows) & rows for key in keys}
    return [(i, numbers({k: info[k][i] for k in keys if masks[k][i]}, names)) for i in np.flatnonzero(rows).tolist()]


class EpisodeInfos:
    """What ``n`` rows tell, by inner episode: ``success`` is whether it was ever true, others are the last number.

    Of a trial that finishes no episode, the one that it was cut in counts.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._now: Told = {}
        self._none_finished = np.ones(n, np.bool_)

    def step(self, result: StepResult) -> Told:
        """The numbers of the episodes that ended with this step, each ``[n]``; NaN in other rows."""
        episode_ended, ended = result.episode_ended, result.ended
        for name, values in (result.told or {}).items():
            now = self._now.setdefault(name, self._untold(name))
            np.copyto(now, np.fmax(now, values != 0) if name == SUCCESS else values, where=~np.isnan(values))
        counts = episode_ended | (ended & self._none_finished)
        self._none_finished = ended | (self._none_finished & ~episode_ended)
        if not self._now or not (counts | ended).any():
            return {}
        out = {name: np.where(counts, now, np.nan) for name, now in self._now.items()}
        for name, now in self._now.items():
            np.copyto(now, self._untold(name), where=counts | ended)
        return out

    def _untold(self, name: str) -> Floats:
        return np.zeros(self._n) if name == SUCCESS else np.full(self._n, np.nan)


class TrialInfos:
    """The mean over the episodes of a trial of what :class:`EpisodeInfos` gives, for ``n`` rows."""

    def __init__(self, n: int) -> None:
        self._n, self._episodes = n, EpisodeInfos(n)
        self._sums: dict[str, tuple[Floats, Floats]] = {}

    def step(self, result: StepResult) -> None:
        """Add a step."""
        for name, values in self._episodes.step(result).items():
            total, count = self._sums.setdefault(name, (np.zeros(self._n), np.zeros(self._n)))
            total += np.nan_to_num(values)
            count += ~np.isnan(values)

    def take(self, row: int) -> dict[str, float]:
        """The means of the trial that ended in a row, which are then forgotten."""
        out = {name: float(total[row] / count[row]) for name, (total, count) in self._sums.items() if count[row]}
        for total, count in self._sums.values():
            total[row] = count[row] = 0
        return out


def vector_info(told: Mapping[str, Floats]) -> dict[str, Array]:
    """``told`` as Gymnasium's vector environments say it: an array and a mask for each key."""
    return {k: v for name, x in told.items() for k, v in ((name, x), (f"_{name}", ~np.isnan(x)))}


def rows_told(result: StepResult) -> list[dict[str, float]]:
    """What a step told, row by row."""
    told = [(name, values.tolist()) for name, values in (result.told or {}).items()]
    return [{k: v[i] for k, v in told if v[i] == v[i]} for i in range(len(result.ended))]


def names_of(metadata: Mapping[str, Any]) -> Sequence[str]:
    """The keys that an environment's metadata name."""
    return tuple(metadata.get(INFOS, ()))

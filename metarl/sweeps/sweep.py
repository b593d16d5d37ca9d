"""A sweep: which trainings there are to choose between, checked before any of them begins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from metarl.config import Assignment, ConfigError
from metarl.experiments.base import WITHOUT_EFFECT, Experiment
from metarl.experiments.presets import load_experiment
from metarl.files import read_json, write_json
from metarl.sweeps.space import Method, Params, Space
from metarl.tasks.trial.layout import INPUTS

SWEEP = "sweep.json"
WHOLE = 256  # points of the largest grid of which each is checked before the sweep begins
Pruning = Literal["median", "halving"]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is searched, and how.

    Args:
        preset: the name of a preset, or the path of a TOML file.
        settings: what all trials change of it.
        name: of the experiment, instead of the preset's.
        space: what differs between trials.
        method: how it is searched: every combination; at random; or near those that did well, by a tree-structured
            Parzen estimator (Bergstra et al. 2011).
        trials: how many there are at least; others may ask for more of the same sweep.
        seeds: of the trainings of a trial, whose mean counts.
        prune: what ends trials early that do worse: the median of the others, or successive halving; None: nothing.
        seed: of what is drawn.
    """

    preset: str
    settings: Sequence[Assignment] = ()
    name: str | None = None
    space: Space
    method: Method
    trials: int
    seeds: tuple[int, ...] = (0,)
    prune: Pruning | None = None
    seed: int = 0

    @cached_property
    def base(self) -> Experiment:
        """The experiment with what all trials share."""
        return self._validating(self.settings)

    def experiment(self, params: Params) -> Experiment:
        """The checked experiment of a trial, which validates in training.

        Raises:
            ConfigError: settings that don't exist or don't fit.
        """
        return self._validating([*self.settings, *self.space.assignments(params)])

    def _validating(self, settings: Sequence[Assignment]) -> Experiment:
        return load_experiment(self.preset, settings, self.name).validating()

    @property
    def validations(self) -> int:
        """How many each training has, where that is known before: 0 else."""
        return (self.base.planned or 0) // (self.base.validates_every or 1)

    def definition(self) -> dict[str, Any]:
        """What makes two sweeps the same, as plain data."""
        config = self.base.config()
        return {
            "experiment": {key: value for key, value in config.items() if key not in WITHOUT_EFFECT},
            "space": {one.key: str(one) for one in self.space.dimensions},
            "method": self.method,
            "seeds": list(self.seeds),
            "prune": self.prune,
            "seed": self.seed,
        }

    def check(self) -> None:
        """Refuse what would fail only when its turn comes.

        Raises:
            ConfigError: a key or value that doesn't exist or doesn't fit; of a grid, any combination.
        """
        given = {".".join(key) for key, _ in self.settings}
        if both := [one.key for one in self.space.dimensions if one.key in given]:
            problem = f"{both[0]} is given by --set and by --{self.method}"
            raise ConfigError(problem, key=both[0], remedy="leave one of them out")
        whole = self.method == "grid" and self.space.points <= WHOLE
        for params in self.space.grid() if whole else self.space.borders():
            self.experiment(params)

    def warnings(self) -> Iterator[str]:
        """What may not be meant."""
        for one in self.space.dimensions:
            section, _, name = one.key.partition(".")
            if section == "env" and name not in INPUTS:
                yield f"{one.key} changes the tasks, so the values of these trials are no measure of the same thing"


def name_of(definition: dict[str, Any]) -> str:
    """A name that belongs to one sweep alone."""
    made = sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:8]
    return f"{definition['experiment']['name'] or definition['experiment']['kind']}-{made}"


def make_folder(path: Path, definition: dict[str, Any]) -> None:
    """Make the folder of a sweep, or find that it is the same sweep's.

    Raises:
        ConfigError: there is another sweep, or something else.
    """
    if not (path / SWEEP).is_file():
        if path.exists() and (
            not path.is_dir() or any(not one.name.startswith(f".{SWEEP}.") for one in path.iterdir())
        ):
            remedy = "choose another folder or remove it first"
            raise ConfigError(f"{path} exists and is no sweep", key="--out", given=str(path), remedy=remedy)
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / SWEEP, definition)
        return
    own = read_json(path / SWEEP)
    for key, value in definition.items():
        if own.get(key) != value:
            before, now = _difference(own.get(key), value)
            problem = f"{path} holds another sweep: its {key} is {before}, and here it is {now}"
            raise ConfigError(problem, key="--out", given=str(path), remedy="choose another folder")


def _difference(before: Any, now: Any) -> tuple[str, str]:
    """Two values as texts; of tables what differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        before, now = ({key: one.get(key) for key in keys} for one in (before, now))
    return json.dumps(before), json.dumps(now)

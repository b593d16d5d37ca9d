"""Experiments from presets: TOML files whose ``kind`` says which class they are the options of."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from metarl.config import Assignment, apply, build, load_toml
from metarl.experiments.base import Experiment, pick_device
from metarl.memory.options import PER_ACTION_ALONE, MemoryOptions
from metarl.presets.names import KINDS, kind_of, preset_path


def load_experiment(
    preset: str | Path, settings: Mapping[str, Any] | Sequence[Assignment] = (), name: str | None = None
) -> Experiment:
    """The checked experiment of a preset, with some settings changed.

    Where settings name another store, access or controller, the options of the preset's own are left out.

    Args:
        preset: the name of a preset, or the path of a TOML file.
        settings: values by key, such as ``{"env.arms": 5}``.
        name: of the experiment, instead of the preset's.

    Raises:
        ConfigError: an unknown preset, key, name or value, or options that don't fit; one line.
    """
    path = preset_path(preset)
    settings = assignments(settings)
    config = apply(without_options(load_toml(path), settings), [(("name",), name or path.stem), *settings])
    experiment = from_config(config, path.stem)
    pick_device(experiment.device)
    return experiment.check()


def assignments(settings: Mapping[str, Any] | Sequence[Assignment]) -> Sequence[Assignment]:
    """Settings by key, such as ``{"env.arms": 5}``, as pairs of the parts of a key and a value."""
    if isinstance(settings, Mapping):
        return [(tuple(key.split(".")), value) for key, value in settings.items()]
    return settings


BELONGING: dict[str, tuple[str, ...]] = {
    **{part: (f"{part}_options",) for part in ("store", "access", "controller")},
    "per_action": PER_ACTION_ALONE,
}
"""What belongs to a part of a memory, and has no meaning for another one."""


def without_options(config: Mapping[str, Any], settings: Sequence[Assignment]) -> dict[str, Any]:
    """``config`` without the options of the parts of a memory that ``settings`` replace by others."""
    left = copy.deepcopy(dict(config))
    for key, value in settings:
        table: Any = left
        for name in key[:-1]:
            table = table.get(name) if isinstance(table, dict) else None
        part = key[-1]
        of_memory = isinstance(table, dict) and key[-2:-1] == ("memory",) and part in BELONGING
        if of_memory and table.get(part, getattr(MemoryOptions, part)) != value:
            for option in BELONGING[part]:
                table.pop(option, None)
    return left


def from_config(config: Mapping[str, Any], where: str) -> Experiment:
    """The experiment of nested plain data; not checked.

    Args:
        config: the options with their ``kind``.
        where: what they come from, named first in an error.

    Raises:
        ConfigError: the kind is missing or unknown, or an option doesn't fit.
    """
    kind: type[Experiment] = resolve_name(KINDS[kind_of(config, where)])
    return build(kind, {key: value for key, value in config.items() if key != "kind"}, where)

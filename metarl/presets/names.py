"""The presets there are, by name; nothing here imports what a preset is the options of."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from metarl.config import ConfigError, choice, load_toml

KINDS = {
    "rl2": "metarl.experiments.rl.experiment:RL2Experiment",
    "fewshot": "metarl.experiments.fewshot.experiment:FewShotExperiment",
    "recall": "metarl.experiments.recall.experiment:RecallExperiment",
}
"""The class of each kind, imported when first used."""

GIVEN = "given"
"""What a table must be that is left out by default, for its settings to have a meaning."""
OTHER = "of Gymnasium or your own"
"""The environments that are no families of this package, whose settings are those of an EnvFamily."""


def presets() -> dict[str, Path]:
    """The presets that come with the package, by name."""
    folder = resources.files("metarl.presets")
    return {Path(str(f)).stem: Path(str(f)) for f in sorted(folder.iterdir(), key=str) if str(f).endswith(".toml")}


def preset_path(preset: str | Path) -> Path:
    """The TOML file of a preset.

    Raises:
        ConfigError: there is no preset of this name.
    """
    known, path = presets(), Path(preset)
    return path if path.suffix == ".toml" else known[choice(str(preset), known, "the preset")]


def preset_kind(preset: str | Path) -> str:
    """The kind of experiment that a preset is for.

    Raises:
        ConfigError: there is no such preset, or it has no kind.
    """
    path = preset_path(preset)
    return kind_of(load_toml(path), path.stem)


def kind_of(config: Mapping[str, Any], where: str) -> str:
    """The kind of an experiment from its options.

    Raises:
        ConfigError: it is missing or unknown.
    """
    if "kind" not in config:
        raise ConfigError(
            f'{where} has no kind, which every preset and run now states; add kind = "rl2" (an agent), "fewshot" (a '
            'few-shot learner) or "recall" (a memory on a recall task) to a preset, and train an old run again'
        )
    return choice(config["kind"], KINDS, f"{where}: kind")

"""Presets: each can be loaded, by name or as a file, and says its kind."""

from pathlib import Path
from typing import Any

import pytest
from experiment_toys import PLAIN, TOYS, for_images, toy

from metarl.config import ConfigError
from metarl.experiments.presets import from_config, load_experiment
from metarl.presets.names import preset_kind, preset_path, presets


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_can_be_loaded(name: str) -> None:
    made: Any = load_experiment(name, PLAIN if for_images(name) else {})
    assert (made.name, made.kind) == (name, preset_kind(name))
    assert made.about
    if made.kind == "fewshot":
        assert made.eval.episodes >= 1000, "what is published is measured on as many"
    if made.kind == "rl2":
        assert made.eval.trials >= 100


def test_a_preset_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(preset_path("bandit").read_bytes())
    assert load_experiment(path) == load_experiment("bandit", {"name": "mine"})


@pytest.mark.parametrize("name", TOYS)
def test_an_experiment_is_plain_data_and_comes_back(name: str) -> None:
    made = toy(name)
    assert from_config(made.config(), "it") == made


def test_settings_are_a_mapping_or_a_list() -> None:
    made = load_experiment("bandit", {"env.arms": 4})
    assert made == load_experiment("bandit", [(("env", "arms"), 4)])
    assert made.env["arms"] == 4  # type: ignore[attr-defined]


def test_a_preset_without_a_kind_is_told_what_to_add(tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    path.write_text("about = 'as it was'\n[env]\nid = 'metarl/BernoulliBandit-v0'\n[train]\ntotal_timesteps = 8\n")
    with pytest.raises(ConfigError, match=r'old has no kind.*add kind = "rl2"'):
        load_experiment(path)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'bandit'"):
        load_experiment("bandti")
    with pytest.raises(ConfigError, match="did you mean 'fewshot'"):
        from_config({"kind": "fewshoot"}, "it")
    with pytest.raises(ConfigError, match="device"):
        load_experiment("bandit", {"device": "gpu"})


def test_the_group_of_a_run_is_its_setting_without_the_seed() -> None:
    bandit, other = (load_experiment("bandit", [(("memory", "key_size"), size)]) for size in (12, 24))
    assert bandit.group.startswith("bandit-")
    assert bandit.group == load_experiment("bandit", [(("memory", "key_size"), 12), (("device",), "cpu")]).group
    assert bandit.group != other.group

"""Runs that a script finds and takes: of which settings, and by which code."""

from pathlib import Path
from types import ModuleType

import pytest
from script_toys import REPRODUCE, load

from metarl.config import apply, load_toml, parse_assignment
from metarl.experiments.presets import from_config, load_experiment, preset_path
from metarl.runs.folder import RunFolder


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load(REPRODUCE / "common.py", monkeypatch)


@pytest.mark.parametrize("settings", [(), ("memory.per_action=false", "env.arms=5")])
def test_a_run_of_an_agent_is_taken_if_it_has_the_same_settings(
    settings: tuple[str, ...], tmp_path: Path, common: ModuleType
) -> None:
    (run,) = common.runs_of(tmp_path, "name", [3])
    given = [parse_assignment(text) for text in settings]
    RunFolder.create_at(run).start({**load_experiment("bandit", given).config(), "seed": 3})
    common.refuse_another(run, "bandit", settings)
    with pytest.raises(SystemExit, match="other settings"):
        common.train("bandit", "name", [3], (*settings, "env.pulls=7"), tmp_path, 1)


def test_it_is_taken_wherever_its_data_lay(tmp_path: Path, common: ModuleType) -> None:
    run = RunFolder.create(tmp_path, "name", seed=0)
    images = [(("data", "source"), "images"), (("data", "folder"), "there")]
    config = apply(load_toml(preset_path("key-value")), [(("name",), "key-value"), *images])
    run.start({**from_config(config, "it").config(), "seed": 3})
    here = ("data.source=images", "data.folder=here")
    common.refuse_another(run.path, "key-value", here)
    common.refuse_another(tmp_path / "no run yet", "key-value", here)
    with pytest.raises(SystemExit, match="other settings"):
        common.refuse_another(run.path, "key-value", (*here, "fit.updates=7"))


def test_rows_name_the_code_that_trained_their_runs(
    tmp_path: Path, common: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [RunFolder.create_at(tmp_path / name) for name in ("a", "b")]
    for run in runs:
        run.start(load_experiment("bandit").config())
    git = runs[0].meta.git
    monkeypatch.setattr(common, "commit", lambda: "another+dirty")
    assert common.trained_at(*(run.path for run in runs)) == ("unknown" if git is None else str(git)), "once"
    if git is not None:  # the code is that of the commit, whatever rows differ
        monkeypatch.setattr(common, "commit", lambda: git.commit[:7])
        assert common.trained_at(runs[0].path) == git.commit[:7]

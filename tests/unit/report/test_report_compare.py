from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from report_looks import words
from report_runs import bandit, barcode, made

from metarl.report import compare
from metarl.report.adaptation import adaptation_overlay
from metarl.report.compare import Setting, members_of
from metarl.report.learning import learning_overlay
from metarl.runs.folder import RunError, RunFolder

NO_STORE = {"memory": {"store": "none"}}


def gather(runs: list[RunFolder]) -> list[Setting]:
    return compare.gather(members_of(runs))


def groups(settings: list[Setting]) -> Any:
    return [(setting.name, [member.metrics for member in setting.members]) for setting in settings]


def labels(settings: list[Setting]) -> list[tuple[str, list[int]]]:
    return [(setting.label, [member.seed for member in setting.members]) for setting in settings]


def test_runs_that_differ_in_their_seed_are_one_setting(tmp_path: Path) -> None:
    runs = [made(tmp_path / str(seed), seed) for seed in (3, 1)]
    runs.append(made(tmp_path / "none", 2, **NO_STORE))
    runs.append(made(tmp_path / "idle", 5, train={"workers": 3}, eval={"trials": 7}, about="else"))
    settings = gather(runs)
    assert labels(settings) == [("store=episodic", [3, 1, 5]), ("store=none", [2])]
    assert settings[0].name == "store=episodic (mean of 3 runs)"
    assert settings[1].options == {"memory.store": "none"}
    assert labels(gather(runs[:1])) == [("agent", [3])], "one setting needs no name"


MANY = {f"an_option_of_number_{i}": i for i in range(6)}


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ([{}, {"train": {"n_steps": None}}, {"train": {"n_steps": 5}}], ["n_steps=default", "n_steps=5"]),
        (
            [{"train": {"size": 1}, "memory": {"size": 1}}, {"train": {"size": 2}, "memory": {"size": 3}}],
            ["train.size=1, memory.size=1", "train.size=2, memory.size=3"],
        ),
        (
            [{}, {"train": MANY, **NO_STORE}, {"train": MANY, "memory": {"horizon": "episode"}}],
            [
                "store=episodic, horizon=trial, ...",
                "store=none, horizon=trial, ...",
                "store=episodic, horizon=episode, ...",
            ],
        ),
    ],
    ids=["an option left out is its default", "one name in two sections", "many differences"],
)
def test_settings_are_called_by_what_differs(
    tmp_path: Path, configs: list[dict[str, Any]], expected: list[str]
) -> None:
    settings = gather([made(tmp_path / str(i), i, **config) for i, config in enumerate(configs)])
    assert [setting.label for setting in settings] == expected


@pytest.mark.parametrize(
    ("second", "given", "expected"),
    [
        ({"env": {"id": "metarl/BarcodeBandit-v0"}}, "metarl/BarcodeBandit-v0", "metarl/BernoulliBandit-v0"),
        ({"evaluation": bandit(split="validation")}, "validation", "test"),
        ({"evaluation": barcode()}, "longer", "single steps"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, second: dict[str, Any], given: str, expected: str) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b", 1, **second)]
    with pytest.raises(RunError) as error:
        gather(runs)
    assert (error.value.given, error.value.expected) == (given, f"{expected} for both")


def test_a_run_given_twice_is_refused(tmp_path: Path) -> None:
    run = made(tmp_path / "a")
    with pytest.raises(RunError, match="twice"):
        gather([run, type(run)(tmp_path / "b" / ".." / "a")])


def test_adaptation_of_settings_is_laid_over_each_other(tmp_path: Path, drawn: list[Figure]) -> None:
    high = bandit(by_episode=(0.95,) * 100)
    runs = [made(tmp_path / "a"), made(tmp_path / "b", 1, high), made(tmp_path / "c", 2, **NO_STORE)]
    settings = gather(runs)
    adaptation_overlay(settings, tmp_path / "o.png")
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in drawn[0].axes[0].lines}
    middle = np.convolve(bandit().by_episode, np.full(5, 0.2), "valid")
    np.testing.assert_allclose(lines["store=none"][2:-2], middle)
    np.testing.assert_allclose(lines["store=episodic (mean of 2 runs)"][2:-2], (middle + 0.95) / 2)
    assert len(drawn[0].axes[0].collections) == 2
    assert {"Gittins", "random"} <= words(drawn[0])


def test_references_are_left_out_where_tasks_differ(tmp_path: Path, drawn: list[Figure]) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b", env={"arms": 5}), made(tmp_path / "c", env={"reveal": True})]
    adaptation_overlay(gather(runs), tmp_path / "o.png")
    assert "Gittins" not in words(drawn[0])
    adaptation_overlay(gather(runs[::2]), tmp_path / "o.png")
    assert {"Gittins", "reveal=default", "reveal=true"} <= words(drawn[1])


def test_runs_without_an_evaluation_are_not_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    settings = gather([made(tmp_path / "a"), made(tmp_path / "b", evaluated=False, **NO_STORE)])
    adaptation_overlay(settings, tmp_path / "o.png")
    assert "store=none" not in words(drawn[0])
    with pytest.raises(ValueError, match="evaluation"):
        adaptation_overlay(settings[1:], tmp_path / "o.png")


def test_learning_of_settings_is_laid_over_each_other(tmp_path: Path, drawn: list[Figure]) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b", 4), made(tmp_path / "c", 1, **NO_STORE)]
    learning_overlay(groups(gather(runs)), "rl2", tmp_path / "o.png")
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in drawn[0].axes[0].lines}
    np.testing.assert_allclose(lines["store=episodic (mean of 2 runs)"], 2 + np.arange(1, 11) / 2)
    np.testing.assert_allclose(lines["store=none"], 1 + np.arange(1, 11) / 2)
    assert "3 runs, averaged over neighbouring reports; thin: single runs" in words(drawn[0])


def test_learning_of_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rollout/ep_rew_mean"):
        learning_overlay(groups(gather([made(tmp_path / "a", learned=False)])), "rl2", tmp_path / "o.png")


def test_many_settings_can_be_distinguished(tmp_path: Path, drawn: list[Figure]) -> None:
    settings = gather([made(tmp_path / str(i), memory={"key_size": i}) for i in range(8)])
    adaptation_overlay(settings, tmp_path / "o.png")
    styles = [(line.get_color(), line.get_linestyle()) for line in drawn[0].axes[0].lines if line.get_linewidth() > 2]
    assert len(set(styles)) == 8

"""Sizes beyond memory are refused by the name of their option, before memory is taken."""

from typing import Any

import pytest

from metarl import limits
from metarl.config import InputError
from metarl.evaluation.play import check_trials
from metarl.evaluation.recall import RecallCell, RecallSettings
from metarl.experiments.presets import load_experiment
from metarl.experiments.recall.experiment import options_of

GLYPHS = {"data.source": "glyphs"}


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a usual machine, whatever this one has."""
    monkeypatch.setattr(limits, "free_bytes", lambda: 16 * 10**9)


@pytest.mark.parametrize("key", ["train.batch", "eval.episodes", "eval.validation_episodes"])
@pytest.mark.parametrize("preset", ["prototypical", "mann"])
@pytest.mark.parametrize("value", [10**9, 10**18])
def test_few_shot(preset: str, key: str, value: int) -> None:
    with pytest.raises(InputError) as caught:
        load_experiment(preset, {**GLYPHS, key: value})
    assert caught.value.key == key


def test_agents() -> None:
    with pytest.raises(InputError) as caught:
        load_experiment("bandit", {"eval.trials": 10**9})
    assert caught.value.key == "eval.trials"


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("fit.batch", 10**9, "fit.batch"),
        ("fit.batch", 10**18, "fit.batch"),
        ("sequences", 10**10, "sequences"),
        ("sizes.pairs", 10**9, "sizes"),
    ],
)
def test_recall(key: str, value: int, named: str) -> None:
    settings: dict[str, Any] = {key: value, **({"sizes.keys": value} if key == "sizes.pairs" else {})}
    with pytest.raises(InputError) as caught:
        load_experiment("recall", settings)
    assert caught.value.key == named


def test_cells_of_the_benchmark() -> None:
    options_of(RecallCell("copy", "gru"))
    with pytest.raises(InputError) as caught:
        options_of(RecallCell("copy", "gru", settings=RecallSettings(batch=10**9)))
    assert caught.value.key == "fit.batch"


def test_trials() -> None:
    check_trials(10_000, 1000)
    with pytest.raises(InputError) as caught:
        check_trials(10**9, 100)
    assert caught.value.key == "trials"

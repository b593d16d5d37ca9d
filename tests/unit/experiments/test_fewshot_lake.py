"""``metarl bench lake``, and which learners it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from experiment_toys import toy, toy_preset

from metarl.cli.main import main
from metarl.config import ConfigError
from metarl.data.omniglot import SCHEMES
from metarl.experiments.fewshot.build import make_learner, training_source
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.fewshot.lake import lake_test, refuse_met
from metarl.experiments.run import Run
from metarl.runs.folder import RunFolder


def opened(experiment: Any, path: Path) -> Run:
    """A run as it is opened, of a learner that learned nothing."""
    model = make_learner(experiment, seed=0).eval() if isinstance(experiment, FewShotExperiment) else None
    return Run(experiment, 0, RunFolder(path), model)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    net = ("classifier.encoder.net=strided", "classifier.encoder.views=false", "classifier.encoder.precision=float32")
    return opened(toy_preset("lake", *net), tmp_path_factory.mktemp("runs") / "few-shot")


@pytest.fixture
def few_shot(made: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("metarl.experiments.run.open_run", lambda *_, **__: made)
    return made.folder.path


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        status = main(["bench", "lake", *map(str, arguments)])
    except SystemExit as end:
        status = int(str(end.code))
    return status, *capsys.readouterr()


def test_without_omniglot_the_published_runs_are_tested_and_the_rest_is_said(
    few_shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METARL_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    status, out, err = told(capsys, few_shot, "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    (one,) = result["runs"]
    assert one["random"] is None
    assert one["published"]["trials"] == 400
    assert len(one["published"]["by_episode"]) == 20
    assert result["mean"] == {"published": {name: one["published"][name] for name in ("error", "se")}}
    status, out, _ = told(capsys, few_shot)
    assert status == 0
    assert "random: not measured: Omniglot is not here" in out


def test_runs_are_averaged_where_they_differ_in_their_seeds_alone(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other: Any = replace(made.experiment, fit=replace(made.experiment.fit, learning_rate=0.1))  # type: ignore[attr-defined]  # few-shot
    runs = {"one": made, "same": made, "other": Run(other, 0, made.folder, made.model)}
    monkeypatch.setattr("metarl.experiments.run.open_run", lambda path, **_: runs[path.name])
    _, out, _ = told(capsys, tmp_path / "one", tmp_path / "same", "--trials", "0", "--json")
    result = json.loads(out)
    assert result["mean"]["published"]["error"] == pytest.approx(result["runs"][0]["published"]["error"])
    _, out, _ = told(capsys, tmp_path / "one", tmp_path / "same", "--trials", "0")
    assert "mean of 2" in out
    _, out, _ = told(capsys, tmp_path / "one", tmp_path / "other", "--trials", "0", "--json")
    assert json.loads(out)["mean"] == {}, "an average of different learners"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--trials", "30"], "--trials is 30, expected a multiple of 20"), (["--trials", "-1"], "at least 0")],
)
def test_wrong_numbers_are_one_line(
    few_shot: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = told(capsys, few_shot, *arguments)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("settings", [("agent",), ("stream", "train.labels=letters", "eval.cells=[]")])
def test_a_run_that_names_no_classes_is_refused(settings: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of a few-shot learner"):
        lake_test(opened(toy(*settings), tmp_path))


def test_a_learner_with_weights_for_fewer_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 4"):
        lake_test(opened(toy("classifier"), tmp_path), trials=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_learner_that_has_met_the_test_is_refused(scheme: str) -> None:
    experiment = toy("classifier", "data.source=omniglot", f"data.scheme={scheme}")
    learner = make_learner(toy("classifier"), seed=0)
    if scheme != "standard":
        refuse_met(experiment, learner)
        learner.met = {"validation": ("Angelic/character01",)}
    with pytest.raises(ConfigError, match=r"has met .* characters of the test, such as Angelic/character01"):
        refuse_met(experiment, learner)
    with pytest.raises(ConfigError, match="nobody knows"):
        refuse_met(toy("classifier", "data.source=images", "data.folder=x"), learner)


def test_options_of_alphabets_that_would_do_nothing_or_too_much_are_refused() -> None:
    with pytest.raises(ConfigError, match="five alphabets"):
        toy("classifier", "data.source=omniglot", "data.scheme=lake_small1", "data.trainval=true")
    with pytest.raises(ConfigError, match=r"train\.alphabets is 'few', expected none, or data\.source = 'omniglot'"):
        training_source(*(getattr(toy("classifier", "train.alphabets=few"), part) for part in ("data", "train")))

"""``metarl sweep`` in one process: what it trains, what it tells, what it refuses and how it goes on."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from command_line import CLASSIFIER, run
from sweep_toys import BANDIT, RECALL, sweep, table

from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.recall.experiment import RecallExperiment
from metarl.runs.folder import RunFolder
from metarl.sweeps import table as tables
from metarl.sweeps import work
from metarl.types import NonFiniteError

REPORT = tables.report
GRID = [*RECALL, "--set", "fit.batch=4", "--grid", "fit.learning_rates=[1e-3],[1e-2]"]


pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(autouse=True)
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a tiny training."""
    monkeypatch.setattr(tables, "report", lambda found, folder: None)


def test_an_agent_is_chosen_on_validation_tasks(tmp_path: Path) -> None:
    words = [*BANDIT, "--grid", "ppo.learning_rate=1e-3,1e-2", "--seeds", "2", "--out", tmp_path / "a"]
    told = table(*words)
    rows = told["results"]
    assert (told["metric"], [row["state"] for row in rows]) == ("validation/return", ["done", "done"])
    assert {row["settings"]["ppo.learning_rate"] for row in rows} == {"1e-3", "1e-2"}
    assert rows[0]["value"] >= rows[1]["value"]
    for row in rows:
        found = []
        for path in row["runs"]:
            folder = RunFolder.open(path)
            assert (folder.status["status"], folder.evaluation.exists()) == ("finished", False)
            assert not (folder.path / "trials.npz").exists(), "test tasks are never played"
            found.append(folder.metrics()[-1]["validation/return"])
        assert list(row["values"]) == found
        assert row["value"] == pytest.approx(sum(found) / 2)
        assert row["half"] > 0

    ran = run("train", "--resume", rows[0]["runs"][0], "--quiet")  # tests what was chosen
    assert ran.status == 0
    assert RunFolder.open(rows[0]["runs"][0]).evaluation.is_file()
    assert table(*words) == told


def test_a_few_shot_learner_is_searched_likewise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FewShotExperiment, "_open_set", lambda *given: None)  # it takes longer than the training
    (tmp_path / "toy.toml").write_text(CLASSIFIER + "data = { source = 'glyphs', rotations = false }\n")
    words = [tmp_path / "toy.toml", "--random", "fit.learning_rate=1e-4..1e-2:log", "--trials", "3"]
    told = table(*words, "--out", tmp_path / "a")
    rates = [float(row["settings"]["fit.learning_rate"]) for row in told["results"]]
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    again = table(*words, "--out", tmp_path / "b")
    key = [(row["trial"], row["settings"], row["value"]) for row in told["results"]]
    assert [(row["trial"], row["settings"], row["value"]) for row in again["results"]] == key, "same seed, same search"
    more = table(*words[:-1], "4", "--out", tmp_path / "a")
    assert {row["trial"] for row in more["results"]} == {0, 1, 2, 3}
    assert [row for row in more["results"] if row["trial"] < 3] == told["results"], "trials that were there stay"


def test_the_same_command_finds_the_same_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = sweep(*GRID)
    assert ran.status == 0
    assert ran.out.count("\ntrial 0: ") == 2
    (folder,) = (tmp_path / "sweeps").iterdir()
    lines = ran.out.splitlines()
    assert [line.split()[-1] for line in lines if line[:2] in ("0 ", "1 ")] == ["done", "done"]
    assert f"test it:    metarl train --resume sweeps/{folder.name}/trial-" in ran.out

    monkeypatch.setattr(work, "carry_out", lambda *given: pytest.fail("nothing is left"))
    again = sweep(*GRID)
    (head,) = (i for i, line in enumerate(lines) if line.startswith("trial  accuracy"))
    assert again.out.splitlines() == lines[head:], "a finished sweep only prints its table"
    other = sweep(*GRID, "--seeds", "2", "--out", f"sweeps/{folder.name}")
    assert (other.status, other.out) == (2, "")
    assert "holds another sweep: its seeds is [0], and here it is [0, 1]" in other.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grid", "fit.learning_rat=1,2"], "unknown key fit.learning_rat"),
        (["--grid", "fit.batch=4,many"], "fit.batch is 'many', expected an integer"),
        (["--random", "fit.batch=0..4"], "fit.batch is 0, expected"),
        (["--grid", "fit.updates=4,5"], "given by --set and by --grid"),
        (["--grid", "fit.batch=4,5", "--trials", "3"], "--trials is 3, expected none with --grid"),
        (["--grid", "fit.batch=4,5", "--tpe", "fit.batch=4,5"], "not allowed with"),
        ([], "one of the arguments --grid --random --tpe is required"),
        (["--grid", "fit.batch=4,5", "--storage", "nonsense"], "--storage can't be used"),
    ],
)
def test_what_is_wrong_is_told_before_anything_begins(words: list[str], said: str, tmp_path: Path) -> None:
    ran = sweep(*RECALL, *words, "--out", tmp_path / "a")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err
    assert not list(tmp_path.glob("a/trial-*"))


def test_a_finished_sweep_has_one_page_of_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "report", REPORT)
    page = Path(table(*GRID, "--out", tmp_path / "a")["report"])
    text = page.read_text()
    assert page == tmp_path / "a" / "report.html"
    assert all(f"trial-00{number}-s0" in text for number in (0, 1))
    before = page.stat().st_mtime_ns
    assert table(*GRID, "--out", tmp_path / "a")["report"] == str(page)
    assert page.stat().st_mtime_ns == before, "it is not drawn again"


def test_settings_that_fail_are_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = RecallExperiment.learn

    def fail(self: RecallExperiment, model: Any, session: Any) -> int:
        if self.fit.learning_rates == (1e-3,):
            raise NonFiniteError("the loss is nan")
        return learn(self, model, session)

    monkeypatch.setattr(RecallExperiment, "learn", fail)
    best, failed = table(*GRID, "--out", tmp_path / "a")["results"]
    assert (best["state"], failed["state"], failed["value"]) == ("done", "failed", None)
    assert failed["error"] == "the loss is nan"


def test_a_signal_leaves_a_sweep_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn, learned = RecallExperiment.learn, []

    def stop(self: RecallExperiment, model: Any, session: Any) -> int:
        learned.append(self.fit.learning_rates)
        if len(learned) == 2:
            with session.stoppable():
                os.kill(os.getpid(), signal.SIGINT)
        return learn(self, model, session)

    monkeypatch.setattr(RecallExperiment, "learn", stop)
    ran = sweep(*GRID, "--out", tmp_path / "a")
    assert ran.status == 128 + signal.SIGINT
    assert "the same command goes on" in ran.out
    assert [line.split()[-1] for line in ran.out.splitlines() if line[:2] in ("0 ", "1 ")] == ["done", "waiting"]
    with pytest.warns(UserWarning, match="starts anew"):  # it was stopped before its first checkpoint
        assert [row["state"] for row in table(*GRID, "--out", tmp_path / "a")["results"]] == ["done", "done"]
    assert learned == [(1e-3,), (1e-2,), (1e-2,)]


@pytest.mark.parametrize("prune", ["median", "halving"])
def test_a_trial_that_does_worse_is_pruned(prune: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(self: RecallExperiment, model: Any, session: Any) -> int:
        model.training = {"learning_rate": self.fit.learning_rates[0], "validation": 0.0, "updates": 1, "seconds": 0.0}
        for number in range(1, 9):
            row = {"validation/accuracy": number / (10 * self.fit.batch), "train/learning_rate": 1e-3}
            session.validated(row, step=number * (self.validates_every or 0))
            if session.stopped:
                break
        return number

    monkeypatch.setattr(RecallExperiment, "learn", learn)
    words = [*RECALL, "--grid", "fit.batch=2,3,4,5,6,7,8,9", "--prune", prune]
    told = table(*words, "--out", tmp_path / "a")["results"]
    assert (told[0]["trial"], told[0]["state"]) == (0, "done")
    pruned = [row for row in told if row["state"] == "pruned"]
    assert len(pruned) >= 3
    assert told[-len(pruned) :] == pruned, "below those that were trained to the end"
    assert pruned == sorted(pruned, key=lambda row: -row["value"])
    folder = RunFolder.open(pruned[0]["runs"][0])
    assert (folder.status["status"], folder.status["ended"]) == ("interrupted", "pruned")
    assert "pruned" in run("runs", tmp_path / "a").out
    assert len(folder.metrics()) < 8


def test_one_that_has_what_it_needs_not_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    ran = sweep(*GRID, "--out", tmp_path / "a")
    assert (ran.status, ran.out) == (2, "")
    assert "pip install 'metarl-memory[sweep]'" in ran.err

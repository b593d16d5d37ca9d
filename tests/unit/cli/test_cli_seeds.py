"""``metarl train`` with several seeds, quietly, in detail, and how it tells what cut it short."""

import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import run, settings
from report_runs import bandit

from metarl.cli.seeds import Outcome, tell_seeds
from metarl.experiments.recall.experiment import RecallExperiment
from metarl.runs.folder import RunFolder
from metarl.types import NonFiniteError

SMALL = ["memory=gru", "fit.parameters=3000", "fit.learning_rates=[1e-3]", "fit.batch=4", "sequences=10"]
TRAIN = ["train", "recall", *settings(*SMALL)]
SHORT = [*TRAIN, *settings("fit.updates=2")]
Learn = Callable[[RecallExperiment, Any, Any], int]


def status(stem: Path, seed: int) -> str:
    return str(RunFolder.open(f"{stem}-s{seed}").status["status"])


@pytest.fixture
def before_learning(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], object]], None]:
    """Lets a function of the session be called before each training."""
    learn = RecallExperiment.learn

    def install(call: Callable[[Any], object]) -> None:
        def told(self: RecallExperiment, model: Any, session: Any) -> int:
            call(session)
            return learn(self, model, session)

        monkeypatch.setattr(RecallExperiment, "learn", told)

    return install


def test_each_seed_has_its_folder_and_the_same_command_goes_on(tmp_path: Path, before_learning: Any) -> None:
    stem, learned = tmp_path / "a", []

    def interrupt(session: Any) -> None:
        learned.append(session.seed)
        if learned == [0, 1]:
            with session.stoppable():
                os.kill(os.getpid(), signal.SIGINT)

    before_learning(interrupt)
    ran = run(*SHORT, "--seeds", "3", "--out", stem)
    assert (ran.status, learned) == (130, [0, 1])
    assert "interrupted" in ran.out
    assert (status(stem, 0), status(stem, 1)) == ("finished", "interrupted")
    assert not Path(f"{stem}-s2").exists(), "no other is begun after a signal"

    first = (Path(f"{stem}-s0") / "evaluation.json").read_bytes()
    with pytest.warns(UserWarning, match="starts anew"):  # it was stopped before its first checkpoint
        ran = run(*SHORT, "--seeds", "3", "--out", stem)
    assert (ran.status, learned) == (0, [0, 1, 1, 2])
    assert [status(stem, seed) for seed in range(3)] == ["finished"] * 3
    assert (Path(f"{stem}-s0") / "evaluation.json").read_bytes() == first
    lines = ran.out.splitlines()
    (head,) = (i for i, line in enumerate(lines) if line.startswith("seed  result"))
    for seed, line in enumerate(lines[head + 1 : head + 4]):
        assert re.fullmatch(rf"{seed} +recall [\d.]+ % ± [\d.]+ % +{stem}-s{seed}", line)
    assert lines[head + 4].startswith("mean of 3 seeds: recall ")

    ran = run(*SHORT, "--set", "sequences=11", "--seeds", "3", "--out", stem)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), "refused before anything is trained"
    assert "sequences is 11, expected 10, as in" in ran.err


def test_a_seed_that_fails_leaves_the_others(tmp_path: Path, before_learning: Any) -> None:
    def fail(session: Any) -> None:
        if session.seed == 4:
            raise NonFiniteError("a loss is not finite")

    before_learning(fail)
    ran = run(*SHORT, "--seeds", "4", "7", "--out", tmp_path / "a")
    assert ran.status == 1
    assert "failed: a loss is not finite" in ran.out
    assert (status(tmp_path / "a", 4), status(tmp_path / "a", 7)) == ("failed", "finished")


def test_seeds_side_by_side_give_the_same_and_quiet_prints_folders_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(*SHORT, "--seed", "1", "--out", f"{one}-s1", "--quiet") == (0, f"{one}-s1\n", "")
    ran = run(*SHORT, "--seeds", "2", "--jobs", "2", "--out", two, "--quiet")
    assert (ran.status, sorted(ran.out.split())) == (0, [f"{two}-s0", f"{two}-s1"])
    told = [json.loads((Path(f"{stem}-s1") / "evaluation.json").read_text())["results"][0] for stem in (one, two)]
    assert told[0]["accuracy"] == told[1]["accuracy"]


def test_the_table_of_agents_tells_how_far_they_are_on_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    found = [replace(bandit(), seed=seed, return_mean=6.0 + seed) for seed in (0, 1)]
    tell_seeds([*(Outcome(one.seed, Path(f"a-s{one.seed}"), one) for one in found), Outcome(2, Path("a-s2"))], "a")
    head, *rows, mean, report = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", head) == ["seed", "result", "of the way", "run folder"]
    assert all(" % random to " in row for row in rows[:2])
    assert rows[2].split() == ["2", "interrupted", "a-s2"]
    assert mean.startswith("mean of 2 seeds: return 6.50 ± ")
    assert report.startswith("metarl report a-s*")


def test_verbose_tells_each_row_of_metrics(tmp_path: Path) -> None:
    ran = run(*SHORT, "--out", tmp_path / "a", "--verbose")
    rows = RunFolder(tmp_path / "a").metrics()
    assert [line.split(",")[0] for line in ran.err.splitlines()] == [
        f"sequences {row['sequences']:.0f}" for row in rows
    ]
    assert "validation/accuracy " in ran.err


def test_a_time_limit_that_cut_a_training_is_told_at_the_end_and_in_the_report(tmp_path: Path) -> None:
    ran = run(*TRAIN, *settings("fit.updates=1000", "fit.seconds=0.001"), "--out", tmp_path / "a")
    assert ran.status == 0
    told = "training was ended by fit.seconds = 0.001, before its 1,000 updates"
    assert told in ran.out.splitlines()
    assert run("report", tmp_path / "a").status == 0
    assert told in (tmp_path / "a" / "report.html").read_text()
    assert "ended by" not in run(*SHORT, "--out", tmp_path / "b").out

"""What came of a run: tables in terminals of any width, and JSON."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run, settings
from report_runs import bandit, barcode, made
from rich.console import Console
from test_report_recall import result

from metarl.cli.outcome import print_evaluation
from metarl.data.recall import RECALL_TASKS
from metarl.evaluation.results import RecallEvaluation
from metarl.experiments.recall.candidates import SUITE
from metarl.report.tables import table_of


def recall() -> RecallEvaluation:
    """All memories on all tasks: too wide for most terminals."""
    return RecallEvaluation(results=tuple(result(task, memory, 0.5) for task in RECALL_TASKS for memory in SUITE))


def shown(evaluation: Any, width: int) -> str:
    out = io.StringIO()
    print_evaluation(evaluation, Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue()


@pytest.mark.parametrize("make", [bandit, barcode, recall])
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_table_fits_the_terminal_and_loses_nothing(make: Any, width: int) -> None:
    evaluation = make()
    text, table = shown(evaluation, width), table_of(evaluation)
    assert max(map(len, text.splitlines())) <= width
    joined = " ".join(text.split())
    rows = [row for part in table.parts for row in part.rows]
    assert [cell for row in rows for cell in row[1:] if cell not in joined] == [], "no value is broken or left out"
    words = " ".join([*(row[0] for row in rows), *table.head, *table.notes]).split()
    assert [word for word in words if word not in joined] == [], "words are broken by no line"
    assert "".join(table.title.split()) in "".join(text.split())


def test_columns_stay_columns_where_there_is_room() -> None:
    lines = shown(bandit(), 80).splitlines()
    (line,) = [line for line in lines if "agent (sampled actions)" in line]
    assert line.split()[-3:] == ["85.7", "%", "23"]
    narrow = shown(bandit(), 40)
    assert "random to Gittins 85.7 %" in " ".join(narrow.split()), "each value with the name of its column"


SMALL = ["memory=gru", "fit.parameters=3000", "fit.learning_rates=[1e-3]", "fit.batch=4", "sequences=10"]
TRAIN = ["train", "recall", "--json", *settings(*SMALL, "fit.updates=2")]


def test_a_training_tells_its_outcome_as_one_object(tmp_path: Path) -> None:
    done = run(*TRAIN, "--out", tmp_path / "a")
    assert (done.status, done.out.count("\n")) == (0, 1)
    told = json.loads(done.out)
    assert (told["run"], told["seed"], told["status"], told["signal"]) == (str(tmp_path / "a"), 0, "finished", None)
    assert told["steps"] > 0
    assert told["evaluation"] == json.loads((tmp_path / "a" / "evaluation.json").read_text())


def test_several_trainings_tell_a_line_each_and_why_one_failed(tmp_path: Path) -> None:
    (tmp_path / "b-s1").mkdir()
    (tmp_path / "b-s1" / "something").touch()
    done = run(*TRAIN, "--seeds", "2", "--out", tmp_path / "b")
    assert done.status == 1
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["seed"], row["run"]) for row in rows] == [(seed, f"{tmp_path / 'b'}-s{seed}") for seed in (0, 1)]
    assert [(row["status"], row["evaluation"] is None) for row in rows] == [("finished", False), ("failed", True)]
    assert "b-s1" in rows[1]["error"]


def test_a_report_tells_its_paths(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", played=False, evaluated=False)
    done = run("report", folder.path, "--json")
    told = json.loads(done.out)
    assert told["page"] == str(folder.path / "report.html")
    assert told["runs"] == [str(folder.path)]
    assert [Path(path).name for path in told["images"]] == ["learning.svg"]
    assert "trials.npz" in " ".join(told["missing"])

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from results.pages import BEGIN, END, markdown, render, render_memory, render_omniglot, write_markdown
from results.rows import Row, commit, meets, read, upsert

DOCS = Path(__file__).resolve().parents[3] / "docs"
ROW = Row(
    setting="Bernoulli bandit, 10 arms, 100 pulls",
    method="attention",
    metric="reward per trial",
    ours=82.7,
    se=0.051,
    n_tasks=10_000,
    seeds=(0, 1, 2),
    goal=(82.5, None),
    references={"random": 50.0, "Gittins": 83.56},
    command="metarl train bandit",
    train_seconds=301.4,
    train_steps=5_000_000,
    commit="abc1234",
)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "results.md").write_text(f"# Results\n\nBy hand.\n\n{BEGIN}\n{END}\n\nMore by hand.\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "made"), [("results", render), ("memory", render_memory), ("omniglot", render_omniglot)]
)
def test_the_pages_are_what_the_rows_give(name: str, made: Callable[[Path], str]) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert page == made(DOCS), f"docs/{name}.md is out of date; run `make results`"


def test_a_page_edited_by_hand_is_found_and_made_anew(docs: Path) -> None:
    upsert(docs / "results" / "bandits.json", replace(ROW, ours=82.1))
    page = write_markdown(docs)
    text = page.read_text(encoding="utf-8")
    assert text == render(docs)
    assert text.startswith("# Results\n\nBy hand.\n\n")
    assert text.endswith("\n\nMore by hand.\n")
    page.write_text(text.replace("**short**", "met"), encoding="utf-8")
    assert page.read_text(encoding="utf-8") != render(docs)
    assert write_markdown(docs).read_text(encoding="utf-8") == text


def test_short_rows_are_marked(docs: Path) -> None:
    upsert(docs / "results" / "bandits.json", ROW)
    upsert(docs / "results" / "bandits.json", replace(ROW, method="GRU", ours=82.4999))
    upsert(docs / "results" / "barcode.json", replace(ROW, setting="a|b", goal=(None, None), se=None))
    text = render(docs)
    assert "3 results, 1 short of the goal." in text
    assert text.index("## bandits") < text.index("## barcode")
    lines = {
        line.split(" | ")[2]: line for line in text.splitlines() if line.startswith("| 1 |") or line.startswith("| 2 |")
    }
    assert "**82.5 ± 0.051**" in lines["GRU"]
    assert lines["GRU"].endswith("| **short** |")
    table = markdown([ROW]).splitlines()
    assert table[2] == (
        "| 1 | Bernoulli bandit, 10 arms, 100 pulls | attention | reward per trial | 82.7 ± 0.051 | ≥ 82.5 "
        "| random 50, Gittins 83.56 | 10,000 | 0, 1, 2 | 5,000,000 steps, 301 s | abc1234 | met |"
    )
    assert "a\\|b" in text
    assert "| 82.7 | – |" in text


def test_each_row_has_its_command() -> None:
    rows = [ROW, replace(ROW, method="GRU"), replace(ROW, method="LSTM", command="metarl train\n  lstm")]
    assert markdown(rows).splitlines()[-2:] == ["- rows 1 to 2: `metarl train bandit`", "- row 3: `metarl train lstm`"]


@pytest.mark.parametrize(
    ("goal", "ours", "met"),
    [
        ((82.5, None), 82.5, True),
        ((82.5, None), 82.49, False),
        ((None, 4.5), 4.5, True),
        ((None, 4.5), 4.51, False),
        ((3.9, 4.44), 4.0, True),
        ((3.9, 4.44), 3.8, False),
        ((3.9, 4.44), 4.5, False),
        ((None, None), -1e9, True),
        ((0.0, None), -0.1, False),
    ],
)
def test_a_goal_includes_its_ends(goal: tuple[float | None, float | None], ours: float, met: bool) -> None:
    row = replace(ROW, goal=goal, ours=ours)
    assert meets(row) is met
    assert ("**short**" in markdown([row])) is not met


def test_a_row_is_replaced_in_place_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    first, second, third = (replace(ROW, method=name) for name in "abc")
    for row in (first, second, third):
        upsert(path, row)
    better = replace(second, ours=83.0, commit="def")
    upsert(path, better)
    assert read(path) == [first, better, third]
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]
    assert list(json.loads(path.read_text())[0]) == list(asdict(ROW))


def test_rows_alone_take_out_what_the_same_command_made_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    other, first, second = replace(ROW, command="other"), replace(ROW, method="a"), replace(ROW, method="b")
    upsert(path, other, first, second)
    third, better = replace(ROW, method="c"), replace(second, ours=83.0)
    upsert(path, better, third, alone=True)
    assert read(path) == [other, better, third]


@pytest.mark.parametrize(
    "change",
    [
        {"ours": "82"}, {"ours": True}, {"ours": math.nan}, {"se": -0.1}, {"setting": ""}, {"setting": {"task": "a"}},
        {"method": 3}, {"n_tasks": 1.5}, {"train_steps": -1}, {"train_seconds": math.inf}, {"seeds": 3}, {"seeds": ()},
        {"seeds": (0.5,)}, {"goal": (2.0, 1.0)}, {"goal": (1.0,)}, {"goal": 82.5}, {"goal": ("a", None)},
        {"references": [1]}, {"references": {"a": None}},
    ],
)  # fmt: skip
def test_a_wrong_field_is_an_error_and_nothing_is_written(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(change))):
        upsert(tmp_path / "a.json", replace(ROW, **change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"part": "p", "task": "copy", "sizes": "length=2", "budget": "3 s"}, "p: copy (length=2), 3 s"),
        ({"data": "d", "classes": "upright", "ways": 5, "shots": 1}, "d 5-way 1-shot, upright"),
        (
            {"data": "d", "classes": "upright", "ways": 5, "labels": "letters", "instance": 2},
            "d stream, 5 classes, letters, upright",
        ),
    ],
)
def test_a_setting_of_parts_is_written_as_text(tmp_path: Path, setting: dict[str, Any], text: str) -> None:
    row = replace(ROW, setting=setting)
    assert f"| {text} |" in markdown([row])
    upsert(tmp_path / "a.json", row)
    assert read(tmp_path / "a.json") == [row]


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    good = json.loads(json.dumps(asdict(ROW)))
    lacking = {name: value for name, value in good.items() if name != "se"}
    for content, message in {
        "[": "is damaged",
        "{}": "expected a JSON list",
        "[3]": "row 1",
        json.dumps([good, lacking]): "row 2: se",
        json.dumps([good | {"extra": 1}]): "row 1: .*extra",
        json.dumps([good | {"ours": math.nan}]): "row 1: ours",
        json.dumps([good, good]): "row 2: a row before",
    }.items():
        path.write_text(content)
        with pytest.raises(ValueError, match=f"a.json.*{message}"):
            upsert(path, ROW)
        assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text", [None, "# Results\n", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"]
)
def test_a_page_without_its_markers_is_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "results.md").write_text(text)
    with pytest.raises(ValueError, match="must have the lines"):
        write_markdown(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ([] if text is None else [text])


def test_the_command_line(docs: Path) -> None:
    path = os.pathsep.join(map(str, (DOCS.parent, DOCS.parent / "scripts")))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "results", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})

    upsert(docs / "results" / "bandits.json", ROW)
    good = run(str(docs))
    assert (good.returncode, good.stderr) == (0, "")
    assert "## bandits" in (docs / "results.md").read_text(encoding="utf-8")
    bad = run(str(docs / "results"))
    assert (bad.returncode, len(bad.stderr.splitlines())) == (1, 1)
    assert run().stderr.startswith("usage: ")


def test_the_commit_says_whether_the_code_differs(tmp_path: Path) -> None:
    def git(*command: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", str(tmp_path), *who, *command], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert commit(tmp_path) == "unknown"
    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "--short", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.json").write_text("[]")
    assert commit(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert commit(tmp_path) == f"{head}+dirty"

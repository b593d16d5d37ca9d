import json
import math
import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from results import headlines
from results.pages import BEGIN, END, markdown, render, render_memory, render_omniglot, render_tables, write_markdown
from results.rows import Row, commit, meets, read, upsert

from metarl.runs import provenance

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


def test_the_tables_are_what_the_rows_give_and_no_table_is_left_over() -> None:
    kept = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "results").glob("*.md")}
    assert kept == render_tables(DOCS), "docs/results/ is out of date; run `make results`"


def test_headlines_are_the_rows_that_they_name() -> None:
    tables = {path.stem: read(path) for path in (DOCS / "results").glob("*.json")}
    lost = [one for one in headlines.HEADLINES if one.file in tables and not one.find(tables[one.file])]
    assert not lost, "their rows have other keys now"
    for one in headlines.HEADLINES:
        if found := one.find(tables.get(one.file, ())):
            assert found[1].references.keys() >= set(one.beside)


def test_a_headline_is_read_from_its_row_and_left_out_without_it() -> None:
    first, second = headlines.HEADLINES[:2]
    row = replace(ROW, setting=first.setting, method=first.method, metric=first.metric, ours=82.125)
    made = headlines.markdown({first.file: [ROW, row]})
    assert "82.125" in made
    assert f"[{first.file}, row 2]" in made
    assert second.says not in made
    assert "**82.125**" in headlines.markdown({first.file: [replace(row, goal=(83.0, None))]})
    assert headlines.markdown({first.file: [ROW]}) == headlines.markdown({}) == ""


def test_a_page_edited_by_hand_is_found_and_made_anew(docs: Path) -> None:
    upsert(docs / "results" / "bandits.json", replace(ROW, ours=82.1))
    page = write_markdown(docs)
    text = page.read_text(encoding="utf-8")
    assert text == render(docs)
    assert text.startswith("# Results\n\nBy hand.\n\n")
    assert text.endswith("\n\nMore by hand.\n")
    assert "1 results, 1 short" in text
    table = docs / "results" / "bandits.md"
    rows = table.read_text(encoding="utf-8")
    assert rows.count("**short**") == 1
    page.write_text(text.replace("1 short", "0 short"), encoding="utf-8")
    table.write_text(rows.replace("**short**", "met"), encoding="utf-8")
    assert write_markdown(docs).read_text(encoding="utf-8") == text
    assert table.read_text(encoding="utf-8") == rows


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
    third = replace(third, setting={"part": "p", "task": "copy", "sizes": "length=2", "budget": "3 s"})
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
        json.dumps([good | {"ours": math.nan}]): "ours",
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


def test_the_command_line(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> object:
        monkeypatch.setattr(sys, "argv", ["results", *arguments])
        try:
            runpy.run_module("results", run_name="__main__")
        except SystemExit as end:
            return end.code
        return 0

    upsert(docs / "results" / "bandits.json", ROW)
    assert run(str(docs)) in (0, None)
    assert "(results/bandits.md)" in (docs / "results.md").read_text(encoding="utf-8")
    assert len(str(run(str(docs / "results"))).splitlines()) == 1
    assert str(run()).startswith("usage: ")


def test_what_lies_in_docs_is_no_change_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit(tmp_path) == "unknown"
    asked = list[Any]()
    monkeypatch.setattr(provenance, "commit", lambda root, exclude: asked.append((root, exclude)))
    commit(tmp_path)
    assert asked == [(tmp_path, ["docs"])]

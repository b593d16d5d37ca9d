from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from metarl.bench.candidates import SUITE
from metarl.bench.recall import Cell, Result, Settings
from metarl.report.recall_picture import draw
from metarl.report.results import BEGIN, END, render_memory, upsert, write_markdown
from metarl.report.rows import Row, read
from report_looks import is_readable, looked_at, texts, words

from metarl.data.recall import RECALL_TASKS
from metarl.report import recall_picture
from metarl.report.recall import COMMAND, NAME, PUBLISHED, grid, markdown, place, rows, setting, table

DOCS = Path(__file__).resolve().parents[3] / "docs"


def result(task: str, memory: str, accuracy: float, seed: int = 0, settings: Settings | None = None) -> Result:
    cell = Cell(task, memory, seed, settings or Settings())
    return Result(cell, accuracy, 0.002, 10_000, cell.make_task().chance, accuracy, 40_012, 60, 3e-3, 1500, 12.3 + seed)


@pytest.fixture(scope="module")
def suite() -> list[Row]:
    rng = np.random.default_rng(0)
    made = [result(task, memory, float(rng.uniform(0.05, 1))) for task in RECALL_TASKS for memory in SUITE]
    return rows(made, COMMAND, "abc1234")


def test_a_setting_can_be_read_again() -> None:
    cell = Cell("associative", "gru", settings=Settings(updates=None, seconds=300, target=0.99), sizes={"pairs": 16})
    text = setting("16 pairs", cell)
    assert text == (
        "16 pairs: associative (pairs=16, keys=64, values=16), 40,000 parameters ± 10 %, batches of 64, "
        "300 s or until 99 % of validation answers are right"
    )
    row = rows([result("copy", "gru", 0.5)], COMMAND, "abc")[0]
    assert place(replace(row, setting=text))[:2] == ("16 pairs", "associative")
    assert place(row).budget.startswith("40,000 parameters ± 10 %, batches of 64, 3,000 updates or until 99.9 % ")
    assert setting("a", Cell("copy", "gru", settings=Settings(target=None))).endswith("3,000 updates")
    with pytest.raises(ValueError, match="is none of the recall benchmark's; measure again: python scripts/"):
        place(replace(row, setting="Bernoulli bandit, k=10"))


def test_rows_are_means_over_seeds() -> None:
    made = rows(
        [result("copy", "gru", 0.4), result("copy", "lstm", 0.9), result("copy", "gru", 0.6, seed=3)],
        "a command",
        "abc",
        "a part",
        {"gru": (0.45, None)},
    )
    gru, lstm = made
    assert (gru.method, lstm.method) == ("gru", "lstm")
    assert gru.ours == pytest.approx(0.5)
    assert gru.se == pytest.approx(0.002 / 2**0.5)
    assert (gru.seeds, gru.goal, lstm.goal) == ((0, 3), (0.45, None), (None, None))
    assert (gru.train_seconds, gru.parameters, gru.n_tasks) == (15.3, 40_012, 10_000)
    assert gru.train_steps == 1500 * 64 * 24
    assert gru.references == {"chance": 0.0625}
    assert (gru.command, gru.commit) == ("a command", "abc")


def test_other_settings_are_other_rows() -> None:
    short, long = (result("copy", "gru", 0.4, settings=Settings(updates=n)) for n in (10, 20))
    assert len({row.key for row in rows([short, long], COMMAND, "abc")}) == 2


def test_rows_survive_their_file(tmp_path: Path, suite: list[Row]) -> None:
    for row in suite[:3]:
        upsert(tmp_path / "a.json", row)
    assert read(tmp_path / "a.json") == suite[:3]


def test_the_table_has_every_candidate_and_chance(suite: list[Row]) -> None:
    lines = table(suite)
    assert [line["memory"] for line in lines] == [*SUITE, "chance"]
    assert list(lines[0]) == ["memory", *RECALL_TASKS]
    first = grid(suite).cells["gru", "copy"]
    assert lines[0]["copy"] == f"{100 * first.ours:.1f} ± 0.4 %"
    assert lines[-1]["copy"] == "6.2 %"
    assert table(suite[:-1])[-2]["count"] == "–"


def test_the_page_says_what_is_measured_and_nothing_else(suite: list[Row]) -> None:
    assert markdown([]) == f"Nothing was measured yet: `{COMMAND}` does.\n"
    page = markdown(suite)
    assert page.count("\n| gru |") == 1
    assert "not the same measure" in page
    for _, published in PUBLISHED.values():
        assert published in page
    assert "Short of the goal" not in page
    alone = markdown([row for row in suite if place(row).task == "copy"])
    assert "not the same measure" not in alone


def test_a_part_with_goals_names_those_that_are_short() -> None:
    goals = {"gru": (0.9, None), "lstm": (None, 0.4), "mingru": (None, None)}
    results = [result("copy", "gru", 0.85), result("copy", "lstm", 0.39), result("copy", "mingru", 0.1)]
    page = markdown(rows(results, COMMAND, "abc", "one part", goals))
    assert "**One part**: 40,000 parameters" in page
    assert page.count("Short of the goal: gru.") == 1
    assert "| gru | **85.0 ± 0.4 %** | ≥ 90 % | 12 s | 40,012 |" in page
    assert "| lstm | 39.0 ± 0.4 % | ≤ 40 % | 12 s | 40,012 |" in page
    assert "| mingru | 10.0 ± 0.4 % | – | 12 s | 40,012 |" in page
    assert "All 1 reach their goal." in markdown(rows(results[1:2], COMMAND, "abc", "one part", goals))


def test_the_picture_shows_every_number(suite: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = looked_at(monkeypatch, recall_picture)
    path = draw(suite, tmp_path / "recall.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    (figure,) = seen
    assert is_readable(figure)
    assert {*SUITE, "copy\nchance 6.2", "count\nchance 22.5"} <= words(figure)
    numbers = [text for text in texts(figure) if text.get_text().replace(".", "").isdigit()]
    assert len(numbers) == len(SUITE) * len(RECALL_TASKS)
    best = max((row for row in suite if place(row).task == "copy"), key=lambda row: row.ours)
    bold = {text.get_text() for text in numbers if text.get_fontweight() == "bold"}
    assert f"{100 * best.ours:.1f}" in bold
    assert min(text.get_fontsize() for text in texts(figure)) >= 8


def test_a_picture_of_a_part_of_it(suite: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = looked_at(monkeypatch, recall_picture)
    some = [row for row in suite if row.method in ("gru", "dnc+native") and place(row).task in ("copy", "two_hop")]
    draw(some[:-1], tmp_path / "recall.png")
    assert is_readable(seen[0])
    assert "–" in words(seen[0])


def test_the_page_of_memories_is_what_the_rows_give(tmp_path: Path, suite: list[Row]) -> None:
    page = (DOCS / "memory.md").read_text(encoding="utf-8")
    assert page == render_memory(DOCS), "docs/memory.md is out of date; run `python -m metarl.report.results docs`"
    for name in ("results.md", "memory.md"):
        (tmp_path / name).write_text(f"By hand.\n\n{BEGIN}\n{END}\n")
    upsert(tmp_path / "results" / f"{NAME}.json", suite[0])
    write_markdown(tmp_path)
    made = (tmp_path / "memory.md").read_text(encoding="utf-8")
    assert made == render_memory(tmp_path)
    assert "| gru |" in made
    assert "40,012 parameters" in (tmp_path / "results.md").read_text(encoding="utf-8")
    (tmp_path / "memory.md").write_text("no markers")
    with pytest.raises(ValueError, match=r"memory.md must have the lines"):
        write_markdown(tmp_path)

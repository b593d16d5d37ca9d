"""How many problems are told: each kind of them, in a line that doesn't grow, and all in a file."""

from pathlib import Path

import pytest

from metarl.data.problems import Problem, summary


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def of(kind: str, count: int) -> list[Problem]:
    return [Problem(kind, f"/{kind}/{number}.png", "is bad") for number in range(count)]


def test_few_problems_are_all_shown_and_no_file_is_written(cache: Path) -> None:
    problems = of("empty", 3) + of("damaged", 2)
    told = summary(problems, "folder")
    assert all(one.path in told for one in problems)
    assert ("empty (3)" in told, "damaged (2)" in told) == (True, True)
    assert not cache.exists()


def test_of_thousands_each_kind_is_shown_and_all_are_in_the_file_that_is_named(cache: Path) -> None:
    problems = (
        of("beside", 5000) + of("damaged", 1) + of("link", 30) + [Problem("odd", "/odd\udcff", "/odd\udcff is so")]
    )
    told = summary(problems, "folder")
    for kind, count in (("beside", "5,000"), ("damaged", "1"), ("link", "30")):
        assert f"{kind} ({count})" in told
        assert f"/{kind}/0.png" in told
    assert len(told) < 1000
    (file,) = (cache / "problems").iterdir()
    assert str(file) in told
    rows = [row.split("\t") for row in file.read_text("utf-8", "surrogateescape").splitlines()]
    assert rows == [list(one) for one in problems]
    summary(problems[:100], "folder")
    assert len(file.read_text().splitlines()) == 100, "the file is of the last time"


def test_without_a_place_for_the_file_the_line_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "file" / "cache"))
    told = summary(of("damaged", 50), "folder")
    assert "damaged (50)" in told
    assert str(tmp_path) not in told

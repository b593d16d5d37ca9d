"""Tables of a page that are filled by hand show figures as they were measured last."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from doc_pages import PAGES, ROOT

TABLES = {
    ("scaling.md", "network, processes and link"): "scaling",
    ("scaling.md", "network"): "scaling",
    ("domain.md", "domain"): "domain",
    ("domain.md", "beyond the range"): "control",
    ("long-trials.md", "trial"): "long",
    ("long-trials.md", "preset, and what is longer"): "horizon",
}
"""The file of results behind a table, by its page and the title of its first column."""


def rows(page: str, title: str) -> list[list[str]]:
    """The cells of the only table whose first column has this title, row by row, without titles."""
    (found,) = re.findall(
        rf"^\| {re.escape(title)} \|.*\n\|[-:|]+\n((?:\|.*\n)+)", PAGES[page].read_text("utf-8"), re.MULTILINE
    )
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()]


SPANNING = ("preset, and what is longer",)
"""Tables whose rows are about results of several settings."""


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower().replace(",0", "0")))


def about(results: list[dict[str, Any]], cells: list[str]) -> list[dict[str, Any]]:
    """The results whose setting has most of the words of a row."""
    asked = words(" ".join(cell for cell in cells if re.search("[a-z]", cell)))
    common = [len(asked & words(row["setting"])) for row in results]
    assert max(common) > 0, cells
    return [row for row, count in zip(results, common, strict=True) if count == max(common)]


def measured(results: list[dict[str, Any]]) -> Iterator[float]:
    """All figures of the results; bytes also in thousands, as tables show them."""
    for row in results:
        for what, value in {row["metric"]: row["ours"], **row["references"]}.items():
            yield value
            if what.startswith("bytes"):
                yield value / 1000


@pytest.mark.parametrize(("page", "title"), TABLES)
def test_every_figure_of_a_row_is_one_of_its_results(page: str, title: str) -> None:
    results = json.loads((ROOT / "docs" / "results" / f"{TABLES[page, title]}.json").read_text("utf-8"))
    for name, *cells in rows(page, title):
        there = list(measured(results if title in SPANNING else about(results, [name, *cells])))
        links = {cell for cell in cells if re.search(r"a way", cell)}
        figures = [figure for cell in cells if cell not in links for figure in re.findall(r"-?[\d,]*\.?\d+", cell)]
        assert figures, f"{name} shows nothing"
        for figure in figures:
            digits = len(figure.partition(".")[2])
            value = float(figure.replace(",", ""))
            assert any(f"{value:.{digits}f}" == f"{one:.{digits}f}" for one in there), f"{name}: {figure}"

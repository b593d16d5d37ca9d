"""Tables of a page that are filled by hand show figures as they were measured last."""

import json
import re
from collections.abc import Iterator

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


def measured(name: str) -> Iterator[float]:
    """All figures of the rows; bytes also in thousands, as tables show them."""
    for row in json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text("utf-8")):
        for what, value in {row["metric"]: row["ours"], **row["references"]}.items():
            yield value
            if what.startswith("bytes"):
                yield value / 1000


@pytest.mark.parametrize(("page", "title"), TABLES)
def test_every_figure_of_a_table_is_one_of_the_results(page: str, title: str) -> None:
    there = list(measured(TABLES[page, title]))
    for name, *cells in rows(page, title):
        figures = [figure for cell in cells for figure in re.findall(r"-?[\d,]*\.?\d+", cell)]
        assert figures, f"{name} shows nothing"
        for figure in figures:
            digits = len(figure.partition(".")[2])
            value = float(figure.replace(",", ""))
            assert any(f"{value:.{digits}f}" == f"{one:.{digits}f}" for one in there), f"{name}: {figure}"

"""Names, paths and links in the pages lead somewhere."""

import pkgutil
import re

import pytest
from doc_pages import PAGES, ROOT, WRITTEN, prose, spans


@pytest.mark.parametrize("page", WRITTEN)
def test_names_and_paths_lead_somewhere(page: str) -> None:
    for span in spans(page):
        if re.fullmatch(r"metarl(\.\w+)+", span):
            pkgutil.resolve_name(span)
        if re.fullmatch(r"(metarl|envs|agents|tests|scripts|docs)/[\w./]*", span):
            assert (ROOT / span).exists(), span


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = PAGES[page].parent / path if path else PAGES[page]
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", prose(target.name), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, link

"""What a reader meets first: a name that is not ours alone, a version, and a picture that a script draws."""

import re
import runpy
import tomllib

import pytest
from doc_pages import PAGES, ROOT

import metarl
from metarl.types import Boundary


@pytest.mark.parametrize("page", PAGES)
def test_no_page_sends_to_the_other_metarl(page: str) -> None:
    """The package index has another project under this name."""
    assert not re.search(r"pip3? install (?:-\S+ )*['\"]?metarl(?!-memory)\b", PAGES[page].read_text(encoding="utf-8"))


def test_all_tell_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (cited,) = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    newest = re.findall(r"^## \[([^]]+)]", PAGES["CHANGELOG.md"].read_text(encoding="utf-8"), re.MULTILINE)
    if newest[0] == "Unreleased":
        del newest[0]
    assert metarl.__version__ == project["version"] == cited == newest[0]


def test_the_picture_is_drawn_by_its_script() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "reproduce" / "draw_concepts.py"))
    assert script["PICTURE"].is_file()
    figure = script["draw"]()
    shown = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(boundary.name in shown for boundary in Boundary)

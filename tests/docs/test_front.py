"""What a reader meets first: a name that is not ours alone, and a picture that a script draws."""

import re
import runpy
from pathlib import Path

import pytest

from metarl.types import Boundary

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_no_page_sends_to_the_other_metarl(page: Path) -> None:
    """The package index has another project under this name."""
    assert not re.search(r"pip3? install (?:-\S+ )*['\"]?metarl(?!-memory)\b", page.read_text(encoding="utf-8"))


def test_the_picture_is_drawn_by_its_script() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "reproduce" / "draw_concepts.py"))
    assert script["PICTURE"].is_file()
    figure = script["draw"]()
    shown = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(boundary.name in shown for boundary in Boundary)

from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from report_looks import is_readable

from metarl.files import replacing
from metarl.report import canvas

BLANK = '<svg viewBox="0 0 1 1" data-shown="{&quot;words&quot;: [], &quot;series&quot;: []}"></svg>'


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that a test saves; each has to be readable."""
    seen: list[Figure] = []
    save = canvas.save

    def look_and_save(figure: Figure, path: Path) -> Path:
        seen.append(figure)
        return save(figure, path)

    monkeypatch.setattr(canvas, "save", look_and_save)
    yield seen
    assert all(is_readable(figure) for figure in seen)


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are files without a picture, in tests that look at none: most of the time goes into their pixels."""

    def save(figure: Figure, path: str | Path) -> Path:
        with replacing(Path(path)) as temporary:
            temporary.write_text(BLANK)
        return Path(path)

    monkeypatch.setattr(canvas, "save", save)

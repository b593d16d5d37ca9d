from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from report_looks import is_readable

from metarl.report import canvas


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

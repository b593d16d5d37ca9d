"""The reference page is what the code says, and tells of every file and number that a run leaves behind."""

import json
from pathlib import Path
from typing import Any

import pytest
import reference

import metarl

SMALL: dict[str, dict[str, Any]] = {
    "recall": {"memory": "gru", "fit.parameters": 3000, "fit.updates": 2, "fit.learning_rates": [1e-3], "sequences": 9},
    "prototypical": {
        "data.source": "glyphs",
        "data.rotations": False,
        "fit.updates": 1,
        "threads": 1,
        "train.ways": 4,
        "classifier.encoder.width": 8,
        "eval.episodes": 2,
        "eval.validation": [4, 1],
        "eval.validation_episodes": 2,
        "eval.cells": [[4, 1]],
    },
}


def test_the_generated_files_are_up_to_date() -> None:
    """If this fails: make reference."""
    for path, text in reference.render().items():
        assert path.read_text(encoding="utf-8") == text, path.name


@pytest.mark.parametrize("preset", SMALL)
def test_what_a_run_leaves_behind_is_on_the_page(preset: str, tmp_path: Path) -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    metarl.train(preset, settings=SMALL[preset], folder=tmp_path / "run", quiet=True)
    for path in (tmp_path / "run").iterdir():
        assert f"`{path.name}{'/' * path.is_dir()}`" in page
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows
    for name in {name for row in rows for name in row}:
        assert f"`{name}`" in page

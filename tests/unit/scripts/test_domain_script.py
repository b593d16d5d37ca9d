"""scripts/applications/domain.py at toy size, on drawn glyphs: every method answers, and every row is kept."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from draw_fonts import MissingFonts
from results.rows import Row
from script_toys import REPRODUCE, SCRIPTS, load

from metarl.config import InputError
from metarl.data.digits import drawn_side
from metarl.data.pool import Glyphs
from metarl.data.shifts import Shift
from metarl.experiments.fewshot.options import EpisodeShape
from metarl.experiments.presets import load_experiment
from metarl.fewshot import FewShotClassifier

HERE = SCRIPTS / "applications"


def test_every_method_meets_every_domain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len((HERE / "domain.py").read_text().splitlines()) <= 120
    monkeypatch.syspath_prepend(str(REPRODUCE))
    adaptors = load(HERE / "adaptors.py", monkeypatch)
    pictures = load(HERE / "pictures.py", monkeypatch)
    module = load(HERE / "domain.py", monkeypatch)
    rows: list[Row] = []
    monkeypatch.setattr(adaptors, "KNOWN", [Shift(), Shift(rotation=40), Shift(inverted=True)])
    monkeypatch.setattr(adaptors, "UPDATES", 2)
    shifts = ("rotated by 45 degrees", "with noise", "ink and paper inverted")
    monkeypatch.setattr(module, "SHIFTS", {name: module.SHIFTS[name] for name in shifts})
    fakes: dict[str, Any] = {
        "Omniglot": lambda split, folder: Glyphs(split, 40, 6),
        "train": lambda *_: [SimpleNamespace(train_seconds=1.0, train_steps=3, parameters=4)] * 2,
        "open_run": lambda run: SimpleNamespace(model=toy(int(str(run)[-1]))),
        "trained_at": lambda *_: "c",
        "save": lambda _, *made: rows.extend(made),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(module, name, fake)
    monkeypatch.setattr(pictures, "printed", lambda side: Glyphs("test", 40, 10))
    monkeypatch.setattr(pictures, "fashion", missing)
    monkeypatch.setattr(sys, "argv", ["domain.py", "--seeds", "0", "1", "--episodes", "4", "--out", str(tmp_path)])
    module.main()
    assert "skipped: Fashion-MNIST: no clothes" in capsys.readouterr().out
    assert len({row.key for row in rows}) == len(rows)
    methods, written = 6 + len(adaptors.STEPS), 5 + len(adaptors.STEPS)
    assert len(rows) == methods + 3 * (methods + 3) + written + 6 * methods
    assert all(0 <= row.ours <= 100 and row.seeds == (0, 1) for row in rows if row.metric == "accuracy %")
    assert {row.goal[0] for row in rows} == {None, 75.0, 80.0, 91.0}
    assert {row.method for row in rows if row.flags == "transductive"} == set(adaptors.TRANSDUCTIVE)
    inverted = {row.method: row.ours for row in rows if "inverted" in row.where}
    upright = {row.method: row.ours for row in rows if "upright" in row.where}
    assert inverted[adaptors.UNDONE] == pytest.approx(upright[adaptors.ANEW]), "what loses nothing is undone exactly"


def missing() -> None:
    raise InputError("no clothes", key="folder")


def toy(seed: int) -> FewShotClassifier:
    """The preset's learner as it starts, with a smaller net."""
    experiment = load_experiment("domain")
    torch.manual_seed(seed)
    options = dict(vars(experiment.classifier))  # type: ignore[attr-defined]  # a few-shot experiment has one
    del options["members"]
    net = {"net": "strided", "width": 8, "norm": "running", "embedding_size": 0}
    return FewShotClassifier((28, 28), 60, **{**options, "encoder": net}).eval()


def test_what_is_won_back_is_a_share_of_what_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPRODUCE))
    module = load(HERE / "adaptors.py", monkeypatch)
    rng = np.random.default_rng(0)
    before = rng.uniform(80, 100, (1, 400))
    after = before - 20 + rng.normal(0, 1, before.shape)
    share, error = module.won_back(before, after, after + 0.75 * (before - after))
    assert (share, error) == (pytest.approx(75), pytest.approx(0, abs=1e-9))
    share, error = module.won_back(before, after, after + 15 + rng.normal(0, 4, before.shape))
    assert error == pytest.approx(100 * 4 / 20 / 20, rel=0.2)
    assert abs(share - 75) < 3 * error


def test_raw_pixels_are_compared_with_the_mean_of_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPRODUCE))
    module = load(HERE / "adaptors.py", monkeypatch)
    monkeypatch.setattr(module, "KNOWN", [Shift(), Shift(inverted=True)])
    monkeypatch.setattr(module, "UPDATES", 1)
    pool, shape = Glyphs("test", 40, 6), EpisodeShape(5, 2, 2)
    found = module.Adaptors(toy(0), Glyphs("train", 30, 6), 0).accuracies(pool, shape, 6)
    episodes = shape.sample(pool, module.evaluation_rng(shape, 0), 6, "one_hot")
    means = np.stack(
        [[x[y == k].mean(0) for k in range(5)] for x, y in zip(episodes.support_x, episodes.support_y, strict=True)]
    )
    nearest = np.square(episodes.query_x[:, :, None].astype(float) - means[:, None]).sum((-1, -2)).argmin(-1)
    np.testing.assert_allclose(found[module.PIXELS], (nearest == episodes.query_y).mean(1))


def test_printed_characters_are_as_large_as_drawn_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(HERE / "pictures.py", monkeypatch)
    try:
        pool = module.printed(18, every=40)
    except MissingFonts as error:
        pytest.skip(str(error))
    assert pool.shape == (28, 28)
    assert pool.classes == len(module.CHARACTERS)
    assert abs(drawn_side(pool.flat) - 18) <= 1
    ink = pool.flat.reshape(len(pool.flat), -1)
    assert ink.max(1).min() > 127, "a picture without ink"

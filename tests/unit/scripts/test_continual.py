"""The script of continual learning at toy size, with drawn glyphs in place of Omniglot and pixels as embeddings."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.data.pool import Glyphs
from metarl.nets.images import EncoderOptions, ImageEncoder

APPLICATIONS = Path(__file__).resolve().parents[3] / "scripts" / "applications"


@pytest.fixture(scope="module")
def learner() -> FewShotClassifier:
    access = {"kernel": "euclidean", "temperature": 0.1, "empty_slot": False}
    memory = {"access_options": access}
    encoder = {"net": "flat", "embedding_size": 0}
    return FewShotClassifier((28, 28), 5, memory, readout="mean_votes", encoder=encoder).eval()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(APPLICATIONS)
    before = list(sys.path)
    yield importlib.import_module("continual")
    sys.path[:] = before


def test_the_script_writes_its_rows_and_its_picture(
    script: Any, learner: FewShotClassifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept: list[Any] = []
    trained = SimpleNamespace(train_seconds=1.0, train_steps=1, parameters=1)
    for name, value in {
        "COUNTS": [4, 8],
        "ROOT": tmp_path,
        "train": lambda *args: [trained],
        "trained_at": lambda run: "abc",
        "open_run": lambda run: SimpleNamespace(model=learner),
        "Omniglot": lambda split, **options: Glyphs(split, 10),
        "save": lambda name, *rows: kept.extend(rows),
    }.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(sys, "argv", ["continual.py", "--orders", "2"])
    (tmp_path / "docs" / "images").mkdir(parents=True)
    script.main()
    assert (tmp_path / "docs" / "images" / "continual.png").stat().st_size > 10_000
    got = {(row.n_tasks, row.method, row.metric): row.ours for row in kept}
    assert len(got) == len(kept)
    accuracy = {method: got[8, method, "accuracy %"] for count, method, _ in got if count == 8}
    assert accuracy["memory, nearest, half bytes"] == accuracy["nearest class mean, half bytes"], (
        "a slot for each class"
    )
    assert accuracy["memory, oldest, full bytes"] < 40 < accuracy["memory, nearest, full bytes"]
    assert accuracy["memory, nearest, quarter bytes"] <= 50, "where half of the classes have a slot"
    assert accuracy["memory, nearest, quarter bytes, float16"] > 50
    assert accuracy["linear layer, SGD"] < accuracy["linear layer, SGD, order shuffled"]
    assert accuracy["whole net, SGD"] < accuracy["whole net, SGD, order shuffled"]
    above = got[8, "memory, nearest, full bytes", script.ABOVE]
    assert above == pytest.approx(accuracy["memory, nearest, full bytes"] - accuracy["nearest class mean, full bytes"])
    assert got[8, "memory, nearest, full bytes", f"{script.ABOVE}, lower end of 95 %"] <= above


def test_streams_show_each_image_once_and_ask_about_others(script: Any) -> None:
    streams = importlib.import_module("streams")
    pool = Glyphs("test", 10)
    chosen, shown, held = streams.orders(pool, 6, 5, 3)
    assert chosen.shape == (3, 6)
    assert shown.shape == (3, 6, 15)
    for row in range(3):
        every = np.concatenate([shown[row].ravel(), held[row].ravel()])
        assert len(np.unique(every)) == 120
        assert (np.concatenate([shown[row], held[row]], 1) // 20 == chosen[row][:, None]).all()
    met = streams.streams(torch.arange(200.0)[:, None], shown, held, [2, 6])
    assert met.steps == {2: 30, 6: 90}
    assert torch.equal(met.shown[1, 30:45, 0], torch.from_numpy(shown[1, 2]).float())
    assert met.labels[1, 30:45].tolist() == [2] * 15
    mixed = met.shuffled()
    pairs = {(float(x), int(y)) for x, y in zip(mixed.shown[0, :, 0], mixed.labels[0], strict=True)}
    assert pairs == {(float(x), int(y)) for x, y in zip(met.shown[0, :, 0], met.labels[0], strict=True)}
    assert mixed.labels[0].diff().abs().sum() > 20


def test_rivals_answer_as_they_are_defined(script: Any) -> None:
    streams = importlib.import_module("streams")
    shown = torch.tensor([[[0.0], [1.0], [4.0], [6.0], [20.0], [22.0]]])
    labels = torch.tensor([[0, 0, 1, 1, 2, 2]])
    asked = torch.tensor([[[[0.4]], [[2.4]], [[19.0]]]])
    met = streams.Streams(shown, labels, asked, {3: 6})
    assert streams.nearest_mean(met, 10**3)[3][0, :, 0].tolist() == [True, False, True]  # 2.4 is nearer to 0.5 than 5
    assert streams.nearest_mean(met, 16)[3][0, :, 0].tolist() == [False, True, True], "room for the last two classes"
    assert streams.neighbours(met, 1)[3][0, :, 0].tolist() == [True, False, True]
    assert streams.neighbours(met, 3)[3][0, :, 0].tolist() == [True, False, True]
    learned = streams.tuned(
        streams.Streams(torch.eye(3)[None], torch.arange(3)[None], torch.eye(3)[None, :, None], {3: 3}), 1.0
    )
    assert learned[3].all()


def test_a_whole_net_is_tuned_as_its_last_layer_is_and_forgets(script: Any, learner: FewShotClassifier) -> None:
    streams = importlib.import_module("streams")
    pool = Glyphs("test", 8)
    _, shown, held = streams.orders(pool, 6, 5, 1)
    images = streams.streams(torch.from_numpy(pool.flat / np.float32(255)), shown, held, [2, 6])
    alone = streams.finetuned(learner.encoder, images, 0.03)  # an encoder without parameters: the last layer alone
    last = streams.tuned(replace(images, shown=images.shown.flatten(2), asked=images.asked.flatten(3)), 0.03)
    assert {n: right.tolist() for n, right in alone.items()} == {n: right.tolist() for n, right in last.items()}
    torch.manual_seed(0)
    encoder = ImageEncoder((28, 28), EncoderOptions(net="strided", width=8, norm="running", views=True))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    met = streams.finetuned(encoder, images, 0.1)
    assert met[6][0, -1].mean() > met[6][0, :-1].mean(), "the last class is known best"
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items()), "of a copy"

"""Sources and learners from their options: what a picture is, which classes there are, what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_toys import LEARNERS, toy
from PIL import Image

from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.agents.fewshot.gradient import MAML
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.config import ConfigError
from metarl.data.distort import Distorted
from metarl.data.pool import Glyphs, Pool
from metarl.experiments.fewshot.build import described, make_learner, make_source, training_source
from metarl.experiments.fewshot.options import DataOptions

GLYPHS = DataOptions(source="glyphs")


def source_of(experiment: Any) -> Any:
    return training_source(experiment.data, experiment.train)


def test_glyphs_are_those_of_their_split() -> None:
    assert np.array_equal(make_source(GLYPHS, "test", rotations=False).examples, Glyphs("test").examples)


def test_turned_glyphs_are_classes_of_their_own_and_never_meet_in_an_episode() -> None:
    upright = make_source(GLYPHS, "validation", rotations=False).examples
    turned = make_source(GLYPHS, "validation", rotations=True)
    count = len(upright)
    assert turned.classes == 4 * count
    for turn in range(4):
        assert np.array_equal(turned.examples[turn * count + 3, 5], np.rot90(upright[3, 5], turn))
    glyph = {picture.tobytes(): number % count for number, picture in enumerate(turned.examples[:, 0])}
    drawn = turned.draw(np.random.default_rng(0), 40, 20, turned.examples.shape[1]).reshape(40, 20, -1, 28 * 28)
    for episode in drawn:
        met = [glyph[p.tobytes()] for shown in episode for p in shown if p.tobytes() in glyph]
        assert len(set(met)) == 20


def test_with_trainval_training_draws_from_train_and_validation_classes_and_no_others() -> None:
    source = source_of(toy("classifier", "data.trainval=true", "data.rotations=false"))
    assert isinstance(source, Pool)
    both = [make_source(GLYPHS, split, rotations=False).examples for split in ("train", "validation")]
    assert np.array_equal(source.examples, np.concatenate(both))


def test_glyphs_come_in_other_sizes_by_area() -> None:
    small = make_source(replace(GLYPHS, size=14), "train", rotations=False)
    assert small.shape == (14, 14)
    assert small.examples.dtype == np.uint8
    area = Glyphs("train").examples[7, 3].reshape(14, 2, 14, 2).mean((1, 3))
    assert np.abs(small.examples[7, 3] - area).max() <= 1


def test_images_of_a_folder_keep_their_colours_if_told(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"class{number}").mkdir()
        for example in range(2):
            colours = np.zeros((9, 9, 3), np.uint8)
            colours[number + 1 :, example:] = 200
            Image.fromarray(colours).save(tmp_path / f"class{number}" / f"{example}.png")
    data = DataOptions(source="images", folder=str(tmp_path), size=8)
    assert make_source(data, "train", rotations=False).shape == (8, 8)
    coloured = make_source(replace(data, colour=True), "train", rotations=True)
    assert coloured.shape == (8, 8, 3)
    assert coloured.classes == 8, "of two classes, and their turns"
    assert described(data) == f"images of {tmp_path}"


def test_auto_draws_nothing_before_it_is_known_what_it_is() -> None:
    with pytest.raises(ConfigError, match="auto"):
        make_source(DataOptions(), "train", rotations=False)


def test_distortion_is_of_training_alone() -> None:
    source = source_of(toy("classifier", "train.distortion.rotation=20"))
    assert isinstance(source, Distorted)
    drawn = source.draw(np.random.default_rng(0), 2, 3, 4)
    assert drawn.shape == (2, 3, 4, 28, 28)
    known = {picture.tobytes() for picture in Glyphs("train").examples.reshape(-1, 28, 28)}
    assert not known & {picture.tobytes() for picture in drawn.reshape(-1, 28, 28)}
    assert not isinstance(source_of(toy("classifier")), Distorted)
    assert isinstance(source_of(toy("classifier", "train.class_distortion.mirror=1")), Distorted)


KINDS = {"classifier": FewShotClassifier, "stream": StreamClassifier, "gradient": MAML}


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_learner_hangs_on_its_seed_and_on_no_global_generator(kind: str) -> None:
    experiment = toy(kind)
    before = torch.random.get_rng_state()
    one = make_learner(experiment, seed=1)
    torch.rand(3)
    after = torch.random.get_rng_state()
    again, other = make_learner(experiment, seed=1), make_learner(experiment, seed=2)
    assert torch.equal(torch.random.get_rng_state(), after)
    assert not torch.equal(before, after)
    assert isinstance(one, KINDS[kind])
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        ("classifier", "classifier.memory.store=epsodic", "memory.store is 'epsodic', expected one of episodic"),
        ("classifier", "classifier.memory.store=none", "memory.store is 'none'"),
        ("classifier", "transductive=true", "encoder.norm is 'running', .* transductive"),
        ("stream", "stream.encoder.norm=batch", "encoder.norm is 'batch'"),
        ("stream", "stream.memory.controller=rnn", "expected one of feedforward, gru, lstm"),
    ],
)
def test_parts_that_do_not_fit_are_refused(kind: str, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_learner(toy(kind, setting), seed=0)


def test_transduction_lets_queries_see_each_other() -> None:
    """Trap 27."""
    source = make_source(GLYPHS, "test", rotations=False)
    support_x, support_y, query_x, _ = source.sample(np.random.default_rng(0), 2, 4, 1, 2)

    def alone_is_together(kind: str, *settings: str) -> bool:
        learner = make_learner(toy(kind, *settings), seed=0).eval()
        with torch.no_grad():
            together: Any = learner(support_x, support_y, query_x)
            alone = [learner(support_x, support_y, query_x[:, i : i + 1]) for i in range(query_x.shape[1])]
        assert learner.transductive is ("transductive=true" in settings)
        return torch.allclose(torch.cat(alone, 1), together, rtol=1e-3, atol=1e-4)

    batch = "classifier.encoder.norm=batch"
    assert alone_is_together("classifier")
    assert alone_is_together("classifier", batch)
    assert not alone_is_together("classifier", batch, "transductive=true")
    assert alone_is_together("gradient")
    assert not alone_is_together("gradient", "transductive=true")

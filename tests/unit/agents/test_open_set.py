"""Unknown classes: the scores, their calibration, and what a learner says with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_toys import SIDE, classifier, gradient, stream

from metarl.agents.fewshot import open_set
from metarl.agents.fewshot.learner import alone
from metarl.agents.fewshot.open_set import OpenSet, scores
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.config import InputError
from metarl.data.pictures import Reading
from metarl.functional.stats import auroc, logistic_fit
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")

PIXELS: dict[str, Any] = {
    "readout": "mean_votes",
    "memory": {"access_options": {"kernel": "euclidean", "empty_slot": False}},
    "encoder": {"net": "flat", "embedding_size": 0},
}
"""The pixels themselves are compared."""


def classes(count: int, each: int = 8, noise: float = 20.0, seed: int = 0) -> np.ndarray:
    """Images that differ much between classes and little within them."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (count, 1, SIDE, SIDE))
    return (centres + rng.normal(0, noise, (count, each, SIDE, SIDE))).clip(0, 255).astype(np.uint8)


def by_name(images: np.ndarray) -> dict[str, list[np.ndarray]]:
    return {f"class {number}": list(some) for number, some in enumerate(images)}


PLENTY = by_name(classes(12, each=7))


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, 40).astype(float), rng.integers(2, 12, 30).astype(float)
    pairs = (one[:, None] > other) + 0.5 * (one[:, None] == other)
    assert auroc(one, other) == pytest.approx(pairs.mean())
    assert auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1


def test_a_logistic_fit_finds_what_probabilities_were_made_by() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(3, [10, 0.1], (4000, 2)), np.full((4000, 1), 7.0)], 1)
    p = 1 / (1 + np.exp(-(0.1 * x[:, 0] - 12 * x[:, 1] + 36)))
    weights, bias = logistic_fit(x, p, ridge=1e-9)
    assert weights == pytest.approx([0.1, -12, 0], abs=1e-3)
    assert bias == pytest.approx(36, abs=1e-2)
    separable, _ = logistic_fit(np.array([[0.0], [1.0]]), np.array([0.0, 1.0]))
    assert np.isfinite(separable).all()


def test_scores_see_how_far_the_nearest_class_is() -> None:
    support, labels = torch.tensor([[0.0, 0], [2, 0], [9, 9]]), torch.tensor([0, 0, 1])
    found = scores(torch.tensor([[0.0, -3], [0, -3]]), labels, support, torch.tensor([[1.0, 1], [1, 4]]))
    assert np.exp(found[:, 2]) == pytest.approx([1 / 2 / 1.5, 16 / 2 / 1.5], rel=1e-5)
    assert found[0, 3] > found[1, 3], "the second nearest is further, relative to the nearest"
    assert found[:, 1] == pytest.approx(np.log(2))


def test_unknown_classes_are_told_where_classes_lie_apart() -> None:
    learner = TrainedLearner(classifier(**PIXELS).eval(), Reading(SIDE))
    learned = learner.calibrate(by_name(classes(30)))
    assert learned.auroc > 0.98
    assert learner.open_set is learned
    fresh = classes(8, seed=1)
    learner.remember(by_name(fresh[:4, :2]))
    known, unknown = (learner.predict(list(part.reshape(-1, SIDE, SIDE))) for part in (fresh[:4, 2:], fresh[4:, 2:]))
    assert min(answer.known or 0 for answer in known) > max(answer.known or 0 for answer in unknown)
    assert not any(answer.unknown for answer in known)
    assert all(answer.unknown for answer in unknown)


def test_what_does_not_tell_classes_apart_is_not_sure_of_unknown_ones() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 8, SIDE, SIDE), dtype=np.uint8)
    learner = TrainedLearner(classifier(**PIXELS).eval(), Reading(SIDE))
    assert learner.calibrate(by_name(noise)).auroc < 0.65
    learner.remember(by_name(noise[:3, :1]))
    assert all(0.2 < (answer.known or 0) < 0.8 for answer in learner.predict(list(noise[3:, 0])))


@pytest.mark.parametrize("make", [classifier, stream, gradient, lambda: gradient(name="anil-prototypes")])
def test_learners_of_every_kind_are_calibrated_as_their_weights_allow(make: Any) -> None:
    learner = TrainedLearner(make().eval(), Reading(SIDE))
    first = learner.calibrate(by_name(classes(9)))
    assert 0 <= first.auroc <= 1
    assert learner.calibrate(by_name(classes(9))) == first, "the same seed, the same result"
    learner.remember(by_name(classes(3)))
    (answer,) = learner.predict(classes(4)[3, 0])
    assert answer.known is not None
    assert answer.unknown is (answer.known < first.threshold)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """The ways and shots of the episodes of a calibration."""
    seen: set[tuple[int, int]] = set()
    drawn = open_set._episode

    def noted(learner: Any, pool: Any, rng: Any, ways: int, shots: int, embedded: bool) -> Any:
        seen.add((ways, shots))
        return drawn(learner, pool, rng, ways, shots, embedded)

    monkeypatch.setattr(open_set, "_episode", noted)
    return seen


@pytest.mark.parametrize("small", [1, 2, 5])
def test_a_class_that_is_too_small_for_some_episodes_is_left_out_of_these(small: int, sizes: Any) -> None:
    learner = TrainedLearner(classifier(**PIXELS).eval(), Reading(SIDE))
    images = by_name(classes(12, each=7))
    learner.calibrate(images)
    equal = set(sizes)
    sizes.clear()
    images["class 4"] = images["class 4"][:small]
    learner.calibrate(images)
    assert {shots for _, shots in sizes} == {shots for _, shots in equal} == {1, 5}
    assert max(ways for ways, shots in sizes if shots == 1) == (5 if small == 1 else 6)
    assert max(ways for ways, shots in sizes if shots == 5) == 5


def test_as_many_shots_are_drawn_as_half_of_the_classes_allow(sizes: Any) -> None:
    learner = TrainedLearner(classifier(**PIXELS).eval(), Reading(SIDE))
    learner.calibrate({name: some[: 7 if number < 4 else 4] for number, (name, some) in enumerate(PLENTY.items())})
    assert {shots for _, shots in sizes} == {1, 3}
    sizes.clear()
    learner.calibrate({name: some[: 7 if number < 3 else 1] for number, (name, some) in enumerate(PLENTY.items())})
    assert {shots for _, shots in sizes} == {1, 5}, "what has one image doesn't count"


def test_too_few_classes_are_refused() -> None:
    learner = TrainedLearner(classifier(**PIXELS).eval(), Reading(SIDE))
    of_one = {name: some[: 8 if number < 2 else 1] for number, (name, some) in enumerate(by_name(classes(5)).items())}
    for few in (by_name(classes(2)), by_name(classes(5, each=1)), of_one):
        with pytest.raises(InputError, match="calibrate by"):
            learner.calibrate(few)
    assert learner.open_set is None
    with pytest.raises(InputError, match="weights of open_set is 1"):
        OpenSet((1.0,), 0.0, 0.5, 0.9).known(np.zeros((2, 3)))
    with pytest.raises(InputError, match="threshold"):
        OpenSet((1.0,), 0.0, 1.5, 0.9)


def test_a_calibration_is_kept_with_the_memory(tmp_path: Path) -> None:
    learner = TrainedLearner(classifier(**PIXELS).eval(), Reading(SIDE))
    learner.calibrate(by_name(classes(9)))
    alone_in_it = learner.save_memory(tmp_path / "calibration.zip")
    learner.remember(by_name(classes(3)))
    whole = learner.save_memory(tmp_path / "memory.zip")
    again = TrainedLearner(learner.learner, Reading(SIDE))
    again.load_memory(whole)
    assert again.open_set == learner.open_set
    assert again.predict(classes(4)[3, 0]) == learner.predict(classes(4)[3, 0])
    other = TrainedLearner(learner.learner, Reading(SIDE))
    other.load_memory(alone_in_it)
    assert (other.open_set, other.classes) == (learner.open_set, {})
    other.load_memory(again.save_memory(whole))
    assert other.open_set == learner.open_set, "also after it was loaded and saved"


def test_a_memory_without_a_calibration_leaves_that_of_the_learner(tmp_path: Path) -> None:
    learner = TrainedLearner(classifier(**PIXELS).eval(), Reading(SIDE))
    learner.remember(by_name(classes(3)))
    path = learner.save_memory(tmp_path / "memory.zip")
    learned = learner.calibrate(by_name(classes(9)))
    learner.load_memory(path)
    assert learner.open_set == learned
    of_run = TrainedLearner(learner.learner, Reading(SIDE))
    of_run.learner.open_set = of_run.open_set = learned
    assert "open_set" not in read_checkpoint(of_run.save_memory(path))[0], "the run has it already"


def test_the_calibration_of_another_learner_is_left_out(tmp_path: Path) -> None:
    learner, other = (TrainedLearner(classifier().eval(), Reading(SIDE)) for _ in range(2))
    learner.calibrate(by_name(classes(9)))
    learner.remember(by_name(classes(3)))
    path = learner.save_memory(tmp_path / "memory.zip")
    with pytest.warns(UserWarning, match="calibrate"):
        other.load_memory(path)
    assert (other.open_set, other.classes) == (None, learner.classes)
    meta, groups = read_checkpoint(path)
    for wrong in ({"open_set": {**meta["open_set"], "threshold": 2}}, {"open_set": []}, {"learner": 3}):
        bad = write_checkpoint(tmp_path / "bad.zip", {**meta, **wrong}, groups)
        with pytest.raises(CheckpointError, match="damaged"):
            learner.load_memory(bad)


def test_without_a_calibration_nothing_is_said_of_unknown_classes() -> None:
    learner = TrainedLearner(classifier(**PIXELS).eval(), Reading(SIDE))
    learner.remember(by_name(classes(2)))
    assert learner.predict(classes(3)[2, 0])[0][3:] == (None, None)


def test_a_transductive_learner_answers_alone_within_and_together_after() -> None:
    learner = gradient(name="maml-prototypes").eval()
    learner.transductive = True
    with alone(learner):
        assert learner.transductive is False
    assert learner.transductive is True

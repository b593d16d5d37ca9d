"""Learners whose memory has a fixed size: what they hold, answer and refuse, and their files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_toys import IMAGES, SIDE, classifier, gradient

from metarl.agents.fewshot.bounded import LARGEST_LABEL, BoundedMemory
from metarl.agents.fewshot.bounded_learner import BoundedLearner
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.config import InputError
from metarl.data.pictures import Reading
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")

VOTES = {"readout": "votes", "memory": {"access_options": {"kernel": "euclidean", "empty_slot": False}}}
SHOWN = {f"{number}": list(IMAGES[number, :3]) for number in range(6)}


def tool(**options: Any) -> TrainedLearner:
    torch.manual_seed(0)  # the same weights each time
    return TrainedLearner(classifier(**VOTES | options).eval(), Reading(SIDE))


def of_slots(slots: int, **options: Any) -> BoundedLearner:
    trained = tool()
    return trained.within(slots * BoundedMemory(trained.learner, 10**6, **options).slot_bytes, **options)


@pytest.mark.parametrize("readout", ["votes", "mean_votes"])
@pytest.mark.parametrize("replace", ["oldest", "random", "nearest"])
def test_with_room_for_all_it_answers_as_the_learner_that_keeps_images(replace: Any, readout: str) -> None:
    trained = tool(readout=readout)
    bounded = trained.within(10**6, replace=replace)
    trained.remember(SHOWN)
    for name, images in SHOWN.items():
        bounded.remember({name: images})
    assert bounded.classes == trained.classes
    for one, other in zip(bounded.predict(list(IMAGES[:, 3])), trained.predict(list(IMAGES[:, 3])), strict=True):
        assert one.name == other.name
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_class_means_are_those_of_all_images_while_each_class_has_a_slot() -> None:
    trained = tool(readout="mean_votes")
    bounded = trained.within(8 * of_slots(1).memory.slot_bytes)
    for learner in (trained, bounded):
        learner.remember(SHOWN)
    assert sum(bounded.classes.values()) == 8
    for one, other in zip(bounded.predict(list(IMAGES[:, 3])), trained.predict(list(IMAGES[:, 3])), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_it_never_takes_more_bytes_and_forgets_by_its_rule() -> None:
    left = {}
    for replace in ("oldest", "least_used", "random", "balanced", "nearest"):
        learner = of_slots(8, replace=replace)
        before = learner.memory.nbytes
        learner.remember(SHOWN)
        assert learner.memory.nbytes == before == 8 * learner.memory.slot_bytes
        assert sum(learner.classes.values()) == 8
        left[replace] = learner.classes
    assert left["oldest"] == {"0": 0, "1": 0, "2": 0, "3": 2, "4": 3, "5": 3}
    assert min(left["nearest"].values()) == 1
    assert max(left["balanced"].values()) <= 2
    assert sum(learner.memory.state.counts[0].tolist()) == 18


def test_a_class_without_a_slot_is_never_the_answer() -> None:
    learner = of_slots(3, replace="oldest")
    learner.remember(SHOWN)
    answers = learner.predict([image for images in SHOWN.values() for image in images])
    assert {answer.name for answer in answers} == {"5"}
    assert answers[0].probabilities["0"] == 0


def test_half_precision_has_room_for_twice_as_many_and_answers_alike() -> None:
    size = 40 * of_slots(1).memory.slot_bytes
    full, half = tool().within(size), tool().within(size, precision="float16")
    assert half.memory.slots == 2 * full.memory.slots
    for learner in (full, half):
        learner.remember(SHOWN)
    for one, other in zip(full.predict(list(IMAGES[:, 3])), half.predict(list(IMAGES[:, 3])), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=0.02)


def test_in_half_precision_a_slot_counts_up_to_2048_and_its_mean_moves_on() -> None:
    memory = BoundedMemory(tool().learner, 10**3, precision=torch.float16)
    memory.write(torch.zeros(1, 2048 + memory.slots, memory.state.keys.shape[-1]), torch.zeros(1, 2048 + memory.slots))
    assert memory.state.counts.max() == 2048
    memory.write(torch.ones(1, 900, memory.state.keys.shape[-1]), torch.zeros(1, 900))
    assert (memory.state.keys > 0).any()


def test_rows_are_streams_of_their_own() -> None:
    learner = classifier(**VOTES).eval()
    embedded, labels = torch.randn(3, 12, learner.encoder.size), torch.randint(4, (3, 12))
    many = BoundedMemory(learner, 5 * 10**3, "nearest", rows=3)
    many.write(embedded, labels)
    asked = torch.randn(3, 7, learner.encoder.size)
    for row in range(3):
        one = BoundedMemory(learner, 5 * 10**3, "nearest")
        one.write(embedded[row : row + 1], labels[row : row + 1])
        torch.testing.assert_close(one.logits(asked[row : row + 1], 4)[0], many.logits(asked, 4)[row])


def test_a_memory_is_saved_and_goes_on(tmp_path: Path) -> None:
    whole, learner = of_slots(8), of_slots(8)
    learner.remember(dict(list(SHOWN.items())[:3]))
    saved = learner.save_memory(tmp_path / "slots.zip")
    again = of_slots(8)
    again.load_memory(saved)
    again.remember(dict(list(SHOWN.items())[3:]))
    for name, images in SHOWN.items():
        whole.remember({name: images})
    assert again.classes == whole.classes
    assert again.predict(IMAGES[0, 3]) == whole.predict(IMAGES[0, 3])
    other = of_slots(9)
    with pytest.raises(CheckpointError, match=r"another memory \(size \d+\)"):
        other.load_memory(saved)
    assert other.classes == {}


def test_slots_of_another_learner_or_that_do_not_say_whose_they_are_are_refused(tmp_path: Path) -> None:
    learner = of_slots(8)
    learner.remember(SHOWN)
    saved = learner.save_memory(tmp_path / "slots.zip")
    torch.manual_seed(1)
    stranger = TrainedLearner(classifier(**VOTES).eval(), Reading(SIDE)).within(8 * learner.memory.slot_bytes)
    stranger.remember({"known": IMAGES[0, 0]})
    meta, groups = read_checkpoint(saved)
    earlier = write_checkpoint(tmp_path / "earlier.zip", {k: v for k, v in meta.items() if k != "learner"}, groups)
    for reader, path in ((stranger, saved), (of_slots(8), earlier)):
        before = reader.classes
        with pytest.raises(CheckpointError) as refused:
            reader.load_memory(path)
        assert refused.value.key == "learner"
        assert refused.value.remedy
        assert reader.classes == before


@pytest.mark.parametrize("names", [["0", "1"], ["0", "1", "2", "3", "4", "4"], "012345", [1, 2, 3, 4, 5, 6], []])
def test_slots_of_classes_without_a_name_are_refused(names: Any, tmp_path: Path) -> None:
    learner, reader = of_slots(8), of_slots(8)
    learner.remember(SHOWN)
    meta, groups = read_checkpoint(learner.save_memory(tmp_path / "slots.zip"))
    with pytest.raises(CheckpointError, match="damaged"):
        reader.load_memory(write_checkpoint(tmp_path / "bad.zip", {**meta, "names": names}, groups))
    assert reader.classes == {}


def test_nothing_changes_where_a_class_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = of_slots(8)
    learner.remember({name: SHOWN[name] for name in "012"})
    before, answer = learner.classes, learner.predict(IMAGES[0, 3])
    monkeypatch.setitem(LARGEST_LABEL, torch.float32, 3)
    with pytest.raises(InputError):
        learner.remember({name: SHOWN[name] for name in "345"})
    assert learner.classes == before
    assert learner.predict(IMAGES[0, 3]) == answer
    learner.remember({"5": SHOWN["5"]})
    assert list(learner.classes) == ["0", "1", "2", "5"]


def test_what_does_not_fit_is_refused() -> None:
    for size in (10, -5, True):
        with pytest.raises(InputError, match="the size of a slot"):
            tool().within(size)
    wrong: list[Any] = ["1MB", 1e5, None, [10**5]]
    for size in wrong:
        with pytest.raises(InputError, match=r"size is .* bytes"):
            tool().within(size)
    counted: Any = np.int64(10**5)
    assert tool().within(counted).memory.slots == tool().within(10**5).memory.slots
    rules: list[Any] = ["newest", None, ["oldest"]]
    for rule in rules:
        with pytest.raises(InputError, match="replace is"):
            tool().within(10**5, replace=rule)
    with pytest.raises(InputError, match="GB free"):
        tool().within(10**15)
    for learner in (gradient(), classifier(), classifier(**VOTES, context="full")):
        with pytest.raises(InputError, match="prototypical"):
            BoundedMemory(learner.eval(), 10**6)
    with pytest.raises(InputError, match="call remember"):
        of_slots(3).predict(IMAGES[0, 0])
    memory = BoundedMemory(classifier(**VOTES).eval(), 10**6, precision=torch.float16)
    with pytest.raises(InputError, match="0 to 2048"):
        memory.write(torch.zeros(1, 1, 5), torch.full((1, 1), 3000))

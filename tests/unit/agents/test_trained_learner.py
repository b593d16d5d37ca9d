"""A trained learner as a tool: what it remembers, how it answers, and what it refuses."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_toys import IMAGES, LEARNERS, SIDE, VOTES, classifier, gradient, near, stream, tool
from PIL import Image

from metarl.agents.fewshot.streams import StreamClassifier
from metarl.config import InputError
from metarl.data.pictures import ImagesError

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_answers_each_query_as_its_own_episode_would_be(name: str) -> None:
    learner = tool(LEARNERS[name]())
    learner.remember({"x": IMAGES[0, :2], "y": IMAGES[1, :1], "z": IMAGES[2, :2]})
    order = learner._order
    support = np.concatenate([IMAGES[0, :2], IMAGES[1, :1], IMAGES[2, :2]])[order]
    labels = np.array([0, 0, 1, 2, 2])[order]
    with torch.no_grad():
        logits = learner.learner(support[None], labels[None], IMAGES[None, :3, 3])[0]
    expected = (logits - logits.logsumexp(1, keepdim=True)).exp().numpy()
    for answer, row in zip(learner.predict(list(IMAGES[:3, 3])), expected, strict=True):
        assert [answer.probabilities[name] for name in "xyz"] == pytest.approx(row.tolist(), abs=1e-4)


def test_more_classes_and_images_than_in_training_are_remembered_one_by_one() -> None:
    learner = tool()
    at_once = tool(learner.learner)
    for number in range(6):
        learner.remember({f"{number}": list(IMAGES[number, : 1 + number % 3])})
    at_once.remember({f"{number}": list(IMAGES[number, : 1 + number % 3]) for number in range(6)})
    assert learner.classes == at_once.classes == {"0": 1, "1": 2, "2": 3, "3": 1, "4": 2, "5": 3}
    asked = list(IMAGES[:, 3])
    assert near(learner.predict(asked), at_once.predict(asked))
    learner.remember({"0": IMAGES[0, 1]})
    assert learner.classes["0"] == 2
    assert learner.recalled(IMAGES[0, 1])[0][:2] == ("0", 1), "the very image"


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_memory_answers_alike_in_whatever_calls_it_was_built_up(name: str, tmp_path: Path) -> None:
    learner = tool(LEARNERS[name]())
    learner.remember({"x": list(IMAGES[0, :2]), "y": list(IMAGES[1, :1]), "z": list(IMAGES[2, :2])})
    others = [tool(learner.learner) for _ in range(4)]
    others[0].remember({"z": list(IMAGES[2, 1::-1]), "y": list(IMAGES[1, :1]), "x": list(IMAGES[0, 1::-1])})
    for number, example in ((1, 0), (0, 1), (2, 0), (0, 0), (2, 1)):
        others[1].remember({"xyz"[number]: IMAGES[number, example]})
    others[2].remember({"gone": IMAGES[3, 0], "z": list(IMAGES[2, :2]), "x": list(IMAGES[0, :2])})
    others[2].forget("gone")
    others[2].remember({"y": IMAGES[1, 0]})
    others[3].load_memory(others[1].save_memory(tmp_path / "memory.zip"))
    asked = list(IMAGES[:3, 3])
    for other in others:
        assert near(other.predict(asked), learner.predict(asked))


@pytest.mark.parametrize("make", [classifier, stream, lambda: gradient(name="maml-each")])
def test_more_classes_than_the_weights_are_made_for_are_refused_and_nothing_changes(make: Any) -> None:
    learner = tool(make())
    learner.remember({name: IMAGES[number, 0] for number, name in enumerate("abc")})
    before = learner.predict(IMAGES[0, 3])
    with pytest.raises(InputError) as refused:
        learner.remember({"d": IMAGES[3, 0]})
    assert (refused.value.key, refused.value.given) == ("ways", 4)
    assert near(learner.predict(IMAGES[0, 3]), before)


def test_a_class_that_the_memory_had_no_room_for_is_not_guessed() -> None:
    learner = tool(classifier(**VOTES | {"memory": {"store_options": {"capacity": 2}}}))
    learner.remember({name: IMAGES[number, 0] for number, name in enumerate("abc")})
    with pytest.raises(InputError, match=r"no room for '[abc]'"):
        learner.predict(IMAGES[0, 3])


def test_with_fewer_than_two_classes_nothing_is_guessed() -> None:
    learner = tool()
    for images in ({}, {"only": list(IMAGES[0])}):
        if images:
            learner.remember(images)
        for ask in (learner.predict, learner.recalled):
            with pytest.raises(InputError) as refused:
                ask(IMAGES[0, 3])
            assert refused.value.key == "the memory"


@pytest.mark.parametrize("readout", ["votes", "mean_votes"])
def test_what_is_recalled_are_the_images_that_the_answer_comes_from(readout: str, tmp_path: Path) -> None:
    learner = tool(classifier(**VOTES | {"readout": readout}))
    path = tmp_path / "first.png"
    Image.fromarray(IMAGES[0, 0]).save(path)
    learner.remember({"a": [path, IMAGES[0, 1]], "b": IMAGES[1, :1]})
    recalled, (answer,) = learner.recalled(IMAGES[0, 0]), learner.predict(IMAGES[0, 0])
    assert {(one.name, one.example) for one in recalled} == {("a", 0), ("a", 1), ("b", 0)}
    assert {one.source for one in recalled} == {str(path), None}
    for name in "ab":
        weight = sum(one.weight for one in recalled if one.name == name)
        assert weight == pytest.approx(answer.probabilities[name], abs=1e-4)
    of_a = [one.weight for one in recalled if one.name == "a"]
    assert (of_a[0] == pytest.approx(of_a[1])) is (readout == "mean_votes")
    if readout == "votes":
        assert recalled[0].source == str(path), "the image itself"


def test_a_forgotten_class_is_as_if_it_had_never_been() -> None:
    learner = tool()
    without = tool(learner.learner)
    learner.remember({"a": list(IMAGES[0]), "gone": list(IMAGES[1]), "b": list(IMAGES[2])})
    learner.forget("gone")
    without.remember({"a": list(IMAGES[0]), "b": list(IMAGES[2])})
    assert learner.classes == without.classes
    assert near(learner.predict(list(IMAGES[3])), without.predict(list(IMAGES[3])))
    with pytest.raises(InputError, match="'gone', expected one of a, b"):
        learner.forget("gone")


@pytest.mark.parametrize(
    "given",
    [
        {},
        [IMAGES[0]],
        {"a": []},
        {"": list(IMAGES[0])},
        {1: list(IMAGES[0])},
        {"a": "nowhere.png"},
        {"a": 5},
        {"a": np.zeros((SIDE, SIDE))},
        {"new": IMAGES[0, 0]},
        {"new": [IMAGES[5, 0]], "newer": [IMAGES[5, 0]]},
    ],
    ids=["none", "no names", "no images", "no name", "a number", "no file", "no image", "empty", "known", "in two"],
)
def test_what_cannot_be_remembered_is_refused_and_nothing_changes(given: Any) -> None:
    learner = tool()
    learner.remember({"a": list(IMAGES[0]), "b": list(IMAGES[1])})
    before = learner.predict(list(IMAGES[2]))
    with pytest.raises(InputError):
        learner.remember(given)
    assert learner.classes == {"a": 4, "b": 4}
    assert near(learner.predict(list(IMAGES[2])), before)


def test_all_images_that_cannot_be_used_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no image")
    learner = tool()
    with pytest.raises(ImagesError) as refused:
        learner.remember({"a": [tmp_path / "words.png", IMAGES[0, 0]], "b": [IMAGES[1, 0], np.full((4, 4), 300)]})
    assert "words.png" in str(refused.value)
    assert "image 1 of the class 'b'" in str(refused.value)
    bad = [np.full((4, 4), number, np.uint8) for number in range(60)]
    with pytest.raises(ImagesError, match=r"60 images .*empty images \(60\)") as many:
        learner.remember({"a": bad})
    (file,) = re.findall(r"all are listed in (\S+\.txt)", str(many.value))
    assert "image 59 of the class 'a'" in Path(file).read_text()


@pytest.mark.parametrize(
    "given",
    [
        torch.rand(SIDE, SIDE).bfloat16(),
        [torch.rand(SIDE, SIDE).bfloat16()],
        torch.rand(2, SIDE, SIDE, device="meta"),
        [torch.rand(SIDE, SIDE, device="meta")],
        [[[0.5], [0.5, 1.0]]],
    ],
    ids=["bfloat16", "a list", "another device", "a list on another device", "rows of different lengths"],
)
def test_what_numpy_has_no_array_for_is_refused(given: Any) -> None:
    learner = tool()
    learner.remember({"a": list(IMAGES[0]), "b": list(IMAGES[1])})
    for use in (learner.predict, lambda images: learner.remember({"c": images}), learner.within(10**5).predict):
        with pytest.raises(InputError):
            use(given)
    assert learner.classes == {"a": 4, "b": 4}


def test_tensors_are_taken_as_arrays() -> None:
    learner = tool()
    learner.remember({"a": torch.from_numpy(IMAGES[0, :2]), "b": [torch.from_numpy(image) for image in IMAGES[1]]})
    assert near(learner.predict(torch.from_numpy(IMAGES[:5, 0])), learner.predict(IMAGES[:5, 0]))


def test_the_same_image_twice_in_a_class_is_told() -> None:
    with pytest.warns(UserWarning, match=r"image 1 of the class 'a' and image 0 of 'a' are the same"):
        tool().remember({"a": [IMAGES[0, 0], IMAGES[0, 0]], "b": IMAGES[1, 0]})


def test_of_images_remembered_twice_only_new_ones_are_told() -> None:
    learner = tool()
    for given, told in (
        ({"a": [IMAGES[0, 0], IMAGES[0, 0]], "b": IMAGES[1, 0]}, ["image 1 of the class 'a' and image 0"]),
        ({"c": IMAGES[2, 0]}, []),
        ({"b": IMAGES[1, 1], "a": IMAGES[0, 0]}, ["image 2 of the class 'a' and image 0"]),
        ({"b": IMAGES[1, 2]}, []),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            learner.remember(given)
        assert [str(one.message).partition(" of 'a'")[0] for one in caught] == told
    with pytest.raises(InputError, match="are the same"):
        learner.remember({"c": IMAGES[0, 0]})


def test_a_learner_whose_labels_are_letters_is_no_tool() -> None:
    core = {"controller": "lstm", "controller_options": {"hidden_size": 4}, "key_size": 4, "value_size": 4}
    letters = StreamClassifier((SIDE, SIDE), 3, core, labels="letters", encoder={"width": 4, "embedding_size": 8})
    with pytest.raises(InputError) as refused:
        tool(letters)
    assert refused.value.key == "train.labels"


def test_a_drawing_is_the_same_whatever_its_paper() -> None:
    ink = np.zeros((SIDE, SIDE), np.uint8)
    ink[2:5, 3:5] = 255
    other = np.zeros_like(ink)
    other[2:7, 2] = 255
    learner = tool(drawing=True)
    learner.remember({"a": ink, "b": other})
    assert near(learner.predict(255 - ink), learner.predict(ink))
    with pytest.raises(ImagesError, match="border of brightness 128"):
        learner.predict(np.where(ink == 255, 255, 128))


def test_names_that_are_no_utf8_are_escaped_in_paths_and_refused_of_classes(tmp_path: Path) -> None:
    learner, path = tool(), tmp_path / "caf\udce9.png"
    Image.fromarray(IMAGES[0, 0]).save(path)
    with pytest.raises(InputError, match="UTF-8"):
        learner.remember({"caf\udce9": [path]})
    learner.remember({"x": [path], "y": IMAGES[1, :1]})
    learner.save_memory(tmp_path / "memory.zip")
    again = tool(learner.learner)
    again.load_memory(tmp_path / "memory.zip")
    assert near(again.predict(list(IMAGES[:3, 3])), learner.predict(list(IMAGES[:3, 3])))

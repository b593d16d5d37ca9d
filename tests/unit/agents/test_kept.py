"""The file of what a trained learner remembers: what fits, what is refused, and where it can be written."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_toys import IMAGES, SIDE, VOTES, classifier, near, tool

from metarl.agents.fewshot.trained import TrainedLearner
from metarl.config import InputError
from metarl.data.pictures import Reading
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")


@pytest.mark.parametrize("path", [None, 5, b"memory.zip", ["memory.zip"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    learner = tool()
    learner.remember({"a": list(IMAGES[0]), "b": list(IMAGES[1])})
    bounded = learner.within(10**5)
    for use in (learner.load_memory, learner.save_memory, bounded.load_memory, bounded.save_memory):
        with pytest.raises(InputError, match="path"):
            use(path)


def test_a_memory_that_cannot_be_written_there_is_refused(tmp_path: Path) -> None:
    learner = tool()
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "memory.zip", tmp_path / ("x" * 300), Path("/proc/memory.zip")):
        for one in (learner, learner.within(10**5)):
            with pytest.raises(InputError, match="expected"):
                one.save_memory(place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_memory_is_saved_and_loads_again_even_in_another_learner(tmp_path: Path) -> None:
    learner = tool()
    learner.remember({"ä": IMAGES[0, :1], "b": list(IMAGES[1])})
    path = learner.save_memory(tmp_path / "memory.zip")
    again, other = tool(learner.learner), tool()
    again.load_memory(path)
    assert again.classes == learner.classes
    assert near(again.predict(list(IMAGES[2])), learner.predict(list(IMAGES[2])))
    other.remember({"c": list(IMAGES[5])})
    other.load_memory(path)
    assert other.classes == learner.classes, "what was remembered before is gone"


def test_a_memory_that_does_not_fit_or_is_damaged_is_refused(tmp_path: Path) -> None:
    learner = tool()
    learner.remember({"a": list(IMAGES[0]), "b": list(IMAGES[1])})
    path = learner.save_memory(tmp_path / "memory.zip")
    bigger = TrainedLearner(classifier((SIDE + 1, SIDE + 1), **VOTES).eval(), Reading(SIDE + 1))
    with pytest.raises(CheckpointError, match=r"size \[8, 8\], expected \[9, 9\]"):
        bigger.load_memory(path)
    for act in (learner.save_memory, learner.load_memory):
        with pytest.raises(InputError, match="null character"):
            act("memory\0.zip")
    meta, groups = read_checkpoint(path)
    tensors = groups["support"]
    wrong: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({**meta, "kind": "fewshot"}, groups),
        ({**meta, "names": ["a", "a"]}, groups),
        ({**meta, "names": ["a", "b", "c"]}, groups),
        ({**meta, "names": "ab"}, groups),
        ({**meta, "sources": []}, groups),
        ({**meta, "reading": {**meta["reading"], "drawing": 1}}, groups),
        ({**meta, "reading": "drawing"}, groups),
        (meta, {"support": {"images": tensors["images"]}}),
        (meta, {"support": {**tensors, "labels": tensors["labels"] + 1}}),
        (meta, {"support": {**tensors, "labels": tensors["labels"].int()}}),
        (meta, {"support": {**tensors, "images": tensors["images"].float()}}),
        (meta, {"support": tensors, "more": tensors}),
    ]
    for number, (told, parts) in enumerate(wrong):
        bad = write_checkpoint(tmp_path / f"{number}.zip", told, parts)
        with pytest.raises(CheckpointError):
            learner.load_memory(bad)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        learner.load_memory(path)
    assert learner.classes == {"a": 4, "b": 4}


def drawn(paper: int) -> dict[str, list[Any]]:
    """Strokes of the other colour, so few that the paper is at the border."""
    made = np.full((4, SIDE, SIDE), paper, np.uint8)
    for number, image in enumerate(made):
        image[2 : 4 + number % 2, 2 + number // 2 : 5] = 255 - paper
    return {"a": list(made[:2]), "b": list(made[2:])}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"drawing": True}, {}),
        ({}, {"drawing": True}),
        ({"background": "white"}, {"background": "black"}),
    ],
)
def test_a_memory_of_images_that_were_read_otherwise_is_refused(
    one: dict[str, Any], other: dict[str, Any], tmp_path: Path
) -> None:
    learner, reader = tool(**one), tool(**other)
    learner.remember(drawn(255))
    path = learner.save_memory(tmp_path / "memory.zip")
    reader.remember({"c": IMAGES[0, 0]} if not other.get("drawing") else {"c": drawn(0)["a"][0]})
    with pytest.raises(CheckpointError) as refused:
        reader.load_memory(path)
    assert refused.value.remedy
    assert reader.classes == {"c": 1}


def test_the_background_of_what_is_transparent_does_not_matter_to_drawings(tmp_path: Path) -> None:
    learner, reader = tool(drawing=True), tool(drawing=True, background="black")
    learner.remember(drawn(255))
    reader.load_memory(learner.save_memory(tmp_path / "memory.zip"))
    assert reader.classes == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("images", "drawing", "fits"),
    [
        (drawn(0), True, True),
        (drawn(255), True, False),
        (drawn(0) | {"c": [IMAGES[0, 0]]}, True, False),
        (drawn(0), False, False),
        (drawn(255), False, True),
        ({"a": list(IMAGES[0]), "b": list(IMAGES[1])}, False, True),
    ],
)
def test_an_earlier_memory_is_taken_where_its_images_show_how_they_were_read(
    images: dict[str, list[Any]], drawing: bool, fits: bool, tmp_path: Path
) -> None:
    learner = tool()
    learner.remember(images)
    meta, groups = read_checkpoint(learner.save_memory(tmp_path / "memory.zip"))
    meta = {name: meta[name] for name in ("kind", "names", "sources")}  # all that earlier versions wrote
    path, reader = write_checkpoint(tmp_path / "earlier.zip", meta, groups), tool(drawing=drawing)
    if fits:
        reader.load_memory(path)
        assert reader.classes == learner.classes
    else:
        with pytest.raises(CheckpointError, match="earlier"):
            reader.load_memory(path)
        assert reader.classes == {}


def test_nothing_in_a_saved_memory_is_pickled(tmp_path: Path) -> None:
    learner = tool()
    learner.remember({"a": list(IMAGES[0]), "b": list(IMAGES[1])})
    with zipfile.ZipFile(learner.save_memory(tmp_path / "memory.zip")) as archive:
        assert set(archive.namelist()) == {"checkpoint.json", "support.safetensors"}
        assert json.loads(archive.read("checkpoint.json"))["meta"]["names"] == ["a", "b"]

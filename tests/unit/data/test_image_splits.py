"""Which classes of a folder are in which split: by folders of splits, or by the names of classes alone."""

import hashlib
from pathlib import Path

import pytest

from metarl.data.folders import beside_splits, name_hash, scan
from metarl.data.images import Images, class_names
from metarl.data.pictures import ImagesError
from metarl.types import SPLITS, Split


@pytest.mark.parametrize(("classes", "counts"), [(6, [2, 2, 2]), (10, [6, 2, 2]), (100, [70, 10, 20])])
def test_classes_are_split_by_their_names_alone(tmp_path: Path, classes: int, counts: list[int]) -> None:
    folders(tmp_path, *(f"class{number}" for number in range(classes)))
    parts = [list(class_names(split, tmp_path)) for split in SPLITS]
    assert [len(part) for part in parts] == counts
    assert len({name for part in parts for name in part}) == classes
    assert all(part == sorted(part) for part in parts)
    order = sorted((hashlib.sha256(name.encode()).hexdigest(), name) for part in parts for name in part)
    assert {name for _, name in order[: counts[1]]} == set(parts[1])
    assert {name for _, name in order[sum(counts[1:]) :]} == set(parts[0])


def test_an_accent_written_in_another_way_leaves_a_class_in_its_split(tmp_path: Path) -> None:
    assert name_hash("e\u0301") == name_hash("\u00e9")
    assert name_hash("\udcff")


def folders(place: Path, *names: str) -> Path:
    """Folders that count as classes, as long as nobody reads the images in them."""
    for name in names:
        (place / name).mkdir(parents=True)
        (place / name / "0.png").touch()
    return place


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_folders_of_splits_are_the_splits(tmp_path: Path, validation: str) -> None:
    counts = {"train": 4, validation: 2, "test": 3}
    folders(tmp_path, "more/classes", *(f"{name}/{name}{i}" for name, count in counts.items() for i in range(count)))
    assert [len(class_names(split, tmp_path)) for split in SPLITS] == [4, 2, 3]
    assert class_names("validation", tmp_path)[0] == f"{validation}0"
    alone = folders(tmp_path / "alone", "test", "a", "b", "c", "d", "e")  # a class called test is a class
    assert sum(len(class_names(split, alone)) for split in SPLITS) == 6


@pytest.mark.parametrize("tops", [("Train", "Validation", "Test"), ("TRAIN", "vaL", "test")])
def test_folders_of_splits_may_be_called_in_capitals(tmp_path: Path, tops: tuple[str, ...]) -> None:
    folders(tmp_path, "More/classes", *(f"{top}/{top[:2]}{number}" for top in tops for number in range(2)))
    for split, top in zip(SPLITS, tops, strict=True):
        assert class_names(split, tmp_path) == (f"{top[:2]}0", f"{top[:2]}1")
    assert [one.name for one in beside_splits(scan(tmp_path))] == ["More/classes"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("one", "other"), [("test", "Test"), ("Val", "validation")])
def test_two_folders_of_one_split_are_refused_whichever_split_is_asked_for(
    tmp_path: Path, one: str, other: str, split: Split
) -> None:
    tops = {"train", "val", "test", one, other} - ({"val"} if one == "Val" else set())
    folders(tmp_path, *(f"{top}/{top}{number}" for top in tops for number in range(2)))
    with pytest.raises(ImagesError) as refused:
        class_names(split, tmp_path)
    assert all(top in str(refused.value) for top in (one, other))


@pytest.mark.parametrize(
    ("names", "split", "named"),
    [
        (["train/cat", "train/dog", "test/cat", "test/owl"], "test", "cat"),
        (["train/a", "train/b", "test/c", "test/d"], "validation", "validation or val"),
        (["train/a", "train/b", "validation/c", "val/d", "test/e", "test/f"], "validation", "val, validation"),
        (["train/a", "train/b", "val/c", "test/d", "test/e"], "validation", "validation split.* 1 of"),
        (["."], "train", "no folders in it"),
        (["one"], "train", "1 class folders.* 6 or more"),
    ],
)
def test_folders_that_are_no_splits_of_classes_are_refused(
    tmp_path: Path, names: list[str], split: Split, named: str
) -> None:
    for name in names:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "0.png").touch()
    with pytest.raises(ImagesError, match=named):
        Images(split, tmp_path)

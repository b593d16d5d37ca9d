"""Folders of images: how classes are split, how images are converted, and what is refused."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metarl.data import images
from metarl.data.images import Images, class_folders, counts
from metarl.data.pictures import FORMATS, ImagesError, Reading
from metarl.types import SPLITS, Split


def make(folder: Path, classes: int = 6, each: int = 3, *, side: int = 8, colour: bool = False) -> Path:
    """Class folders with images of random numbers."""
    rng = np.random.default_rng(0)
    for number in range(classes):
        place = folder / f"class{number}"
        place.mkdir(parents=True)
        for example in range(each):
            shape = (side, side, 3) if colour else (side, side)
            Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(place / f"{example}.png")
    return folder


def save(path: Path, numbers: object, **options: Any) -> Path:
    Image.fromarray(np.asarray(numbers)).save(path, **options)
    return path


def test_a_folder_of_classes_is_a_source(tmp_path: Path) -> None:
    train = Images("train", make(tmp_path), 8)
    assert train.names == sorted(train.names)
    assert train.examples.shape == (2, 3, 8, 8)
    assert train.left_out == 0
    assert np.array_equal(train.examples[1, 2], np.asarray(Image.open(tmp_path / train.names[1] / "2.png")))
    assert train.sample(np.random.default_rng(0), 4, 2, 1, 2).query_x.dtype == np.uint8
    colours = make(tmp_path / "colours", colour=True)
    assert Images("test", colours, 4, grey=False).examples.shape == (2, 3, 4, 4, 3)


@pytest.mark.parametrize(("classes", "counts"), [(6, [2, 2, 2]), (10, [6, 2, 2]), (100, [70, 10, 20])])
def test_classes_are_split_by_their_names_alone(tmp_path: Path, classes: int, counts: list[int]) -> None:
    for number in range(classes):
        (tmp_path / f"class{number}").mkdir()
    parts = [[place.name for place in class_folders(split, tmp_path)] for split in SPLITS]
    assert [len(part) for part in parts] == counts
    assert len({name for part in parts for name in part}) == classes
    assert all(part == sorted(part) for part in parts)
    order = sorted((hashlib.sha256(name.encode()).hexdigest(), name) for part in parts for name in part)
    assert {name for _, name in order[: counts[1]]} == set(parts[1])
    assert {name for _, name in order[sum(counts[1:]) :]} == set(parts[0])


def test_an_accent_written_in_another_way_leaves_a_class_in_its_split(tmp_path: Path) -> None:
    assert images._hash("e\u0301") == images._hash("\u00e9")
    assert images._hash("\udcff")


def folders(place: Path, *names: str) -> Path:
    for name in names:
        (place / name).mkdir(parents=True)
    return place


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_folders_of_splits_are_the_splits(tmp_path: Path, validation: str) -> None:
    counts = {"train": 4, validation: 2, "test": 3}
    folders(tmp_path, "more/classes", *(f"{name}/{name}{i}" for name, count in counts.items() for i in range(count)))
    assert [len(class_folders(split, tmp_path)) for split in SPLITS] == [4, 2, 3]
    assert class_folders("validation", tmp_path)[0] == tmp_path / validation / f"{validation}0"
    alone = folders(tmp_path / "alone", "test", "a", "b", "c", "d", "e")  # a class called test is a class
    assert sum(len(class_folders(split, alone)) for split in SPLITS) == 6


@pytest.mark.parametrize(
    ("names", "split", "named"),
    [
        (["train/cat", "train/dog", "test/cat", "test/owl"], "test", "cat"),
        (["train/a", "train/b", "test/c", "test/d"], "validation", "validation or val"),
        (["train/a", "train/b", "validation/c", "val/d", "test/e", "test/f"], "validation", "val, validation"),
        (["train/a", "train/b", "val/c", "test/d", "test/e"], "validation", "validation split.* 1 of"),
        ([], "train", "no folders in it"),
        (["one"], "train", "1 class folders.* 6 or more"),
        ([f"class{number}" for number in range(6)], "train", r"no images.*\.bmp, \.gif"),
    ],
)
def test_folders_that_are_no_splits_of_classes_are_refused(
    tmp_path: Path, names: list[str], split: Split, named: str
) -> None:
    with pytest.raises(ImagesError, match=named):
        Images(split, folders(tmp_path, *names))


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="no folder"):
        Images("train", tmp_path / "nowhere")
    with pytest.raises(ImagesError, match=r"8\.4 GiB"):
        Images("train", make(tmp_path), 38_700)
    with pytest.raises(ValueError, match="size is 0"):
        Images("train", tmp_path, 0)
    with pytest.raises(ValueError, match="'exam'"):
        Images("exam", tmp_path)  # type: ignore[arg-type]  # wrong on purpose


def test_images_shrink_by_area_and_are_not_inverted(tmp_path: Path) -> None:
    blocks = np.kron(np.array([[0, 40], [200, 255]], np.uint8), np.ones((7, 5), np.uint8))
    blocks[:7, :5] = np.arange(35).reshape(7, 5)
    small = Reading(2).read(save(tmp_path / "a.png", blocks))
    assert small.dtype == np.uint8
    assert small.tolist() == [[17, 40], [200, 255]]


COLOURS = np.full((4, 4, 3), [255, 0, 100], np.uint8)
INK = np.dstack([np.zeros((2, 2, 3), np.uint8), np.array([[255, 0], [0, 0]], np.uint8)])
SIXTEEN = np.array([[0, 65535], [256 * 100, 65535]], np.uint16)


@pytest.mark.parametrize(
    ("numbers", "size", "grey", "expected"),
    [
        (COLOURS, 2, False, [[[255, 0, 100]] * 2] * 2),
        (COLOURS, 2, True, [[round(0.299 * 255 + 0.114 * 100)] * 2] * 2),
        (np.full((4, 4), 7, np.uint8), 3, False, [[[7] * 3] * 3] * 3),
        (INK, 2, True, [[0, 255], [255, 255]]),
        (SIXTEEN, 2, True, [[0, 255], [100, 255]]),
    ],
    ids=["colours", "colours made grey", "grey made colours", "what is transparent becomes white", "sixteen bits"],
)
def test_kinds_of_images(tmp_path: Path, numbers: np.ndarray, size: int, grey: bool, expected: list[Any]) -> None:
    assert Reading(size, grey).read(save(tmp_path / "a.png", numbers)).tolist() == expected


@pytest.mark.parametrize("suffix", [suffix for suffixes in FORMATS.values() for suffix in suffixes])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    numbers = np.zeros((16, 16), np.uint8)
    numbers[:, 8:] = 255
    path = save(tmp_path / f"a{suffix.upper()}", numbers == 255 if suffix == ".pbm" else numbers)
    assert np.abs(Reading(2).read(path) - np.array([[0.0, 255.0]] * 2)).max() <= 4
    assert images._images(tmp_path, tmp_path) == [path]


def test_a_transparent_colour_of_a_palette_becomes_white_and_numbers_with_a_point_are_refused(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8)).convert("P")
    palette.save(tmp_path / "b.png", transparency=1)
    assert Reading(2).read(tmp_path / "b.png").tolist() == [[0, 255], [255, 255]]
    floats = save(tmp_path / "a.tif", np.zeros((2, 2), np.float32))
    with pytest.raises(ImagesError, match=r"a\.tif .*type F"):
        Reading(2).read(floats)


def test_the_orientation_in_exif_is_followed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # turned upside down
    path = save(tmp_path / "a.png", np.array([[0, 50], [100, 150]], np.uint8), exif=exif)
    assert Reading(2).read(path).tolist() == [[150, 100], [50, 0]]


def test_classes_keep_as_many_images_as_the_smallest_has(tmp_path: Path) -> None:
    make(tmp_path, each=3)
    names = Images("train", tmp_path, 8).names
    last = save(tmp_path / names[0] / "3.png", np.zeros((8, 8), np.uint8))
    save(tmp_path / names[0] / "4.png", np.zeros((8, 8), np.uint8))
    more = Images("train", tmp_path, 8)
    assert (more.per_class, more.left_out) == (3, 2)
    assert last.exists()
    (tmp_path / names[1] / "0.png").unlink()
    (tmp_path / names[1] / "1.png").unlink()
    with pytest.raises(ImagesError, match=f"{names[1]} has 1 image"):
        Images("train", tmp_path, 8)


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "list.csv").write_text("a,b")
    for number in range(6):
        place = tmp_path / f"class{number}"
        (place / "._0.png").write_bytes(b"of a file manager")
        (place / "notes.txt").write_text("words")
        (place / "deeper.png").mkdir()
    assert [Images(split, tmp_path, 8).examples.shape[:2] for split in SPLITS] == [(2, 3)] * 3


def test_a_link_out_of_the_folder_is_refused_and_one_inside_or_to_itself_followed(tmp_path: Path) -> None:
    folder = make(tmp_path / "data")
    (tmp_path / "link").symlink_to(folder)
    assert Images("train", tmp_path / "link", 8).classes == 2
    name = class_folders("train", folder)[0].name
    inside = folder / name / "link.png"
    inside.symlink_to("0.png")
    assert Images("train", folder, 8).left_out == 1
    inside.unlink()
    outside = save(tmp_path / "secret.png", np.zeros((8, 8), np.uint8))
    inside.symlink_to(outside)
    with pytest.raises(ImagesError, match=r"link\.png is a link out of"):
        Images("train", folder, 8)
    inside.unlink()
    (tmp_path / "secret").mkdir()
    (folder / "class9").symlink_to(tmp_path / "secret")
    with pytest.raises(ImagesError, match="class9 is a link out of"):
        Images("train", folder, 8)


@pytest.mark.parametrize("damage", ["cut", "words", "empty", "script"])
def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, damage: str) -> None:
    make(tmp_path, side=64)
    path = tmp_path / class_folders("train", tmp_path)[1].name / "1.png"
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[:900], "words": b"no image", "empty": b"", "script": b"%!PS-Adobe-3.0 EPSF-3.0\n"}[damage]
    )
    with pytest.raises(ImagesError) as caught:
        Images("train", tmp_path)
    assert caught.value.key == str(path)


@pytest.mark.parametrize("limit", [40, 20])
def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    make(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ImagesError, match=rf"\.png .*pixels.* {limit}"):
        Images("train", tmp_path)


def test_strokes_lost_on_transparency_are_noticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        alpha = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        place = tmp_path / f"{number // 2}"
        place.mkdir(exist_ok=True)
        save(place / f"{number}.png", np.dstack([np.full((8, 8, 3), 255, np.uint8), alpha]))
    with pytest.raises(ImagesError, match="transparent"):
        Images("train", tmp_path, 8)


def test_images_that_lie_too_deep_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path)
    place = sorted(folder.iterdir())[0]
    (place / "sub").mkdir()
    for path in list(place.glob("*.png")):
        path.rename(place / "sub" / path.name)
    with pytest.raises(ImagesError, match=f"{place.name}.*up"):
        [Images(split, folder, 8) for split in SPLITS]


def test_empty_images_are_all_named(tmp_path: Path) -> None:
    make(tmp_path)
    names = Images("train", tmp_path, 8).names
    for name in names:
        save(tmp_path / name / "1.png", np.full((8, 8), 9, np.uint8))
    with pytest.raises(ImagesError) as refused:
        Images("train", tmp_path, 8)
    assert all(str(tmp_path / name / "1.png") in str(refused.value) for name in names)
    assert str(tmp_path / names[0] / "0.png") not in str(refused.value)


def test_white_strokes_on_transparency_are_seen_on_black(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        place = tmp_path / f"{number // 2}"
        place.mkdir(exist_ok=True)
        alpha = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        save(place / f"{number}.png", np.dstack([np.full((8, 8, 3), 255, np.uint8), alpha]))
    assert Images("train", tmp_path, 8, background="black").classes == 2
    with pytest.raises(ImagesError, match="background = 'black'"):
        Images("train", tmp_path, 8)


def test_images_that_are_the_same_are_told(tmp_path: Path) -> None:
    make(tmp_path)
    one, other = Images("train", tmp_path, 8).names
    same = (tmp_path / one / "0.png").read_bytes()
    (tmp_path / one / "2.png").write_bytes(same)
    (tmp_path / other / "1.png").write_bytes(same)
    with pytest.warns(UserWarning, match="2 of 6 images are the same as another when read, 1 of them .* another class"):
        Images("train", tmp_path, 8)


def test_images_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    same = (tmp_path / "class0" / "0.png").read_bytes()
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(same)
    with pytest.raises(ImagesError, match="all 6 images are the same"):
        Images("train", tmp_path, 8)


def test_what_is_left_out_is_told_of_every_split(tmp_path: Path) -> None:
    make(tmp_path, each=3)
    names = {split: [place.name for place in class_folders(split, tmp_path)] for split in SPLITS}
    (tmp_path / names["test"][1] / "0.png").unlink()
    told = counts(tmp_path)
    assert told[:2] == [f"{split}: 2 classes, 3 images of each" for split in ("train", "validation")]
    assert told[2].startswith("test: 2 classes, 2 images of each; 1 of 5 images are left out")
    assert names["test"][1] in told[2]

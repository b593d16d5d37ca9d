"""Folders of images: how classes are split, how images are converted, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metarl.config import InputError
from metarl.data.folders import scan
from metarl.data.images import Choice, Images, class_names, told
from metarl.data.pictures import FORMATS, ImagesError, Reading
from metarl.types import SPLITS


def make(folder: Path, classes: int = 6, each: int = 3, *, side: int = 8, colour: bool = False, seed: int = 0) -> Path:
    """Class folders with images of random numbers."""
    rng = np.random.default_rng(seed)
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


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="no folder"):
        Images("train", tmp_path / "nowhere")
    with pytest.raises(ImagesError, match=r"25\.1 GiB"):
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
    folder = tmp_path / "folder"
    (folder / "class").mkdir(parents=True)
    path.rename(folder / "class" / path.name)
    assert [file.name for file in scan(folder).classes[0].files] == [path.name]


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


def test_classes_have_all_of_their_images(tmp_path: Path) -> None:
    make(tmp_path, each=3)
    first, second = Images("train", tmp_path, 8).names
    for number in range(3, 9):
        noise = np.random.default_rng(number).integers(256, size=(8, 8), dtype=np.uint8)
        save(tmp_path / first / f"{number}.png", noise)
    more = Images("train", tmp_path, 8)
    assert (more.counts.tolist(), more.per_class, more.left_out) == ([9, 3], 3, 0)
    drawn = more.sample(np.random.default_rng(0), 200, 2, 1, 2)
    assert (
        len({image.tobytes() for image in np.concatenate([drawn.support_x, drawn.query_x], 1).reshape(-1, 8, 8)}) == 12
    )
    most = Images("train", tmp_path, 8, max_images=4)
    assert (most.counts.tolist(), most.left_out) == ([4, 3], 5)
    kept = {image.tobytes() for image in most.flat[:4]}
    assert kept != {image.tobytes() for image in more.flat[:4]}, "the first ones may be alike"
    for path in (tmp_path / first).iterdir():
        path.rename(path.with_name(f"a{path.name}"))
    renamed = Images("train", tmp_path, 8, max_images=4)
    assert renamed.counts.tolist() == [4, 3]
    for path in sorted((tmp_path / second).iterdir())[1:]:
        path.unlink()
    with pytest.raises(ImagesError, match=f"{second} has 1 image"):
        Images("train", tmp_path, 8)


def test_classes_with_few_images_are_left_out_and_told(tmp_path: Path) -> None:
    make(tmp_path, 20, each=3)
    names = Images("train", tmp_path, 8).names
    for name in names[:3]:
        (tmp_path / name / "0.png").unlink()
    assert Images("train", tmp_path, 8, min_images=3).names == names[3:], "no class moves to another split"
    lines = told(tmp_path, Reading(8), Choice(min_images=3))
    assert lines[0] == f"train: {len(names) - 3} classes, 3 images of each"
    assert "3 classes with 6 images" in lines[-1]
    with pytest.raises(ImagesError, match=r"train split .* 0 classes that can be used"):
        Images("train", tmp_path, 8, min_images=4)
    with pytest.raises(InputError) as refused:
        Images("train", tmp_path, 8, min_images=3, max_images=2)
    assert refused.value.key == "max_images"


def test_a_folder_that_has_images_is_a_class_however_deep_it_lies(tmp_path: Path) -> None:
    for alphabet in ("Greek", "Latin"):
        make(tmp_path / "any" / alphabet, 3, seed=len(alphabet) + ord(alphabet[0]))
    names = [name for split in SPLITS for name in Images(split, tmp_path / "any", 8).names]
    assert sorted(names) == [f"{alphabet}/class{number}" for alphabet in ("Greek", "Latin") for number in range(3)]
    for seed, name in enumerate(("train", "val", "test")):
        make(tmp_path / "fixed" / name / f"of {name}", 2, seed=seed)
    assert Images("validation", tmp_path / "fixed", 8).names == ["of val/class0", "of val/class1"]


def test_everything_that_is_wrong_is_listed_at_once_and_can_be_left_out(tmp_path: Path) -> None:
    folder, outside = make(tmp_path / "data", 12, 4), save(tmp_path / "secret.png", np.eye(8, dtype=np.uint8))
    places = [folder / f"class{number}" for number in range(12)]
    damaged, empty, link = places[0] / "damaged.png", places[1] / "empty.png", places[2] / "link.png"
    damaged.write_bytes(b"no image")
    save(empty, np.full((8, 8), 9, np.uint8))
    link.symlink_to(outside)
    [path.unlink() for path in sorted(places[3].iterdir())[1:]]
    stray = save(folder / "stray.png", np.eye(8, dtype=np.uint8))
    (folder / "bare" / "deep").mkdir(parents=True)
    (places[4] / "notes.txt").touch()
    with pytest.raises(ImagesError) as refused:
        Images("train", folder, 8)
    for path in (damaged, empty, link, places[3], stray, folder / "bare" / "deep"):
        assert str(path) in str(refused.value)
    assert str(outside) not in str(refused.value)
    used = [Images(split, folder, 8, skip_bad=True) for split in SPLITS]
    assert sum(one.classes for one in used) == 11
    assert {count for one in used for count in one.counts.tolist()} == {4}
    lines = told(folder, Reading(8), Choice(skip_bad=True))
    kinds = ("images that cannot be read", "empty images", "links out of the folder", "images beside folders of images")
    for kind in (*kinds, "folders without images", "classes with less than 2 images"):
        assert f"{kind} (1)" in lines[3]
    assert "1 .txt" in lines[4]


def test_of_many_problems_some_are_shown_and_all_counted(tmp_path: Path) -> None:
    make(tmp_path, 8, 4)
    for path in tmp_path.glob("*/[01].png"):
        path.write_bytes(b"no image")
    with pytest.raises(ImagesError, match=r"images that cannot be read \(16\).* and 6 more") as refused:
        Images("train", tmp_path, 8)
    assert str(refused.value).count(".png") < 2 * 10 + 2
    for number in range(40):
        save(tmp_path / f"stray{number}.png", np.eye(8, dtype=np.uint8))
    with pytest.raises(ImagesError) as mixed:
        Images("train", tmp_path, 8)
    (tmp_path / "bare").mkdir()
    skipped = told(tmp_path, Reading(8), Choice(skip_bad=True))[3]
    for text in (str(mixed.value), skipped):
        assert "images beside folders of images (40)" in text
        assert str(tmp_path / "class0" / "0.png") in text, "no kind crowds out another"
        (file,) = re.findall(r"all are listed in (\S+\.txt)", text)
    listed = Path(file).read_text()
    assert all(str(path) in listed for path in [*tmp_path.glob("*/[01].png"), *tmp_path.glob("stray*")])


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "list.csv").write_text("a,b")
    for number in range(6):
        place = tmp_path / f"class{number}"
        (place / "._0.png").write_bytes(b"of a file manager")
        (place / "notes.txt").write_text("words")
        (place / "__MACOSX").mkdir()
        (place / "__MACOSX" / "0.png").write_bytes(b"of another program")
    assert [Images(split, tmp_path, 8).examples.shape[:2] for split in SPLITS] == [(2, 3)] * 3


def test_links_out_of_the_folder_are_refused_and_those_inside_followed(tmp_path: Path) -> None:
    folder = make(tmp_path / "data")
    (tmp_path / "link").symlink_to(folder)
    assert Images("train", tmp_path / "link", 8).classes == 2
    name = class_names("train", folder)[0]
    inside = folder / name / "link.png"
    inside.symlink_to("0.png")
    (folder / name / "round").symlink_to("..")
    with pytest.warns(UserWarning, match="1 of 7 images"):
        assert Images("train", folder, 8).counts.sum() == 7
    inside.unlink()
    inside.symlink_to(save(tmp_path / "secret.png", np.eye(8, dtype=np.uint8)))
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
    path = tmp_path / class_names("train", tmp_path)[1] / "1.png"
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


def test_empty_images_are_all_named(tmp_path: Path) -> None:
    make(tmp_path)
    names = Images("train", tmp_path, 8).names
    for name in names:
        save(tmp_path / name / "1.png", np.full((8, 8), 9, np.uint8))
    with pytest.raises(ImagesError) as refused:
        Images("train", tmp_path, 8)
    assert all(str(tmp_path / name / "1.png") in str(refused.value) for name in names)
    assert str(tmp_path / names[0] / "0.png") not in str(refused.value)


def test_faint_images_and_such_of_few_bits_are_all_named_and_left_out_if_asked(tmp_path: Path) -> None:
    make(tmp_path, 7, 4)
    faint, few_bits = tmp_path / "class0" / "0.png", tmp_path / "class1" / "1.png"
    save(faint, np.arange(252, 256, dtype=np.uint8).repeat(16).reshape(8, 8))
    save(few_bits, np.arange(64, dtype=np.uint16).reshape(8, 8) * 16)
    with pytest.raises(ImagesError) as refused:
        Images("train", tmp_path, 8)
    assert all(str(path) in str(refused.value) for path in (faint, few_bits))
    used = [Images(split, tmp_path, 8, skip_bad=True) for split in SPLITS]
    assert sum(one.counts.sum() for one in used) == 7 * 4 - 2


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
    with pytest.warns(UserWarning, match="2 of 6 images .* the same as another when read, 1 of them .* another class"):
        Images("train", tmp_path, 8)


def test_images_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    same = (tmp_path / "class0" / "0.png").read_bytes()
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(same)
    with pytest.raises(ImagesError, match="all 6 images are the same"):
        Images("train", tmp_path, 8)


def test_an_image_of_two_splits_is_told(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / class_names("test", tmp_path)[0] / "0.png").write_bytes(
        (tmp_path / class_names("train", tmp_path)[1] / "2.png").read_bytes()
    )
    for split in ("train", "test"):
        with pytest.warns(UserWarning, match="1 of 6 images .* are also in another split"):
            Images(split, tmp_path, 8)

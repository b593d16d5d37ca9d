"""Images that are read once: threads, the cache, and what becomes of a cache that doesn't fit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.data import decode as module
from metarl.data.decode import Decoded, decode
from metarl.data.folders import scan
from metarl.data.pictures import DAMAGED, EMPTY, Reading


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of six images each, one damaged and one empty, and a cache of its own."""
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "images" / f"{number // 6}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(9, 9), dtype=np.uint8)).save(path)
    (tmp_path / "images" / "0" / "3.png").write_bytes(b"no image")
    Image.new("L", (9, 9), 7).save(tmp_path / "images" / "1" / "8.png")
    return tmp_path / "images"


def read(folder: Path, size: int = 5) -> Decoded:
    tree = scan(folder)
    return decode(tree.root, tree.classes, Reading(size))


def kept(folder: Path) -> list[Path]:
    return sorted((folder.parent / "cache" / "images").iterdir())


def same(one: Decoded, other: Decoded) -> bool:
    return np.array_equal(one.images, other.images) and one.problems == other.problems


def test_what_was_read_once_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(folder)
    assert {number: problem.kind for number, problem in first.problems.items()} == {3: DAMAGED, 10: EMPTY}
    order = [path for one in scan(folder).classes for path in (folder / one.place / file.name for file in one.files)]
    for number, path in enumerate(order):
        expected = np.zeros((5, 5), np.uint8) if number in first.problems else Reading(5).read(path)
        assert np.array_equal(first.images[number], expected)
    monkeypatch.setattr(module, "read_files", None)
    again = read(folder)
    assert same(again, first)
    assert again.note == ""
    monkeypatch.undo()


def test_the_number_of_threads_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for processors in (1, 5):
        monkeypatch.setattr(module, "_processors", lambda count=processors: count)
        monkeypatch.setenv("METARL_CACHE", str(folder.parent / f"cache{processors}"))
        made.append(read(folder))
    assert same(*made)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, None])
def test_a_damaged_cache_is_made_again(folder: Path, at: float | None) -> None:
    first = read(folder, 40)
    (cache,) = kept(folder)
    whole = cache.read_bytes()
    damaged = bytearray(whole)
    if at is None:
        del damaged[len(whole) // 2 :]
    else:
        damaged[int(at * len(whole))] ^= 0xFF
    cache.write_bytes(damaged)
    again = read(folder, 40)
    assert same(again, first)
    assert "damaged" in again.note
    assert kept(folder) == [cache], "replaced, and no temporary file is left"
    assert read(folder, 40).note == ""


def test_a_cache_that_would_be_unpickled_is_not_used(folder: Path) -> None:
    first = read(folder)
    (cache,) = kept(folder)
    with np.load(cache) as arrays:
        parts = dict(arrays)
    parts["images"] = np.array([{"an": "object"}], object)
    with cache.open("wb") as file:
        np.savez(file, **parts)
    again = read(folder)
    assert same(again, first)
    assert "damaged" in again.note


@pytest.mark.parametrize("change", ["content", "name", "gone", "new"])
def test_a_folder_that_has_changed_is_read_again(folder: Path, change: str) -> None:
    first, path = read(folder), folder / "0" / "1.png"
    if change == "content":
        Image.new("L", (30, 30), 7).save(path)
    elif change == "name":
        path.rename(path.with_name("7.png"))
    elif change == "gone":
        path.unlink()
    else:
        path.with_name("7.png").write_bytes(path.read_bytes())
    again = read(folder)
    assert "has changed" in again.note
    assert not same(again, first)
    assert len(kept(folder)) == 1


def test_other_ways_of_reading_have_files_of_their_own_and_the_oldest_are_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    for size in (5, 6, 7):
        read(folder, size)
    assert len(kept(folder)) == 2
    assert read(folder, 7).note == ""


def test_without_a_cache_images_are_read_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(folder)
    (folder.parent / "file").touch()
    monkeypatch.setenv("METARL_CACHE", str(folder.parent / "file" / "cache"))
    assert same(read(folder), first)

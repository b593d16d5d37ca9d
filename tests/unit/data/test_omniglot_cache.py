"""The cached array of Omniglot's drawings: kept, mapped, shared, and built again when damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omniglot_archive import NAMES, entries, pack, small_set

from metarl.data import omniglot_cache
from metarl.data.omniglot_archives import Drawings
from metarl.data.omniglot_cache import load_drawings
from metarl.data.omniglot_places import OmniglotError

Load = Callable[..., tuple[Drawings, int]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("METARL_DATA", raising=False)
    return tmp_path / "cache" / "metarl" / "omniglot"


@pytest.fixture
def load(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load as a new process would; gives the drawings and how often the archives were read."""
    folder = small_set(tmp_path / "data")
    read = omniglot_cache.read_drawings

    def fresh(size: int = 28) -> tuple[Drawings, int]:
        reads = []
        monkeypatch.setattr(omniglot_cache, "read_drawings", lambda *given: (reads.append(1), read(*given))[1])
        omniglot_cache._shared.cache_clear()
        found = load_drawings(folder, size, verify=False)
        omniglot_cache._shared.cache_clear()
        return found, len(reads)

    return fresh


def test_archives_are_read_once_and_the_array_is_mapped(load: Load, cache: Path) -> None:
    first, reads = load()
    assert reads == 1
    second, reads = load()
    assert reads == 0
    for found in (first, second):
        assert isinstance(found.pictures, np.memmap)
        assert found.pictures.mode == "r"
        assert found.pictures.shape == (4, 20, 28, 28)
        assert found.names == ("Greek/character01", "Greek/character02", "Keble/character01", "Oriya/character07")
    assert np.array_equal(first.pictures, second.pictures)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]


def test_sizes_are_kept_apart(load: Load) -> None:
    assert load(28)[0].pictures.shape[2:] == (28, 28)
    assert load(20)[0].pictures.shape[2:] == (20, 20)
    assert load(28)[1] == load(20)[1] == 0


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1000)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def pickled(file: Path) -> None:
    np.save(file, np.array([{"a": 1}]), allow_pickle=True)


@pytest.mark.parametrize("damage", [cut, flip, empty, Path.unlink, pickled])
def test_a_damaged_array_is_built_again(load: Load, cache: Path, damage: Callable[[Path], None]) -> None:
    whole = load()[0].pictures.tobytes()
    damage(next(cache.glob("*.npy")))
    again, reads = load()
    assert reads == 1
    assert again.pictures.tobytes() == whole
    assert load()[1] == 0


def rename(file: Path) -> None:
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"names": told["names"][::-1]}))


def other_source(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": 27}))


def a_list(file: Path) -> None:
    file.write_text("[1]")


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [rename, other_source, a_list, empty, halve])
def test_a_damaged_description_is_built_again(load: Load, cache: Path, damage: Callable[[Path], None]) -> None:
    names = load()[0].names
    damage(next(cache.glob("*.json")))
    again, reads = load()
    assert reads == 1
    assert again.names == names
    assert load()[1] == 0


def test_other_archives_have_an_array_of_their_own(load: Load, tmp_path: Path) -> None:
    assert load()[0].names[0] == "Greek/character01"
    pack(tmp_path / "data" / "images_background.zip", entries(NAMES[0], [(1, "Latin/character01")]))
    changed, reads = load()
    assert reads == 1
    assert changed.names == ("Latin/character01", "Keble/character01", "Oriya/character07")


def test_without_a_cache_that_can_be_written_it_works(load: Load, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    found, reads = load()
    assert reads == 1
    assert found.pictures.shape == (4, 20, 28, 28)
    assert not found.pictures.flags.writeable
    assert cache.read_text() == "a file where the folder should be"


def test_a_crash_while_writing_leaves_nothing(load: Load, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(file: object, array: object, **_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", crash)
        assert load()[0].pictures.shape == (4, 20, 28, 28)
    assert list(cache.iterdir()) == []
    assert load()[1] == 1


def test_in_a_process_it_is_shared(tmp_path: Path, cache: Path) -> None:
    folder = small_set(tmp_path / "data")
    assert load_drawings(folder, verify=False) is load_drawings(str(folder), 28, verify=False)


def test_archives_that_were_not_published_are_refused(tmp_path: Path, cache: Path) -> None:
    folder = small_set(tmp_path / "data")
    with pytest.raises(OmniglotError, match=r"not the published images_background\.zip"):
        load_drawings(folder)
    assert not cache.exists()


@pytest.mark.parametrize("size", [0, -1, 106])
def test_a_size_that_makes_no_sense(size: int) -> None:
    with pytest.raises(OmniglotError, match=f"{size} pixels were asked for, expected 1 to 105"):
        load_drawings(size=size)

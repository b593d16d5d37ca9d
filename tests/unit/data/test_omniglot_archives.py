"""Omniglot's archives: found, verified, read, cached and downloaded, with small archives in their place."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from omniglot_archive import NAMES, drawing, entries, pack, small_set

from metarl.data.omniglot import OmniglotError, archives, download, drawings, found
from metarl.data.omniglot.archives import ARCHIVES, Archive, find_archives, search_path
from metarl.data.omniglot.drawings import load_drawings, read_drawings

CHARACTERS = ("Greek/character01", "Greek/character02", "Keble/character01", "Oriya/character07")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no other place to find anything in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("METARL_DATA", raising=False)
    drawings._shared.cache_clear()
    yield tmp_path / "cache" / "metarl" / "omniglot"
    drawings._shared.cache_clear()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with small archives that count as the published ones, and a server that has them."""
    folder = small_set(tmp_path / "published")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        small = []
        for name in NAMES:
            data = (folder / f"{name}.zip").read_bytes()
            url = f"http://127.0.0.1:{server.server_address[1]}/{name}.zip"
            small.append(Archive(f"{name}.zip", url, hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()))
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(archives, "ARCHIVES", tuple(small))
        yield folder
        server.shutdown()
        thread.join()


def refused(call: Callable[[], object], *parts: str) -> None:
    with pytest.raises(OmniglotError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows whenever archives are read."""
    counted: list[int] = []
    real = read_drawings
    monkeypatch.setattr(drawings, "read_drawings", lambda *args: (counted.append(1), real(*args))[1])
    return counted


def fresh(folder: Path, size: int = 28) -> drawings.Drawings:
    """Load as a new process would."""
    drawings._shared.cache_clear()
    return load_drawings(folder, size)


def test_drawings_are_in_the_order_of_names_and_drawers(tmp_path: Path) -> None:
    folder = small_set(tmp_path / "data")
    read = read_drawings([folder / f"{name}.zip" for name in NAMES], 105)
    assert read.names == CHARACTERS
    for character in range(4):
        for drawer in range(20):
            expected = np.where(drawing(character + 1, drawer + 1), 255, 0)
            assert np.array_equal(read.images[character, drawer], expected)


@pytest.mark.parametrize("size", [1, 15, 21, 28, 35])
def test_smaller_is_the_mean_over_areas(tmp_path: Path, size: int) -> None:
    path = pack(tmp_path / "images_background.zip", entries(NAMES[0], [(1, "Greek/character01")]))
    images = read_drawings([path], size).images
    assert images.dtype == np.uint8
    for drawer in range(20):
        ink = drawing(1, drawer + 1)
        assert images[0, drawer].mean() / 255 == pytest.approx(ink.mean(), abs=0.004)
        if 105 % size == 0:
            areas = ink.reshape(size, 105 // size, size, 105 // size).mean((1, 3))
            assert images[0, drawer] == pytest.approx(255 * areas, abs=1.01)  # rounded along each axis


def test_both_ways_of_packing_and_files_of_file_managers_are_read(tmp_path: Path) -> None:
    content = entries(NAMES[0], [(1, "Greek/character01")])
    others = {
        "images_background/": b"",
        "images_background/Greek/.DS_Store": b"x",
        "__MACOSX/images_background/Greek/character01/._0001_01.png": b"x",
    }
    plain = read_drawings([pack(tmp_path / "a.zip", content)], 28)
    stored = read_drawings([pack(tmp_path / "b.zip", content | others, zipfile.ZIP_STORED)], 28)
    assert np.array_equal(plain.images, stored.images)


def test_archives_are_read_once_and_kept(published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = reads(monkeypatch)
    first = load_drawings(published)
    assert load_drawings(str(published), 28) is first, "shared within a process"
    again = fresh(published)
    assert len(counted) == 1
    assert again.names == first.names == CHARACTERS
    assert np.array_equal(again.images, first.images)
    assert not first.images.flags.writeable
    assert not again.images.flags.writeable
    assert fresh(published, 20).images.shape == (4, 20, 20, 20)
    assert len(list(cache.iterdir())) == len(counted) == 2


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def pickled(file: Path) -> None:
    np.savez(file, images=np.array([{"a": 1}]), names=np.array(["a"]))


@pytest.mark.parametrize("damage", [cut, flip, pickled, lambda file: file.write_bytes(b""), Path.unlink])
def test_a_damaged_cache_is_built_again(
    published: Path, cache: Path, damage: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_drawings(published).images.tobytes()
    damage(next(cache.glob("*.npz")))
    counted = reads(monkeypatch)
    assert fresh(published).images.tobytes() == whole
    assert fresh(published).images.tobytes() == whole
    assert len(counted) == 1


def test_without_a_cache_that_can_be_written_it_works(published: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    assert load_drawings(published).images.shape == (4, 20, 28, 28)
    assert cache.read_text() == "a file where the folder should be"


def test_other_archives_than_the_published_are_refused(published: Path, cache: Path) -> None:
    flip(published / "images_evaluation.zip")
    refused(lambda: load_drawings(published), str(published / "images_evaluation.zip"), "metarl data omniglot")
    assert not cache.exists()


@pytest.mark.parametrize("size", [0, -1, 106])
def test_a_size_out_of_range(size: int) -> None:
    refused(lambda: load_drawings(size=size), f"size is {size}", "1 to 105")


def test_where_archives_are_searched(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METARL_DATA", str(tmp_path / "named"))
    places = [tmp_path / "given", tmp_path / "given" / "omniglot", tmp_path / "named", tmp_path / "named" / "omniglot"]
    places += [cache.parent, cache]
    assert search_path(tmp_path / "given") == places
    assert search_path("~/x")[0] == Path.home() / "x"
    assert not found(tmp_path / "given")
    refused(lambda: find_archives(tmp_path / "given"), "images_background.zip", *map(str, places), "METARL_DATA")
    for place in reversed(places):  # the first on the list is taken
        small_set(place)
        assert found(tmp_path / "given")
        assert find_archives(tmp_path / "given") == [place / f"{name}.zip" for name in NAMES]


def test_a_download_goes_to_its_folder_or_the_cache(published: Path, tmp_path: Path, cache: Path) -> None:
    for folder, place in ((tmp_path / "data", tmp_path / "data" / "omniglot"), (None, cache)):
        assert download(folder, progress=False) == [place / f"{name}.zip" for name in NAMES]
        assert sorted(path.name for path in place.glob("images*")) == [f"{name}.zip" for name in NAMES]
        assert load_drawings(folder).names == CHARACTERS


def test_archives_that_are_there_are_not_downloaded_again(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METARL_DATA", str(published))
    assert download(progress=False) == [published / f"{name}.zip" for name in NAMES]
    place = tmp_path / "data" / "omniglot"
    assert download(tmp_path / "data", progress=False)[0].parent == place, "a folder that was named gets them"
    (published / "images_evaluation.zip").unlink()  # what is whole needs no server, what is damaged is replaced
    flip(place / "images_background.zip")
    assert download(tmp_path / "data", progress=False) == [place / f"{name}.zip" for name in NAMES]
    assert load_drawings(tmp_path / "data").names == CHARACTERS


def test_a_download_with_a_wrong_checksum_is_removed_and_one_without_network_or_disk_is_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(published / "images_background.zip")
    refused(lambda: download(tmp_path / "data", progress=False), "hash")
    assert list((tmp_path / "data" / "omniglot").iterdir()) == []
    closed = Archive("images_background.zip", "http://127.0.0.1:1/images_background.zip", "0" * 32, "0" * 64)
    monkeypatch.setattr(archives, "ARCHIVES", (closed,))
    refused(lambda: download(tmp_path / "data", progress=False), closed.url, "images_background.zip")
    (tmp_path / "file").write_bytes(b"")
    refused(lambda: download(tmp_path / "file", progress=False), str(tmp_path / "file"))


def test_the_official_addresses_are_encrypted() -> None:
    assert all(archive.url.startswith("https://raw.githubusercontent.com/brendenlake/") for archive in ARCHIVES)

"""Omniglot's archives: what is read out of them, and that damaged and hostile ones are refused with one line."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from omniglot_archive import NAMES, drawing, entries, pack, png, small_set
from PIL import Image

from metarl.data import omniglot_archives
from metarl.data.omniglot_archives import read_drawings
from metarl.data.omniglot_places import ARCHIVES, OmniglotError, check_published, checksums, find_archives, places

ONE = [(1, "Greek/character01")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images_background.zip"


def refusal(path: Path, *parts: str) -> str:
    """The one line with which an archive is refused; nothing is left beside it."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(OmniglotError) as caught:
        read_drawings([path], 28, quiet=True)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for part in parts:
        assert part in message
    assert sorted(path.parent.rglob("*")) == before
    return message


def test_characters_in_the_order_of_their_numbers_drawings_in_that_of_their_drawers(tmp_path: Path) -> None:
    folder = small_set(tmp_path)
    found = read_drawings([folder / f"{name}.zip" for name in NAMES], 105)
    assert found.names == ("Greek/character01", "Greek/character02", "Keble/character01", "Oriya/character07")
    assert found.pictures.shape == (4, 20, 105, 105)
    for number in range(4):
        for drawer in range(20):
            expected = np.where(drawing(number + 1, drawer + 1), 255, 0)
            assert np.array_equal(found.pictures[number, drawer], expected)


@pytest.mark.parametrize("size", [1, 15, 21, 35])
def test_smaller_is_the_mean_over_areas(path: Path, size: int) -> None:
    found = read_drawings([pack(path, entries(NAMES[0], ONE))], size)
    side = 105 // size
    for drawer in range(20):
        ink = drawing(1, drawer + 1).reshape(size, side, size, side).mean((1, 3))
        assert found.pictures[0, drawer] == pytest.approx(255 * ink, abs=1.01)  # rounded along each axis


def test_ink_is_kept_where_areas_cut_pixels(path: Path) -> None:
    pictures = read_drawings([pack(path, entries(NAMES[0], ONE))], 28).pictures
    assert pictures.dtype == np.uint8
    for drawer in range(20):
        assert pictures[0, drawer].mean() / 255 == pytest.approx(drawing(1, drawer + 1).mean(), abs=0.002)


def test_both_ways_of_packing_and_the_litter_of_file_managers_are_taken(path: Path) -> None:
    content = entries(NAMES[0], ONE)
    litter = {
        "images_background/": b"",
        "images_background/Greek/.DS_Store": b"x",
        "__MACOSX/images_background/._Greek": b"x",
    }
    plain = read_drawings([pack(path, content)], 28)
    stored = read_drawings([pack(path, content | litter, zipfile.ZIP_STORED)], 28)
    assert np.array_equal(plain.pictures, stored.pictures)


def test_not_a_zip(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>")
    refusal(path, "no whole zip archive", "metarl data omniglot")
    path.write_bytes(b"")
    refusal(path, "no whole zip archive")


def test_cut_short_anywhere(path: Path) -> None:
    whole = pack(path, entries(NAMES[0], ONE)).read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        refusal(path, "no whole zip archive")


def test_a_flipped_byte(path: Path) -> None:
    data = bytearray(pack(path, entries(NAMES[0], ONE), zipfile.ZIP_STORED).read_bytes())
    data[200] ^= 255
    path.write_bytes(data)
    refusal(path)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "images_background/../../evil.png",
        "/etc/evil.png",
        "C:/evil.png",
        "images_background\\..\\evil.png",
        "__MACOSX/../../evil.png",
        "images_background/Greek/character01/0001_01.png\0.exe",
    ],
)
def test_a_name_that_leads_out(path: Path, name: str) -> None:
    content = entries(NAMES[0], ONE)
    with zipfile.ZipFile(pack(path, content), "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"x")
    refusal(path, "leads out")
    assert not list(path.parent.parent.rglob("evil*"))


def test_a_link(path: Path) -> None:
    with zipfile.ZipFile(pack(path, entries(NAMES[0], ONE)), "a") as archive:
        info = zipfile.ZipInfo("images_background/Greek/character02/0002_01.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    refusal(path, "is a link")


@pytest.mark.parametrize(
    "name", ["setup.py", "images_background/Greek/0001_01.png", "images_evaluation/Greek/character01/0001_01.png"]
)
def test_an_entry_that_does_not_belong(path: Path, name: str) -> None:
    refusal(pack(path, entries(NAMES[0], ONE) | {name: b"x"}), repr(name), "expected images_background/ALPHABET")


def test_another_way_of_packing(path: Path) -> None:
    refusal(pack(path, entries(NAMES[0], ONE), zipfile.ZIP_LZMA), "packed in a way")


def test_one_great_entry_and_many_small_ones(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = {"images_background/Greek/character02/0002_01.png": bytes(10_000_000)}
    refusal(pack(path, entries(NAMES[0], ONE) | bomb), "more than 16384 bytes")
    monkeypatch.setattr(omniglot_archives, "_MOST_UNPACKED", 9_000_000)
    refusal(path, "unpacks to more than 9000000 bytes")
    monkeypatch.setattr(omniglot_archives, "_MOST_ENTRIES", 20)
    refusal(path, "21 entries")


def test_an_entry_that_lies_about_its_size_is_not_unpacked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "images_background/Greek/character01/0001_01.png"
    pack(path, entries(NAMES[0], ONE) | {name: bytes(10_000_000)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 10_000_000), struct.pack("<I", 200)))
    asked = []
    read = zipfile.ZipExtFile._read1  # type: ignore[attr-defined]  # not in typeshed
    monkeypatch.setattr(zipfile.ZipExtFile, "_read1", lambda self, n: (asked.append(n), read(self, n))[1], raising=True)
    refusal(path)
    assert asked
    assert max(asked) < 20_000


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims ``width`` by ``height`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def gif() -> bytes:
    file = io.BytesIO()
    Image.fromarray(drawing(1, 1)).save(file, "GIF")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (huge_png(60_000, 60_000), "no PNG of 105 by 105"),
        (png(drawing(1, 1, 104)), "no PNG of 105 by 105"),
        (b"not a picture", "no PNG of 105 by 105"),
        (b"", "no PNG of 105 by 105"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "no PNG of 105 by 105"),
        (gif(), "no PNG of 105 by 105"),
        (png(drawing(1, 1))[:60], "damaged PNG"),
        (huge_png(105, 105), "damaged PNG"),
    ],
    ids=["huge", "other size", "text", "empty", "only a header", "GIF", "cut short", "too few pixels"],
)
def test_a_picture_that_is_none(path: Path, data: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "no PNG" in why:
        monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a decoder saw the data"))
    content = entries(NAMES[0], ONE) | {"images_background/Greek/character01/0001_01.png": data}
    refusal(pack(path, content), "0001_01.png", why)


def test_a_character_without_its_twenty_drawings(path: Path) -> None:
    refusal(pack(path, entries(NAMES[0], ONE, drawers=19)), "Greek/character01", "19 drawings")
    refusal(pack(path, {}), "no drawings")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zipfile, that a name comes twice
        with zipfile.ZipFile(pack(path, entries(NAMES[0], ONE)), "a") as archive:
            archive.writestr("images_background/Greek/character01/0001_20.png", png(drawing(1, 20)))
    refusal(path, "21 drawings")


def test_numbers_that_two_characters_share(path: Path) -> None:
    refusal(pack(path, entries(NAMES[0], [*ONE, (1, "Greek/character02")])), "one number")
    refusal(pack(path, entries(NAMES[0], [*ONE, (2, "Greek/character01")])), "one number")


def test_only_the_published_files_are_accepted(path: Path) -> None:
    pack(path, entries(NAMES[0], ONE))
    sums = checksums(path)
    with pytest.raises(
        OmniglotError, match=r"not the published images_background.zip.*expected md5 68d2efa1"
    ) as caught:
        check_published(path, ARCHIVES[0], sums)
    assert "metarl data omniglot" in str(caught.value)


def test_a_file_too_large_for_an_archive_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**27)
    refusal(path, "more than 67108864 bytes")
    with pytest.raises(OmniglotError, match="more than 67108864 bytes"):
        checksums(path)


def test_archives_are_looked_for_in_the_folder_then_the_variable_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METARL_DATA", str(tmp_path / "variable"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    three = [tmp_path / "given", tmp_path / "variable", tmp_path / "cache" / "metarl"]
    assert places(tmp_path / "given") == [place for root in three for place in (root, root / "omniglot")]
    for place in reversed(places(tmp_path / "given")):
        small_set(place)
        assert find_archives(tmp_path / "given") == [place / f"{name}.zip" for name in NAMES]


def test_what_is_missing_is_said_with_where_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METARL_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (small_set(tmp_path / "given") / "images_evaluation.zip").unlink()
    with pytest.raises(OmniglotError) as caught:
        find_archives(tmp_path / "given")
    message = str(caught.value)
    assert message.startswith("there is no images_evaluation.zip of Omniglot")
    for part in (tmp_path / "given", tmp_path / "cache" / "metarl" / "omniglot", "`metarl data omniglot`", "--data"):
        assert str(part) in message
    assert "METARL_DATA" in message
    assert "begun" not in message
    (tmp_path / "given" / "images_evaluation.zip.part").write_bytes(b"PK")
    with pytest.raises(OmniglotError, match=f"begun in {tmp_path / 'given'}"):
        find_archives(tmp_path / "given")

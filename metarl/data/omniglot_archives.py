"""Reads the drawings out of the Omniglot archives, trusting nothing in them: names, sizes and pictures are checked."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metarl.data.omniglot_places import MOST_BYTES, OmniglotError

SIDE = 105
"""Pixels along a drawing as published."""
DRAWERS = 20
"""Drawings of a character, each by another person."""

_MOST_ENTRIES = 100_000
"""Of an archive; the larger one has 20,275."""
_MOST_PICTURE = 16_384
"""Bytes of one PNG; the largest published one has 522."""
_MOST_UNPACKED = 64 * 2**20
"""Bytes of all entries of an archive; the larger one has 4.8 million."""
_PICTURE = re.compile(r"(?P<alphabet>[^/]+)/(?P<character>character\d\d)/(?P<id>\d{4})_(?P<drawer>\d\d)\.png")
_EXTRA = re.compile(r"__MACOSX/.*|(.*/)?(\.DS_Store|Thumbs\.db|\._[^/]*)")
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


class Drawings(NamedTuple):
    """What the archives hold, in the order of the data set's own numbers."""

    pictures: npt.NDArray[np.uint8]
    """``[C, 20, H, W]``, 255 where all is ink; the drawings of a character in the order of the drawers' numbers."""
    names: tuple[str, ...]
    """``ALPHABET/characterNN`` of each character."""


class _Entry(NamedTuple):
    number: int
    """Of the character in the data set, from 1."""
    name: str
    drawer: int
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo


def read_drawings(paths: Sequence[Path], size: int, *, quiet: bool = False) -> Drawings:
    """All drawings of the archives ``paths``, made smaller by area to ``size`` by ``size`` pixels.

    Nothing is written. A bar shows progress where standard error is a terminal, unless ``quiet``.

    Raises:
        OmniglotError: an archive is none, damaged, hostile or incomplete.
    """
    from tqdm import tqdm

    opened: list[zipfile.ZipFile] = []
    try:
        for path in paths:
            opened.append(_open(path))
        entries = sorted(
            (entry for archive in opened for entry in _pictures(archive)),
            key=lambda entry: (entry.number, entry.drawer),
        )
        names = _names(entries, paths)
        pictures = np.empty((len(entries), size, size), np.uint8)
        hidden = True if quiet else None
        for row, entry in enumerate(tqdm(entries, "reading Omniglot", unit="drawing", disable=hidden, leave=False)):
            pictures[row] = _small(entry, size)
    finally:
        for archive in opened:
            archive.close()
    return Drawings(pictures.reshape(len(names), DRAWERS, size, size), names)


def _open(path: Path) -> zipfile.ZipFile:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise OmniglotError(f"{path} has more than {MOST_BYTES} bytes, so it is no Omniglot archive")
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, struct.error) as error:
        if isinstance(error, OmniglotError):
            raise
        raise OmniglotError(f"{path} is no whole zip archive ({error}); get it with `metarl data omniglot`") from None


def _pictures(archive: zipfile.ZipFile) -> list[_Entry]:
    """The drawings among the entries; every entry is checked before any is read."""
    infos, top = archive.infolist(), f"{Path(str(archive.filename)).stem}/"
    if len(infos) > _MOST_ENTRIES:
        raise OmniglotError(f"{archive.filename} is refused: {len(infos)} entries, expected {_MOST_ENTRIES} at most")
    if sum(info.file_size for info in infos) > _MOST_UNPACKED:
        raise OmniglotError(f"{archive.filename} is refused: it unpacks to more than {_MOST_UNPACKED} bytes")
    found = []
    for info in infos:
        name = info.orig_filename  # as it stands in the archive; `filename` is tidied up
        kind = stat.S_IFMT(info.external_attr >> 16)
        if _escapes(name) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, info, "it leads out of the archive or is a link")
        if info.is_dir() or _EXTRA.fullmatch(name):
            continue
        match = _PICTURE.fullmatch(name.removeprefix(top)) if name.startswith(top) else None
        if match is None:
            raise _refused(archive, info, f"expected {top}ALPHABET/characterNN/IIII_DD.png")
        if info.file_size > _MOST_PICTURE or info.flag_bits & 1:
            raise _refused(archive, info, f"it is encrypted or has more than {_MOST_PICTURE} bytes")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(archive, info, "it is packed in a way that the published archives don't use")
        character = f"{match['alphabet']}/{match['character']}"
        found.append(_Entry(int(match["id"]), character, int(match["drawer"]), archive, info))
    return found


def _escapes(name: str) -> bool:
    return name.startswith("/") or any(sign in name for sign in "\\:\0") or ".." in name.split("/")


def _names(entries: Sequence[_Entry], paths: Sequence[Path]) -> tuple[str, ...]:
    """The characters, after checking that each has its 20 drawings and one number."""
    where = " and ".join(str(path) for path in paths)
    if not entries:
        raise OmniglotError(f"{where} hold no drawings; get the archives with `metarl data omniglot`")
    drawers: dict[tuple[int, str], list[int]] = {}
    for entry in entries:
        drawers.setdefault((entry.number, entry.name), []).append(entry.drawer)
    for (number, name), have in drawers.items():
        if sorted(have) != list(range(1, DRAWERS + 1)):
            raise OmniglotError(
                f"{where}: {name} (number {number}) has {len(have)} drawings, expected those of drawers 1 to {DRAWERS} "
                "once each; get the archives again with `metarl data omniglot`"
            )
    names = tuple(name for _, name in drawers)
    if len({number for number, _ in drawers}) < len(names) or len(set(names)) < len(names):
        raise OmniglotError(f"{where}: two characters have one number, or one has two; expected a number for each")
    return names


def _small(entry: _Entry, size: int) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        with entry.archive.open(entry.info) as file:
            data = file.read(_MOST_PICTURE + 1)  # never all of it: the size that an entry states may be a lie
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, struct.error) as error:
        raise _refused(entry.archive, entry.info, f"it can't be unpacked ({error})") from None
    # The header is read before any decoder sees the data: a small file can claim a huge picture.
    if not data.startswith(_PNG) or struct.unpack(">II", data[16:24].ljust(8, b"\0")) != (SIDE, SIDE):
        raise _refused(entry.archive, entry.info, f"it is no PNG of {SIDE} by {SIDE} pixels")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            ink = ImageOps.invert(image.convert("L"))
    except (OSError, SyntaxError, ValueError, zlib.error, struct.error) as error:
        raise _refused(entry.archive, entry.info, f"it is a damaged PNG ({error})") from None
    return np.asarray(ink.resize((size, size), Image.Resampling.BOX))


def _refused(archive: zipfile.ZipFile, info: zipfile.ZipInfo, why: str) -> OmniglotError:
    return OmniglotError(
        f"{archive.filename} is refused at its entry {info.orig_filename[:120]!r}: {why}; "
        "get the published archive with `metarl data omniglot`"
    )

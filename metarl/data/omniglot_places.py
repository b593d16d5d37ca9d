"""The two published Omniglot archives: where they are looked for, and the checksums that they are known by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "METARL_DATA"
"""The environment variable that names a folder of data sets."""
FOLDER = "omniglot"
"""The subfolder of a folder of data sets."""
MOST_BYTES = 64 * 2**20
"""No archive is larger; the published ones have 9 and 6 MB."""

_OFFICIAL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
_ADVICE = f"get it with `metarl data omniglot`, or name its folder with --data or {VARIABLE}"


class OmniglotError(ValueError):
    """The data are missing, damaged, or not the published ones; the message is one line."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True)
class Archive:
    """A published archive."""

    name: str
    """Its file's name without ``.zip``, and of the one folder that it holds."""
    url: str
    md5: str
    """Of the official file."""
    sha256: str
    """Of the same pictures, packed again without compression."""

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.name}.zip"

    def variant(self, sums: Checksums) -> str | None:
        """Which of the published files has these checksums: ``official``, ``repacked``, or none of them."""
        if sums.md5 == self.md5:
            return "official"
        return "repacked" if sums.sha256 == self.sha256 else None


@dataclass(frozen=True)
class Checksums:
    """Of one file."""

    size: int
    md5: str
    sha256: str


ARCHIVES = (
    Archive(
        "images_background",
        f"{_OFFICIAL}/images_background.zip",
        "68d2efa1b9178cc56df9314c21c6e718",
        "afa13981c5415ce39da931bb48f113758145b83e3e359f88faa20ad2c6bb52e9",
    ),
    Archive(
        "images_evaluation",
        f"{_OFFICIAL}/images_evaluation.zip",
        "6b91aef0f799c5bb55b94e3f2daec811",
        "3543aab996e25aee663520b8447d950c035a853e9261f1cd96028b345ad114da",
    ),
)
"""Lake et al. 2015: 964 characters of 30 alphabets, and 659 of 20."""


def cache_root() -> Path | None:
    """The user's cache of this program, ``$XDG_CACHE_HOME/metarl`` or ``~/.cache/metarl``; None without a home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # the base directory specification has relative ones ignored
        return Path(named) / "metarl"
    try:
        return Path.home() / ".cache" / "metarl"
    except RuntimeError:
        return None


def places(folder: str | Path | None = None) -> list[Path]:
    """The folders that are searched, in order: ``folder``, ``METARL_DATA``, the user's cache, each with its subfolder.

    A path that begins with ``~`` is one in the home folder.
    """
    roots = [folder, os.environ.get(VARIABLE) or None, cache_root()]
    found = [Path(os.path.expanduser(root)) for root in roots if root is not None]
    return list(dict.fromkeys(place for root in found for place in (root, root / FOLDER)))


def find_archives(folder: str | Path | None = None, archives: Sequence[Archive] = ARCHIVES) -> list[Path]:
    """The first file of each archive's name in :func:`places`; what is in it is not looked at.

    Raises:
        OmniglotError: one is nowhere; says where it was looked for and what to do.
    """
    searched = places(folder)
    return [_first(archive, searched) for archive in archives]


def _first(archive: Archive, searched: Sequence[Path]) -> Path:
    for place in searched:
        if os.path.isfile(place / archive.file):  # unlike Path.is_file, also where the folder may not be read
            return place / archive.file
    begun = next((place for place in searched if os.path.isfile(place / f"{archive.file}.part")), None)
    half = f"; a download of it was begun in {begun} and goes on when asked for again" if begun else ""
    where = ", ".join(str(place) for place in searched)
    raise OmniglotError(f"there is no {archive.file} of Omniglot: looked in {where}{half}; {_ADVICE}")


def checksums(path: Path) -> Checksums:
    """Read a file once and give its checksums.

    Raises:
        OmniglotError: it can't be read, or has more than :data:`MOST_BYTES`.
    """
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                size += len(block)
                if size > MOST_BYTES:
                    raise OmniglotError(f"{path} has more than {MOST_BYTES} bytes, so it is no Omniglot archive")
                md5.update(block)
                sha256.update(block)
    except OSError as error:
        raise OmniglotError(f"{path} can't be read ({error.strerror or error}); {_ADVICE}") from None
    return Checksums(size, md5.hexdigest(), sha256.hexdigest())


def check_published(path: Path, archive: Archive, sums: Checksums) -> None:
    """Accept only the published files.

    Raises:
        OmniglotError: the checksums are of no published file: it is cut short, damaged or another one.
    """
    if archive.variant(sums) is None:
        raise OmniglotError(
            f"{path} is not the published {archive.file}: {sums.size} bytes with md5 {sums.md5}, expected md5 "
            f"{archive.md5} (or, repacked, sha256 {archive.sha256}); it is cut short, damaged or another file: "
            "remove it and get it again with `metarl data omniglot`"
        )

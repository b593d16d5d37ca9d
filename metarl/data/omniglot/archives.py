"""The two published Omniglot archives: where to find them, their checksums, and their download by pooch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.config import InputError

VARIABLE = "METARL_DATA"  # the environment variable that names a folder of data sets
FOLDER = "omniglot"  # the subfolder of a folder of data sets

_OFFICIAL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
_ADVICE = f"get it with `metarl data omniglot`, or name its folder with --data or {VARIABLE}"
_TIMEOUT = 30  # seconds without a response after which a download fails


class OmniglotError(InputError):
    """The archives are missing, damaged, or not the published ones."""


@dataclass(frozen=True)
class Archive:
    """A published archive: ``md5`` is that of the official file, ``sha256`` of the same images without compression."""

    file: str
    url: str
    md5: str
    sha256: str

    def variant(self, path: Path) -> str | None:
        """Which published file ``path`` is by its checksum: ``official``, ``repacked``, or None for any other.

        Raises:
            OmniglotError: the file can't be read.
        """
        from pooch import file_hash

        try:
            if file_hash(str(path), "md5") == self.md5:
                return "official"
            return "repacked" if file_hash(str(path), "sha256") == self.sha256 else None
        except OSError as error:
            problem = f"{path} can't be read ({error.strerror or error})"
            raise OmniglotError(problem, key=str(path), remedy=_ADVICE) from None


ARCHIVES = (
    Archive(
        "images_background.zip",
        f"{_OFFICIAL}/images_background.zip",
        "68d2efa1b9178cc56df9314c21c6e718",
        "afa13981c5415ce39da931bb48f113758145b83e3e359f88faa20ad2c6bb52e9",
    ),
    Archive(
        "images_evaluation.zip",
        f"{_OFFICIAL}/images_evaluation.zip",
        "6b91aef0f799c5bb55b94e3f2daec811",
        "3543aab996e25aee663520b8447d950c035a853e9261f1cd96028b345ad114da",
    ),
)
"""Lake et al. 2015: 964 characters of 30 alphabets, and 659 of 20."""


def cache_folder() -> Path:
    """This package's folder in the user's cache, on Linux ``$XDG_CACHE_HOME/metarl`` or ``~/.cache/metarl``."""
    from pooch import os_cache

    return Path(os_cache("metarl"))


def search_path(folder: str | Path | None = None) -> list[Path]:
    """The folders that are searched, in order: ``folder``, ``METARL_DATA``, the user's cache, each with its subfolder.

    Args:
        folder: a folder of data sets, or the one with the archives; ``~`` is the home folder.
    """
    roots = [folder, os.environ.get(VARIABLE) or None, cache_folder()]
    return list(dict.fromkeys(place for root in roots if root is not None for place in _with_subfolder(root)))


def find_archives(folder: str | Path | None = None) -> list[Path]:
    """The first file with each archive's name on :func:`search_path`; the content is not checked.

    Raises:
        OmniglotError: an archive is missing.
    """
    searched = search_path(folder)
    paths = [_first(archive, searched) for archive in ARCHIVES]
    for archive, path in zip(ARCHIVES, paths, strict=True):
        if path is None:
            problem = f"there is no {archive.file} of Omniglot in {', '.join(map(str, searched))}"
            raise OmniglotError(problem, key=archive.file, remedy=_ADVICE)
    return [path for path in paths if path is not None]


def found(folder: str | Path | None = None) -> bool:
    """Whether files with the names of both archives exist on :func:`search_path`; the content is not checked."""
    searched = search_path(folder)
    return all(_first(archive, searched) for archive in ARCHIVES)


def check_published(paths: Sequence[Path]) -> list[str]:
    """The variant of each archive, see :meth:`Archive.variant`.

    Args:
        paths: one file for each of :data:`ARCHIVES`, as :func:`find_archives` returns them.

    Raises:
        OmniglotError: a file is cut short, damaged or not a published archive.
    """
    variants = []
    for archive, path in zip(ARCHIVES, paths, strict=True):
        variant = archive.variant(path)
        if variant is None:
            expected = f"md5 {archive.md5} (or, repacked, sha256 {archive.sha256})"
            remedy = "remove it and get it again with `metarl data omniglot`"
            problem = f"{path} is not the published {archive.file}"
            raise OmniglotError(problem, key=str(path), expected=expected, remedy=remedy)
        variants.append(variant)
    return variants


def download(folder: str | Path | None = None, *, progress: bool = True) -> list[Path]:
    """Download the archives that are missing or damaged to ``folder/omniglot``.

    Args:
        folder: a folder of data sets, created if missing; None: the user's cache, unless an archive is found anywhere
            on :func:`search_path`.
        progress: show a progress bar on standard error.

    Returns:
        The path of each archive.

    Raises:
        OmniglotError: the network or the disk fails, or the checksum of a download is wrong (the file is removed).
    """
    root = cache_folder() if folder is None else Path(folder).expanduser()
    searched = search_path() if folder is None else _with_subfolder(root)
    return [_whole(archive, searched) or _retrieve(archive, root / FOLDER, progress) for archive in ARCHIVES]


def _with_subfolder(root: str | Path) -> list[Path]:
    path = Path(os.path.expanduser(root))
    return [path, path / FOLDER]


def _first(archive: Archive, searched: Sequence[Path]) -> Path | None:
    # os.path.isfile, unlike Path.is_file, is also False where the folder may not be read
    return next((place / archive.file for place in searched if os.path.isfile(place / archive.file)), None)


def _whole(archive: Archive, searched: Sequence[Path]) -> Path | None:
    path = _first(archive, searched)
    return path if path is not None and archive.variant(path) else None


def _retrieve(archive: Archive, folder: Path, progress: bool) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=_TIMEOUT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = pooch.retrieve(archive.url, f"md5:{archive.md5}", archive.file, folder, downloader=downloader)
    except (OSError, ValueError) as error:  # OSError is also the base class of requests' own errors
        problem = f"{archive.url} could not be downloaded to {folder / archive.file} ({error})"
        remedy = "try again, or put the file there by other means"
        raise OmniglotError(problem, key=archive.file, remedy=remedy) from None
    return Path(path)

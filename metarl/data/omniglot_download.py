"""Downloads the Omniglot archives: goes on with what is there, and gives a file its name only when it is proven."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from metarl.data.omniglot_places import (
    ARCHIVES,
    FOLDER,
    MOST_BYTES,
    Archive,
    OmniglotError,
    cache_root,
    checksums,
    find_archives,
)

_BLOCK = 64 * 1024
_SECONDS = 30
"""Without a byte for as long, a download is given up."""


def download(
    folder: str | Path | None = None,
    *,
    progress: bool = True,
    archives: Sequence[Archive] = ARCHIVES,
    schemes: Sequence[str] = ("https",),
    most: int = MOST_BYTES,
) -> list[Path]:
    """Get the published archives into ``folder/omniglot``, by default in the user's cache; returns their paths.

    One that is there already, whole, is left as it is; where no folder is named, that is in any of the usual places.
    What a broken download has left as ``NAME.zip.part`` is gone on with.

    Args:
        folder: a folder of data sets; made where it is missing.
        progress: show a bar where standard error is a terminal.
        archives: what to get.
        schemes: of addresses, also of those that a server sends on to.
        most: bytes of an archive.

    Raises:
        OmniglotError: the network or the disk fails, or what comes is not what was published (it is then removed).
    """
    root = Path(os.path.expanduser(folder)) if folder is not None else cache_root()
    if root is None:
        raise OmniglotError("there is no home folder to keep Omniglot in; name a folder with --data")
    return [
        _present(archive, folder) or _get(archive, root / FOLDER / archive.file, progress, schemes, most)
        for archive in archives
    ]


def _present(archive: Archive, folder: str | Path | None) -> Path | None:
    """A whole archive that is there already."""
    try:
        (path,) = find_archives(folder, [archive])
        inside = folder is None or path.is_relative_to(os.path.expanduser(folder))
        return path if inside and archive.variant(checksums(path)) else None
    except OmniglotError:
        return None


def _get(archive: Archive, target: Path, progress: bool, schemes: Sequence[str], most: int) -> Path:
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if part.is_file() and part.stat().st_size > most:
            part.unlink()
        if not (part.is_file() and archive.variant(checksums(part))):
            _receive(archive, part, progress, schemes, most)
        sums = checksums(part)
        if archive.variant(sums) is None:
            part.unlink()
            raise OmniglotError(
                f"what came from {archive.url} is not the published {archive.file}: {sums.size} bytes with md5 "
                f"{sums.md5}, expected md5 {archive.md5}; it was removed: try again, or put the file into "
                f"{target.parent} by other means"
            )
        os.replace(part, target)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise OmniglotError(
            f"{archive.url} could not be got to {target} ({str(error) or type(error).__name__}); try again, or put the "
            "file there by other means"
        ) from None
    return target


def _receive(archive: Archive, part: Path, progress: bool, schemes: Sequence[str], most: int) -> None:
    """Fill ``part`` from where it ends, or from its beginning where the server doesn't go on."""
    from tqdm import tqdm

    with _ask(archive.url, part, schemes) as response:
        done = _first_byte(response)
        if done not in (0, part.stat().st_size if part.is_file() else 0):
            raise OmniglotError(f"{archive.url} sends another part of the file than was asked for; try again")
        length = response.headers.get("Content-Length") or ""
        total = done + int(length) if length.isdecimal() else None
        hidden = None if progress else True
        with (
            part.open("ab" if done else "wb") as file,
            tqdm(desc=archive.file, total=total, initial=done, unit="B", unit_scale=True, disable=hidden) as bar,
        ):
            while (total or done) <= most and (block := response.read(_BLOCK)):
                done += len(block)
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if (total or done) > most:
        part.unlink()
        raise OmniglotError(f"{archive.url} sends more than {most} bytes, so it is not {archive.file}; it was removed")
    if total is not None and done < total:
        raise OmniglotError(
            f"{archive.url} stopped after {done} of {total} bytes; ask again, and it goes on from there"
        )


def _ask(url: str, part: Path, schemes: Sequence[str]) -> http.client.HTTPResponse:
    """Ask for what ``part`` lacks, or for all where the server says that nothing is left."""
    _check_scheme(url, schemes)
    opener = urllib.request.build_opener(_Redirects(schemes))
    request = urllib.request.Request(url, headers={"User-Agent": "metarl"})
    if part.is_file() and (have := part.stat().st_size):
        request.add_header("Range", f"bytes={have}-")
        try:
            return opener.open(request, timeout=_SECONDS)
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            error.close()
            request.remove_header("Range")
    return opener.open(request, timeout=_SECONDS)


def _first_byte(response: http.client.HTTPResponse) -> int:
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
    return int(match[1]) if match else -1


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to addresses of the given schemes only."""

    def __init__(self, schemes: Sequence[str]) -> None:
        self._schemes = schemes

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """See the base class."""
        try:
            _check_scheme(newurl, self._schemes)
        except OmniglotError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str, schemes: Sequence[str]) -> None:
    if urlsplit(url).scheme not in schemes:
        raise OmniglotError(f"the address {url} is refused, expected one of {', '.join(schemes)}")

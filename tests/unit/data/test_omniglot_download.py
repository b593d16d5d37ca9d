"""Downloads from a server of these tests: whole, broken off, gone on with, wrong, too much; never half a file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from metarl.data.omniglot_download import download
from metarl.data.omniglot_places import ARCHIVES, Archive, OmniglotError

CONTENT = bytes(range(256)) * 1000
MOST = 300_000


class Server(ThreadingHTTPServer):
    """Serves ``content`` at any path, and notes the ranges that were asked for."""

    content = CONTENT
    ranges = True
    """Obey Range."""
    stop_after: int | None = None
    """Break the connection after as many bytes."""
    state_length = True
    endless = False
    send_to: str | None = None
    wrong_range = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/images_background.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.send_to:
            self.send_response(302)
            self.send_header("Location", server.send_to)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if begin and begin >= len(server.content):
            self.send_error(416)
            return
        body = server.content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            first = begin + 1 if server.wrong_range else begin
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        if server.state_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body if server.stop_after is None else body[: server.stop_after])
            while server.endless:
                self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("METARL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "omniglot" / "images_background.zip"


def archive(server: Server, content: bytes = CONTENT) -> Archive:
    return Archive("images_background", server.url, hashlib.md5(content).hexdigest(), "0" * 64)


def get(server: Server, folder: Path | None, most: int = MOST) -> Path:
    (path,) = download(folder, progress=False, archives=[archive(server)], schemes=["http"], most=most)
    return path


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def leave(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(data)


def fails(server: Server, target: Path, *parts: str) -> None:
    with pytest.raises(OmniglotError) as caught:
        get(server, target.parent.parent)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)
    assert not target.exists()


def test_a_whole_download_takes_its_name(server: Server, target: Path) -> None:
    assert get(server, target.parent.parent) == target
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_without_a_folder_it_goes_to_the_cache(server: Server, tmp_path: Path) -> None:
    assert get(server, None) == tmp_path / "cache" / "metarl" / "omniglot" / "images_background.zip"


def test_what_is_there_is_not_got_again(
    server: Server, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(server, target.parent.parent)
    assert get(server, target.parent.parent) == target
    monkeypatch.setenv("METARL_DATA", str(target.parent))
    assert get(server, None) == target
    assert len(server.asked) == 1
    get(server, tmp_path / "elsewhere")  # a folder that was named gets it
    assert (tmp_path / "elsewhere" / "omniglot" / target.name).is_file()
    assert len(server.asked) == 2


def test_a_damaged_file_is_replaced(server: Server, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:-1])
    assert get(server, target.parent.parent) == target
    assert target.read_bytes() == CONTENT


def test_broken_off_it_goes_on_where_it_was(server: Server, target: Path) -> None:
    server.stop_after = 100_000
    fails(server, target, "stopped after 100000 of 256000 bytes", "goes on from there")
    assert part_of(target).read_bytes() == CONTENT[:100_000]
    server.stop_after = None
    get(server, target.parent.parent)
    assert server.asked == [None, "bytes=100000-"]
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()


def test_a_server_without_ranges_begins_again(server: Server, target: Path) -> None:
    leave(target, CONTENT[:1000])
    server.ranges = False
    get(server, target.parent.parent)
    assert server.asked == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_refused(server: Server, target: Path) -> None:
    leave(target, CONTENT[:1000])
    server.wrong_range = True
    fails(server, target, "another part of the file")
    assert part_of(target).read_bytes() == CONTENT[:1000]


def test_a_whole_part_needs_no_server(server: Server, target: Path) -> None:
    leave(target, CONTENT)
    get(server, target.parent.parent)
    assert server.asked == []
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("junk", [b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5), b"x" * (MOST + 1)])
def test_a_part_as_long_as_the_file_or_longer_is_thrown_away(server: Server, target: Path, junk: bytes) -> None:
    leave(target, junk)
    get(server, target.parent.parent)
    assert server.asked[-1] is None
    assert target.read_bytes() == CONTENT


def test_a_wrong_beginning_is_found_and_removed(server: Server, target: Path) -> None:
    leave(target, b"x" * 1000)
    fails(server, target, "not the published images_background.zip", "it was removed")
    assert list(target.parent.iterdir()) == []
    get(server, target.parent.parent)


def test_wrong_content_is_removed(server: Server, target: Path) -> None:
    server.content = b"<html>sign in here</html>"
    fails(server, target, "not the published", "25 bytes with md5", "it was removed")
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("stated", [True, False])
def test_too_much_is_not_taken(server: Server, target: Path, stated: bool) -> None:
    server.state_length, server.endless = stated, not stated
    if stated:
        server.content = bytes(MOST + 1)
    fails(server, target, f"more than {MOST} bytes", "it was removed")
    assert list(target.parent.iterdir()) == []


def test_without_a_length_only_the_checksum_tells(server: Server, target: Path) -> None:
    server.state_length = False
    get(server, target.parent.parent)
    target.unlink()
    server.stop_after = 1000
    fails(server, target, "1000 bytes with md5")


def test_an_error_of_the_server(server: Server, target: Path) -> None:
    server.send_to = "http://127.0.0.1:1/nobody"
    fails(server, target, "could not be got to", str(target))


def test_addresses_are_https_only(server: Server, target: Path) -> None:
    with pytest.raises(OmniglotError, match="is refused, expected one of https"):
        download(target.parent.parent, progress=False, archives=[archive(server)])
    assert server.asked == []
    for elsewhere in ("https://127.0.0.1:1/x", "file:///etc/passwd", "ftp://127.0.0.1/x"):
        server.send_to = elsewhere
        fails(server, target, elsewhere, "is refused" if elsewhere[:4] != "file" else "not allowed")
    assert all(archive.url.startswith("https://raw.githubusercontent.com/brendenlake/") for archive in ARCHIVES)


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    fails(server, tmp_path / "file" / "omniglot" / "images_background.zip", "could not be got to")
    assert server.asked == []

"""A server for one page on this machine: what it does not know, or was not asked for by its page, it refuses."""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from metarl.config import ConfigError, InputError

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
BODY = 64 * 1024  # bytes of a request
SECONDS = 10.0  # for which a connection may be silent
HIGHEST = 65535
Verbs = Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
NONCE = "NONCE"  # where the page has a script or a style


class Refused(Exception):
    """A request that is refused, with its status and a reason."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class PageServer(ThreadingHTTPServer):
    """Serves a page, and answers it, on 127.0.0.1 alone.

    Whoever knows the token in :attr:`url` may ask. ``GET`` gives the page; ``POST`` to the name of a verb, with a JSON
    object, what the verb answers. Requests for another host, which a page of somebody else's could make by a name that
    leads here, are refused, and so are those of other origins.

    Args:
        page: HTML; its script and style carry the attribute ``nonce="NONCE"``.
        verbs: what is done with an object, by name; an InputError becomes an answer with ``error``.
        port: 0: any that is free.

    Raises:
        ConfigError: the port can't be used.
    """

    daemon_threads = True

    def __init__(self, page: str, verbs: Verbs, port: int = 0) -> None:
        self.page, self.verbs, self.token = page, verbs, secrets.token_urlsafe(24)
        self.lock = threading.Lock()
        if port > HIGHEST:
            raise ConfigError(key="--port", given=port, expected=f"at most {HIGHEST}")
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            expected, remedy = "one that is free", "leave it out, and any free one is taken"
            problem = f"--port {port} can't be used ({error.strerror})"
            raise ConfigError(problem, key="--port", given=port, expected=expected, remedy=remedy) from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in a line what went wrong, unless the browser has merely gone."""
        error = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"metarl: {type(error).__name__}: {error}", file=sys.stderr)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "metarl", ""
    timeout = SECONDS

    def do_GET(self) -> None:
        """The page."""
        self._answered(self._page)

    def do_POST(self) -> None:
        """A verb."""
        self._answered(self._verb)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def _answered(self, answer: Callable[[str], None]) -> None:
        try:
            answer(self._asked())
        except Refused as refused:
            self._send(refused.status, "application/json", json.dumps({"error": str(refused)}))

    def _asked(self) -> str:
        """What is asked for, below the token.

        Raises:
            Refused: another host, origin or token.
        """
        allowed = {f"{name}:{self.server.server_port}" for name in NAMES}
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in allowed:
            raise Refused(HTTPStatus.FORBIDDEN, "this page is served under 127.0.0.1 alone")
        if self.headers.get("Origin", f"http://{hosts[0]}") != f"http://{hosts[0]}":
            raise Refused(HTTPStatus.FORBIDDEN, "another page may not ask")
        empty, _, rest = self.path.partition("/")
        token, slash, asked = rest.partition("/")
        if empty or not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        return asked

    def _page(self, asked: str) -> None:
        if asked:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        nonce = secrets.token_urlsafe(16)
        source = f"'nonce-{nonce}'"
        policy = (
            f"default-src 'none'; script-src {source}; style-src {source}; img-src data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        page = self.server.page.replace(f'nonce="{NONCE}"', f'nonce="{nonce}"')
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page, {"Content-Security-Policy": policy})

    def _verb(self, asked: str) -> None:
        if asked not in self.server.verbs:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        given = self._body()
        try:
            with self.server.lock:
                answer = self.server.verbs[asked](given)
        except InputError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
        self._send(HTTPStatus.OK, "application/json", json.dumps(answer))

    def _body(self) -> dict[str, Any]:
        """The JSON object of a request; one that is too large is not read.

        Raises:
            Refused: there is none, or it is too large.
        """
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if len(length) > len(str(BODY)) or int(length) > BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {BODY} bytes")
        try:
            given = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "expected JSON") from None
        if not isinstance(given, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "expected a JSON object")
        return given

    def _send(self, status: HTTPStatus, kind: str, text: str, more: Mapping[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

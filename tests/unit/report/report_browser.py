"""A headless Chromium that is spoken to through a pipe in the DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions")


class Browser:
    """One browser with one tab; use it as a context."""

    def __enter__(self) -> "Browser":
        self._folder = tempfile.TemporaryDirectory()
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # Chromium reads from 3 and writes to 4, numbers that the copies may have by chance.
        pipes = f"a, b = os.dup({theirs_in}), os.dup({theirs_out}); os.dup2(a, 3); os.dup2(b, 4)"
        pipes += "; os.set_inheritable(3, True); os.set_inheritable(4, True)"
        command = f"import os, sys; {pipes}; os.execv(sys.argv[1], sys.argv[1:])"
        options = [*FLAGS, f"--user-data-dir={self._folder.name}", "--remote-debugging-pipe", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", command, str(CHROMIUM), *options],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self._sent, self._buffer, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        try:
            self._connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _connect(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._out.close()
        self._in.close()
        self._folder.cleanup()

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in.fileno(), 2**16)
            assert part, "the browser has gone"
            self._buffer += part
        one, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method; events meanwhile are kept."""
        self._sent += 1
        session = {"sessionId": self._session} if self._session else {}
        self._out.write(json.dumps({"id": self._sent, "method": method, "params": params, **session}).encode() + b"\0")
        self._out.flush()
        while True:
            message = self._message()
            if message.get("id") == self._sent:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    def open(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page at a width, and wait until it has."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.events = []
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def on_paper(self, dark: bool = False) -> None:
        """Show the page as it is printed, also for a reader whose screen is dark."""
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="print", features=[theme])
        self.value("dispatchEvent(new Event('beforeprint'))")

    def on_screen(self) -> None:
        """Leave the print view."""
        self.value("dispatchEvent(new Event('afterprint'))")
        self.call("Emulation.setEmulatedMedia", media="")

    def value(self, script: str) -> Any:
        """What a JavaScript expression is."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the page was opened, and what it asked a network for."""
        found = [json.dumps(e["params"]) for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        logs = [e["params"]["entry"] for e in self.events if e.get("method") == "Log.entryAdded"]
        calls = [e["params"] for e in self.events if e.get("method") == "Runtime.consoleAPICalled"]
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        found += [one["text"] for one in logs if one["level"] in ("error", "warning")]
        found += [json.dumps(one) for one in calls if one["type"] in ("error", "warning", "assert")]
        return found + [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]

    def picture(self, path: Path) -> None:
        """A PNG of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

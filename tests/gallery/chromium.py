"""A real browser without a window, driven through its debugging pipe (no port, no package): for tests of pages.

A test that needs it and has none is skipped, and says so with the command that installs one.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Escape": 27, "Tab": 9,
    "Home": 36, "End": 35, "PageDown": 34,
}  # fmt: skip

#: The browser reads commands from descriptor 3 and answers on 4: gives the two pipes these numbers, and becomes it.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def program() -> str:
    """The browser's path. Skips the test where there is none."""
    for name in (*([os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else []), *NAMES):
        if found := shutil.which(name):
            return found
    pytest.skip("NO BROWSER: the gallery was not tried in one. Install it: apt-get install chromium (or set CHROMIUM)")


@dataclass
class Page:
    """One page of a running browser."""

    process: subprocess.Popen[bytes]
    to_browser: Any
    from_browser: Any
    session: str | None = None
    number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol; its result."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self.session
        self.to_browser.write(json.dumps(message).encode() + b"\0")
        self.to_browser.flush()
        while True:
            reply = self._receive()
            if reply.get("id") == self.number:
                assert "error" not in reply, (method, reply)
                result: dict[str, Any] = reply["result"]
                return result
            self.events.append(reply)

    def _receive(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self.from_browser.read(1)) != b"\0":
            assert byte, "the browser went away"
            parts += byte
        found: dict[str, Any] = json.loads(parts)
        return found

    def wait_for(self, method: str) -> dict[str, Any]:
        """The next event of this name."""
        while True:
            for number, event in enumerate(self.events):
                if event.get("method") == method:
                    return self.events.pop(number)
            self.events.append(self._receive())

    def open(self, address: str) -> None:
        """Go to an address and wait until it has loaded."""
        self.events = [event for event in self.events if event.get("method") != "Page.loadEventFired"]
        self.call("Page.navigate", url=address)
        self.wait_for("Page.loadEventFired")
        self.settle()

    def settle(self) -> None:
        """Wait for two frames: what the last key or click changed is drawn."""
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript, awaited. What it throws fails the test."""
        reply = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other: names of KEYS, or characters."""
        for key in keys:
            code = KEYS.get(key, ord(key.upper()[0]))
            text = {"Enter": "\r"}.get(key, "" if key in KEYS else key)
            for kind in ("keyDown", "keyUp"):
                more = {"text": text} if text and kind == "keyDown" else {}
                self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)
            self.settle()

    def write(self, text: str) -> None:
        """Write text where the focus is, as an input method does."""
        self.call("Input.insertText", text=text)
        self.settle()

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Another window."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def prefer(self, **features: str) -> None:
        """What the person's system says: `prefers_color_scheme="dark"`."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def picture(self, path: Path) -> None:
        """A screenshot, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """What the page logged: errors, and what its own policy refused."""
        self.settle()
        found = []
        for event in self.events:
            if event.get("method") == "Log.entryAdded":
                found.append(event["params"]["entry"]["text"])
            elif event.get("method") == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
        return found


@contextlib.contextmanager
def browser(*, language: str = "en-US") -> Iterator[Page]:
    """A browser with one empty page, until the end."""
    path = program()
    with tempfile.TemporaryDirectory(prefix="archiver-browser-", ignore_cleanup_errors=True) as profile:
        there, mine = os.pipe(), os.pipe()
        options = (
            *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--hide-scrollbars", f"--lang={language}", f"--accept-lang={language}"),
            *(f"--user-data-dir={profile}", "about:blank"),
        )
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(there[0]), str(mine[1]), path, *options],
            pass_fds=(there[0], mine[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "LANGUAGE": language.replace("-", "_")},
        )
        os.close(there[0])
        os.close(mine[1])
        try:
            with os.fdopen(there[1], "wb") as to_browser, os.fdopen(mine[0], "rb") as from_browser:
                page = Page(process, to_browser, from_browser)
                target = page.call("Target.createTarget", url="about:blank")["targetId"]
                page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
                for domain in ("Page", "Runtime", "Log"):
                    page.call(f"{domain}.enable")
                page.call("Emulation.setLocaleOverride", locale=language)
                page.resize(1280, 860)
                yield page
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

"""How the tests of the kind `sandbox` fetch a picture, and run a sandbox in a process of its own."""

import http.client
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from archiver.core.tempurl import TemporaryURL

_PROCESS = """
import sys
from pathlib import Path
from archiver.providers import sandbox
from tests.providers.paid import Kept, ask, outside

print("ready", flush=True)
sys.stdin.readline()
made = sandbox.connect("demo", sandbox.Settings(), outside(Path(sys.argv[1])))
sink = Kept()
made.submit(ask(), sink)
print(made.read(sink.answer()).outputs[0].url.reveal(), flush=True)
sys.stdin.readline()
"""


def fetch(url: TemporaryURL, change: Callable[[str], str] = str) -> tuple[int, str, bytes]:
    """Status, content type and body of one GET of `url`, whose request target was passed through `change`."""
    parts = urlsplit(url.reveal())
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.putrequest("GET", change(f"{parts.path}?{parts.query}"))
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read()
    finally:
        connection.close()


class OtherProcess:
    """A sandbox named `demo` in another process: waits for `go`, then serves (or lets another serve) until killed."""

    def __init__(self, state: Path) -> None:
        command = [sys.executable, "-c", _PROCESS, str(state)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def url(self) -> TemporaryURL:
        """The URL that it was given for the standard ask."""
        assert self._process.stdout is not None
        return TemporaryURL(self._process.stdout.readline().strip())

    def kill(self) -> None:
        """SIGKILL, as a machine does when it runs out of memory."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def other_processes(state: Path, count: int = 1) -> Iterator[list[OtherProcess]]:
    """Processes that share the folder `state` and only wait for `go`; killed at the end."""
    others = [OtherProcess(state) for _ in range(count)]
    try:
        for other in others:
            other.wait_until_ready()
        yield others
    finally:
        for other in others:
            other.kill()

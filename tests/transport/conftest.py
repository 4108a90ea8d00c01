"""A raw server for the engine: it records what it is sent and answers with exactly the bytes that a test wrote."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.core.model import Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import AddressGuard, ByteBudget, CurlEngine, FetchLimits
from tests.doubles.listener import Listener


class Raw:
    """Answers the n-th request with the n-th script, the last one for ever. `heads` are the requests, as they came.

    A script is bytes, or a function of the connection. Bytes that begin with `!` close the connection after them.
    """

    def __init__(self) -> None:
        self.scripts: list[bytes | Callable] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self._lock = threading.Lock()
        self._served = 0
        self.listener = Listener(self._serve)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.listener.port}"

    def url(self, path: str = "/a.png?sig=TOPSECRET") -> str:
        return f"http://{self.authority}{path}"

    def _serve(self, connection) -> None:
        with connection.makefile("rb") as stream:
            while first := stream.readline():
                head = first
                while (line := stream.readline()) not in (b"\r\n", b""):
                    head += line
                length = next(
                    (int(n.split(b":")[1]) for n in head.split(b"\r\n") if n.lower().startswith(b"content-length:")), 0
                )
                with self._lock:
                    self.heads.append(head)
                    script = self.scripts[min(self._served, len(self.scripts) - 1)]
                    self._served += 1
                if callable(script):
                    script(connection)
                    return
                body = stream.read(length)
                with self._lock:
                    self.bodies.append(body)
                connection.sendall(script.removeprefix(b"!"))
                if script.startswith(b"!"):
                    return


def reply(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A whole reply with its length; `content_type` becomes `content-type`."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
def raw() -> Iterator[Raw]:
    server = Raw()
    server.listener.up()
    yield server
    server.listener.close()


@pytest.fixture
def budget() -> ByteBudget:
    return ByteBudget()


@pytest.fixture
def engine(raw: Raw, budget: ByteBudget, tmp_path: Path) -> Iterator[CurlEngine]:
    """An engine whose guard knows the raw server as its own, and nothing else."""
    guard = AddressGuard(exempt=lambda address, port: (address, port) == ("127.0.0.1", raw.listener.port))
    made = CurlEngine(Network(), guard, budget=budget, temp_dir=tmp_path / "temp")
    yield made
    made.close()


@pytest.fixture
def fetch(raw: Raw, engine: CurlEngine):
    """Fetch the raw server's URL, or another one, with some limits."""

    def go(url: str | None = None, **limits):
        return engine.fetch(TemporaryURL(url or raw.url()), FetchLimits(**limits))

    return go

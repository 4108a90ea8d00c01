"""The HTTP floor of the doubles, from raw sockets: what it refuses to read, and how it resets."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.doubles.oss import OssDouble
from tests.doubles.wire import Fault


@pytest.fixture
def oss() -> Iterator[OssDouble]:
    """A double that serves through the floor."""
    with OssDouble() as double:
        yield double


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("PUT /b/k HTTP/1.1\r\nHost: {host}\r\n\r\n", 411),
        ("PUT /b/k HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        ("GET /b/k HTTP/1.1\r\nHost: {host}\r\nX-A: 1\r\nx-a: 2\r\n\r\n", 400),
        ("GET /b/k HTTP/1.1\r\nHost: {host}\r\nX-A: 图\r\n\r\n", 400),
        ("GET /b/k HTTP/1.1\r\nHost: {host}\r\nX-A: 1\r\n folded\r\n\r\n", 400),
        ("GET /b/k HTTP/1.1\r\n\r\n", 400),
        ("GET /b/k HTTP/1.0\r\nHost: {host}\r\n\r\n", 400),
        ("GET /b/k HTTP/1.1\nHost: {host}\n\n", 400),
        ("GET /b/%FF HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        ("GET /b/k HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", 403),
        ("GET /b/k HTTP/1.1\r\nHost: {host}\r\n\r\n", 403),
    ],
)
def test_doubtful_requests_are_refused(oss: OssDouble, head: str, status: int) -> None:
    """What two readers could read differently, or nobody signed, is refused with the status that says why."""
    host = oss.endpoint.removeprefix("http://")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(head.format(host=host).encode())
        assert connection.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


def test_reset_does_not_wait_for_the_body(oss: OssDouble) -> None:
    """The scripted reset is a real RST, and it comes although the body was never sent."""
    oss.script([Fault(reset=True)])
    host, _, port = oss.endpoint.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"PUT /b/k HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 9\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert [(seen.key, seen.status) for seen in oss.requests] == [("k", 0)]


def test_a_bug_in_a_double_is_not_silent() -> None:
    """What a scripted function raises surfaces when the double is closed."""

    def broken(request: object) -> Fault | None:
        raise KeyError("a bug of the test")

    closing = contextlib.ExitStack()
    oss = closing.enter_context(OssDouble(fault=broken))
    host, _, port = oss.endpoint.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET /b/k HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert connection.recv(1) == b""
    with pytest.raises(RuntimeError, match="the double itself failed"):
        closing.close()

"""The image host's misbehaviour, byte by byte: read from raw sockets, since a client library would hide half of it."""

import base64
import contextlib
import gzip
import hashlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import requests

from tests.doubles.pngs import png
from tests.doubles.source import Behaviour, ImageSource

BODY = png("source", 64, 64)


@pytest.fixture
def source() -> Iterator[ImageSource]:
    """A running image host."""
    with ImageSource() as running:
        yield running


def raw(url: str, limit: int = 1 << 20) -> tuple[str, bytes]:
    """Head and body as they came, up to `limit` bytes or the end of the connection. A reset raises."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while len(data) < limit and (piece := connection.recv(65536)):
            data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    return top.decode(), body


def _until_silent(connection: socket.socket) -> None:
    """Read until nothing more comes within the socket's timeout, which raises TimeoutError."""
    while connection.recv(65536):
        pass


def test_ok_and_keep_alive(source: ImageSource) -> None:
    """Many requests share one connection, and the log shows method and headers of each."""
    url = source.add("/a.png", BODY)
    with requests.Session() as session:
        for _ in range(3):
            reply = session.get(url, timeout=10, headers={"Authorization": "Bearer leaked"})
            assert (reply.status_code, reply.content, reply.headers["Content-Type"]) == (200, BODY, "image/png")
        assert session.head(url, timeout=10).headers["Content-Length"] == str(len(BODY))
        assert session.get(f"{source.endpoint}/absent", timeout=10).status_code == 404
        assert session.post(url, timeout=10, data=b"x").status_code == 405
    assert source.connections == 1
    assert [seen.method for seen in source.requests] == ["GET", "GET", "GET", "HEAD", "GET", "POST"]
    assert source.requests[0].headers["authorization"] == "Bearer leaked"
    assert "authorization" not in source.requests[3].headers


def test_behaviours_are_consumed_in_order(source: ImageSource) -> None:
    """Fails twice, then works for ever; another path has its own list."""
    busy = Behaviour(status=429, headers={"Retry-After": "7"})
    url = source.add("/a.png", BODY, busy, Behaviour(status=503))
    gone = source.add("/b.png", BODY, status=410)
    replies = [requests.get(url, timeout=10) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [429, 503, 200, 200]
    assert replies[0].headers["Retry-After"] == "7"
    assert [requests.get(gone, timeout=10).status_code for _ in range(2)] == [410, 410]


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500, 503])
def test_errors_carry_no_image(source: ImageSource, status: int) -> None:
    """Every error status arrives, 403 and 404 with OSS's XML."""
    reply = requests.get(source.add("/a.png", BODY, status=status), timeout=10)
    assert reply.status_code == status
    assert BODY not in reply.content
    code = {403: b"<Code>AccessDenied</Code><Message>Request has expired.", 404: b"<Code>NoSuchKey</Code>"}
    assert code.get(status, b"error") in reply.content


def test_short_bodies(source: ImageSource) -> None:
    """A body can end before its length, without any length, or inside a chunk."""
    top, body = raw(source.add("/length", BODY, cut=100))
    assert f"Content-Length: {len(BODY)}" in top and body == BODY[:100]
    top, body = raw(source.add("/close", BODY, cut=100, framing="close"))
    assert "Content-Length" not in top and "Transfer-Encoding" not in top and body == BODY[:100]
    top, body = raw(source.add("/chunked", BODY, cut=100, framing="chunked"))
    assert "Transfer-Encoding: chunked" in top
    assert body == b"64\r\n" + BODY[:100] + b"\r\n400\r\nhalf a chunk"
    top, body = raw(source.add("/over", BODY, declared=10))
    assert "Content-Length: 10" in top and body == BODY
    assert raw(source.add("/empty", b""))[1] == b""
    for path in ("/length", "/chunked"):
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(source.endpoint + path, timeout=10)


def test_resets(source: ImageSource) -> None:
    """A reset comes before the head, or after some bytes of the body."""
    with pytest.raises(ConnectionResetError):
        raw(source.add("/at-once", BODY, rst=True))
    with pytest.raises(ConnectionResetError):
        raw(source.add("/later", BODY, rst=True, cut=50))


def test_good_framings_and_encodings(source: ImageSource) -> None:
    """Chunks, no length, gzip, a redirect, a web page and digests are what they claim to be."""
    assert requests.get(source.add("/chunked", BODY, framing="chunked"), timeout=10).content == BODY
    assert requests.get(source.add("/close", BODY, framing="close"), timeout=10).content == BODY
    top, body = raw(source.add("/gzip", BODY, gzip=True))
    assert "Content-Encoding: gzip" in top and gzip.decompress(body) == BODY
    assert b"<html" in raw(source.add("/html", BODY, html=True))[1]
    right = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    assert f"Content-MD5: {right}" in raw(source.add("/right", BODY, md5="right"))[0]
    top, _ = raw(source.add("/wrong", BODY, md5="wrong"))
    assert "Content-MD5: " in top and right not in top
    moved = requests.get(source.add("/moved", b"", redirect="/chunked"), timeout=10, allow_redirects=False)
    assert (moved.status_code, moved.headers["Location"]) == (302, "/chunked")


def test_endless_and_slow_bodies_end_with_the_client_or_the_host() -> None:
    """An endless body stops when the reader leaves; a pause and a slow drip do not hold up the end of the double."""
    with ImageSource() as source:
        _, body = raw(source.add("/endless", BODY, endless=True), limit=1 << 20)
        assert len(body) > 1 << 19 and body.startswith(BODY + BODY)
        with contextlib.ExitStack() as held:
            for path in ("/pause", "/drip"):
                source.add(path, BODY, pause=3600 if path == "/pause" else 0, drip=3600)
                connection = held.enter_context(socket.create_connection(("127.0.0.1", urlsplit(source.endpoint).port)))
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    _until_silent(connection)
            source.down()
            assert connection.recv(65536) == b""


def test_outage(source: ImageSource) -> None:
    """While it is down, connections are refused and open ones are cut; then it is back on the same port."""
    url = source.add("/a.png", BODY)
    with requests.Session() as session:
        session.get(url, timeout=10)
        source.down()
        with pytest.raises(requests.exceptions.ConnectionError):
            session.get(url, timeout=10)
        with pytest.raises(ConnectionRefusedError):
            raw(url)
        source.up()
        assert session.get(url, timeout=10).content == BODY


def test_signed_urls() -> None:
    """A URL with a changed query is refused as forged, and an expired one as expired, by the injected clock."""
    clock = datetime(2026, 1, 1, tzinfo=UTC)
    with ImageSource(now=lambda: clock) as source:
        expires = int((clock + timedelta(minutes=10)).timestamp())
        url = source.add(f"/a.png?Expires={expires}&OSSAccessKeyId=k&Signature=abc", BODY)
        assert requests.get(url, timeout=10).content == BODY
        assert b"SignatureDoesNotMatch" in requests.get(url[:-1] + "d", timeout=10).content
        assert requests.get(url.partition("?")[0], timeout=10).status_code == 403
        clock += timedelta(minutes=10)
        late = requests.get(url, timeout=10)
        assert late.status_code == 403 and b"Request has expired." in late.content

"""HTTP/1.1 as the doubles speak it: one strict request reader and one reply writer.

The reader refuses what a strict double must not guess about: repeated or folded headers, a body without a length,
transfer codings, non-ASCII heads. It refuses to know any service, and it never decodes a path.
"""

import dataclasses
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import parse_qsl

_HEAD_LIMIT = 64 * 1024
_BODYLESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class Malformed(Exception):
    """The request is no HTTP that the doubles accept; `status` is what to answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `target` is as sent; header names are lower case, values as sent without outer spaces."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The path as sent: still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> tuple[tuple[str, str], ...]:
        """Decoded parameters in the order sent; one without `=` has an empty value."""
        return tuple(parse_qsl(self.target.partition("?")[2], keep_blank_values=True, errors="strict"))

    @property
    def keeps_alive(self) -> bool:
        """Whether the client lets the connection be used again."""
        return self.headers.get("connection", "").lower() != "close"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; `Content-Length` and `Date` are added when it is written."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


def read_head(stream: BinaryIO) -> Request | None:
    """Read one request without its body; None when the peer closed instead. Raises Malformed."""
    first = stream.readline(_HEAD_LIMIT)
    if not first:
        return None
    parts = _text(first).split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1" or not parts[1].startswith("/"):
        raise Malformed("the request line is not `METHOD /target HTTP/1.1`")
    headers: dict[str, str] = {}
    left = _HEAD_LIMIT
    while line := _text(stream.readline(left)):
        left -= len(line)
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or left <= 0:
            raise Malformed("a header line is folded, has no name, or there are too many")
        if name in headers:
            raise Malformed(f"header {name} came twice")
        headers[name] = value.strip(" \t")
    if "host" not in headers:
        raise Malformed("no Host header")
    return Request(parts[0], parts[1], headers)


def read_body(request: Request, stream: BinaryIO, connection: socket.socket) -> Request:
    """The request with its body read; answers `Expect: 100-continue`. Raises Malformed, or ConnectionError when cut."""
    if "transfer-encoding" in request.headers:
        raise Malformed("a transfer coding is not understood", 501)
    length = request.headers.get("content-length", "0" if request.method in _BODYLESS else "")
    if not length.isascii() or not length.isdigit():
        raise Malformed("Content-Length is needed", 411)
    if request.headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = stream.read(int(length))
    if len(body) != int(length):
        raise ConnectionError("the body was cut")
    return dataclasses.replace(request, body=body)


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """The bytes of a reply's head, blank line included."""
    reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unnamed"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def rendered(reply: Reply, method: str, now: datetime) -> bytes:
    """The bytes of a whole reply; to HEAD, with the length of the body and without the body."""
    headers = {"Date": http_date(now), "Content-Length": str(len(reply.body)), **reply.headers}
    return head(reply.status, headers) + (b"" if method == "HEAD" else reply.body)


def http_date(moment: datetime) -> str:
    """`moment` (UTC) as HTTP writes it."""
    return format_datetime(moment, usegmt=True)


def _text(line: bytes) -> str:
    """One line without its end. Raises Malformed when it is not ASCII: a strict double guesses no charset."""
    if not line.endswith(b"\r\n"):
        raise Malformed("a line does not end with CR LF")
    try:
        return line[:-2].decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("a head is not ASCII") from None

"""An image host on loopback that can misbehave on the wire in every way that real ones were seen to.

It serves what a test added, with keep-alive, and logs each request with its headers. A URL whose query differs from the
one that was added is refused like a forged signature. It refuses methods other than GET and HEAD.
"""

import base64
import gzip
import hashlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

from tests.doubles.http1 import Malformed, Request, head, read_body, read_head
from tests.doubles.listener import HOST, Listener, reset
from tests.doubles.oss_xml import document
from tests.doubles.wire import Seen

_PIECE = 64 * 1024
_HTML = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>This image is not available.</body></html>"
_OSS_ERRORS = {
    403: ("AccessDenied", "Request has expired."),
    404: ("NoSuchKey", "The specified key does not exist."),
}
_FORGED = ("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one request is answered. The default is a correct 200 with Content-Length.

    `status` other than 200 sends an error: for 403 OSS's XML "Request has expired.", for 404 its NoSuchKey. `html`
    sends a web page with status 200 instead of the image, still labelled `content_type`. `body` replaces the bytes.
    `framing`: `length`, `close` (no Content-Length, ended by closing) or `chunked`. `cut` stops after so many bytes of
    the body and closes, with the head (and its Content-Length) promising all; with `rst` it ends with a reset instead,
    and `rst` alone resets before the head. `declared` is a wrong Content-Length. `md5` adds a right or wrong
    Content-MD5. `gzip` compresses, and says so. `redirect` answers 302 to that URL. `pause` waits before the head,
    `drip` after every byte of the body, in seconds. `endless` repeats the body for ever. `headers` are added last.
    """

    status: int = 200
    content_type: str = "image/png"
    body: bytes | None = field(default=None, repr=False)
    html: bool = False
    framing: Literal["length", "close", "chunked"] = "length"
    cut: int | None = None
    declared: int | None = None
    rst: bool = False
    md5: Literal["none", "right", "wrong"] = "none"
    gzip: bool = False
    redirect: str | None = None
    pause: float = 0.0
    drip: float = 0.0
    endless: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Resource:
    """What was added under one path. `behaviours` is infinite; `target` is the only accepted request target."""

    target: str
    body: bytes
    behaviours: Iterator[Behaviour]


class ImageSource:
    """`endpoint` is the base URL, `requests` the log, `served` what was added, by path.

    `now`, when given, is the clock by which an `Expires=` in a URL's query is enforced.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self.requests: list[Seen] = []
        self.served: dict[str, bytes] = {}
        self._now = now
        self._lock = threading.Lock()
        self._resources: dict[str, _Resource] = {}
        self._listener = Listener(self._serve)
        self.endpoint = f"http://{HOST}:{self._listener.port}"

    def __enter__(self) -> Self:
        self._listener.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return self._listener.connections

    def add(self, path: str, body: bytes, *first: Behaviour, **then: Any) -> str:
        """Serve `body` under `path` (a query may follow it) and return the URL.

        Each behaviour of `first` answers one request; after them, `Behaviour(**then)` answers for ever.
        """
        behaviours = itertools.chain(first, itertools.repeat(Behaviour(**then)))
        with self._lock:
            self._resources[path.partition("?")[0]] = _Resource(path, body, behaviours)
            self.served[path.partition("?")[0]] = body
        return self.endpoint + path

    def down(self) -> None:
        """Begin an outage: cut all connections and refuse new ones."""
        self._listener.down()

    def up(self) -> None:
        """End an outage: same port, same content."""
        self._listener.up()

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            try:
                while (request := read_head(stream)) is not None:
                    request = read_body(request, stream, connection)
                    if not self._answer(request, connection) or not request.keeps_alive:
                        return
            except Malformed as problem:
                connection.sendall(_message(problem.status, "text/plain", str(problem).encode(), {}))

    def _answer(self, request: Request, connection: socket.socket) -> bool:
        """Answer one request; False when the connection is spent."""
        with self._lock:
            resource = self._resources.get(request.path)
            expired = self._now is not None and _expired(request, self._now())
            refused = resource is not None and request.target != resource.target
            wrong_method = request.method not in ("GET", "HEAD")
            if resource is None or expired or refused or wrong_method:
                status = 405 if wrong_method else 404 if resource is None else 403
                behaviour, body = Behaviour(status=status), _error_body(status, forged=refused)
            else:
                behaviour = next(resource.behaviours)
                body = _body(behaviour, resource.body)
            self.requests.append(Seen(request.method, request.path, behaviour.status, request.headers, request.query))
        if behaviour.pause:
            self._listener.stopping.wait(behaviour.pause)
        if behaviour.rst and behaviour.cut is None:
            reset(connection)
            return False
        connection.sendall(head(_status(behaviour), _headers(behaviour, body)))
        return request.method == "HEAD" or self._send_body(connection, behaviour, body)

    def _send_body(self, connection: socket.socket, behaviour: Behaviour, body: bytes) -> bool:
        while behaviour.endless and not self._listener.stopping.is_set():
            connection.sendall(_framed(behaviour, body))
        size = _PIECE if not behaviour.drip else 1
        sent = body if behaviour.cut is None else body[: behaviour.cut]
        for start in range(0, len(sent), size):
            connection.sendall(_framed(behaviour, sent[start : start + size]))
            if behaviour.drip and self._listener.stopping.wait(behaviour.drip):
                return False
        if behaviour.cut is not None:
            if behaviour.framing == "chunked":
                connection.sendall(b"400\r\nhalf a chunk")
            if behaviour.rst:
                reset(connection)
            return False
        if behaviour.framing == "chunked":
            connection.sendall(b"0\r\n\r\n")
        return behaviour.framing != "close" and behaviour.declared in (None, len(body))


def _expired(request: Request, now: datetime) -> bool:
    """Whether the query says that the URL died at or before `now` (Expires: epoch seconds, as OSS V1 writes it)."""
    expires = dict(request.query).get("Expires", "")
    return expires.isdigit() and now >= datetime.fromtimestamp(int(expires), UTC)


def _status(behaviour: Behaviour) -> int:
    return 302 if behaviour.redirect is not None else behaviour.status


def _body(behaviour: Behaviour, stored: bytes) -> bytes:
    """The bytes of the body before framing."""
    if behaviour.redirect is not None:
        return b""
    body = stored if behaviour.body is None else behaviour.body
    if behaviour.html:
        body = _HTML
    elif behaviour.status != 200 and behaviour.body is None:
        body = _error_body(behaviour.status)
    return gzip.compress(body, mtime=0) if behaviour.gzip else body


def _error_body(status: int, forged: bool = False) -> bytes:
    if status not in _OSS_ERRORS:
        return f"error {status}".encode()
    code, message = _FORGED if forged else _OSS_ERRORS[status]
    return document("Error", [("Code", code), ("Message", message), ("RequestId", "0000000000000000")])


def _headers(behaviour: Behaviour, body: bytes) -> dict[str, str]:
    headers = {"Content-Type": "application/xml" if behaviour.status in _OSS_ERRORS else behaviour.content_type}
    if behaviour.framing == "chunked":
        headers["Transfer-Encoding"] = "chunked"
    elif behaviour.framing == "length" and not behaviour.endless:
        headers["Content-Length"] = str(len(body) if behaviour.declared is None else behaviour.declared)
    else:
        headers["Connection"] = "close"
    if behaviour.md5 != "none":
        digest = hashlib.md5(body if behaviour.md5 == "right" else body + b"!").digest()
        headers["Content-MD5"] = base64.b64encode(digest).decode()
    if behaviour.gzip:
        headers["Content-Encoding"] = "gzip"
    if behaviour.redirect is not None:
        headers["Location"] = behaviour.redirect
    return {**headers, **behaviour.headers}


def _framed(behaviour: Behaviour, piece: bytes) -> bytes:
    return f"{len(piece):X}\r\n".encode() + piece + b"\r\n" if behaviour.framing == "chunked" else piece


def _message(status: int, content_type: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole message that ends the connection."""
    framing = {"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close"}
    return head(status, {**framing, **headers}) + body

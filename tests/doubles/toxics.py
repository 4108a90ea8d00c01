"""A proxy in front of a double that plays what networks do to one exchange: resets, cuts, silence, drips, garbage.

It stands on TCP and reads just enough of HTTP to know where a request and a reply end. Whether the other side acted is
a part of each toxic, since that decides what a client may believe: toxics of `UNFELT` keep the request from the double,
the others hand it on and spoil the reply. It refuses to judge what a client makes of it.
"""

import re
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import urlsplit

from tests.doubles.listener import HOST, Listener, reset

TOXICS = (
    "refused", "reset before the request", "reset after the request", "reset midway", "end midway", "silence", "drip",
    "latency", "reply lost", "half a chunk", "garbage", "500", "503", "429",
)  # fmt: skip
"""All of them. `refused` is `Toxics.down`; the others are given to `Toxics.poison`."""

UNFELT = frozenset(("refused", "reset before the request", "reset after the request", "silence", "500", "503", "429"))
"""With these, the double never sees the request."""

_LATENCY_S = 0.05
_REFUSALS = {
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops",
    "503": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\noops",
    "429": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\nContent-Length: 4\r\n\r\nslow",
}


class Toxics:
    """Use as a context manager around a running `double` (with `endpoint`), which it makes known by its own address.

    `played` counts the exchanges that were spoiled. A drip lasts `drip_s` seconds, however long the reply is.
    """

    def __init__(self, double: Any, drip_s: float = 1.0) -> None:
        self.played = 0
        self._listener = Listener(self._serve)
        self._upstream = (HOST, urlsplit(double.endpoint).port or 0)
        self._drip_s = drip_s
        self._lock = threading.Lock()
        self._toxic = ""
        self._left = 0
        self._is_meant: Callable[[str], bool] = bool
        authority = f"{HOST}:{self._listener.port}"
        double.endpoint = f"http://{authority}"
        if hasattr(double, "_wire"):
            double._wire.authority = authority  # a strict double refuses requests that name another host

    def __enter__(self) -> Self:
        self._listener.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._listener.down()
        self.played += 1

    def up(self) -> None:
        """Accept connections again."""
        self._listener.up()

    def poison(self, toxic: str, is_meant: Callable[[str], bool] = bool, times: int = 1) -> None:
        """Spoil the next so many exchanges whose request line satisfies `is_meant`."""
        if toxic not in TOXICS:
            raise ValueError(f"{toxic!r} is no toxic")
        with self._lock:
            self._toxic, self._is_meant, self._left = toxic, is_meant, times

    def _chosen(self, line: str) -> str:
        """The toxic for the exchange that begins with `line`; empty for none."""
        with self._lock:
            if not self._left or not self._is_meant(line):
                return ""
            self._left -= 1
            self.played += 1
            return self._toxic

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while first := connection.recv(64 * 1024, socket.MSG_PEEK):
                toxic = self._chosen(first.partition(b"\r\n")[0].decode("latin-1"))
                if toxic == "reset before the request":
                    reset(connection)
                    return
                request = _message(stream, is_reply_to="")
                if toxic == "reset after the request":
                    reset(connection)
                    return
                if toxic == "silence":
                    self._listener.stopping.wait()
                    return
                if toxic in _REFUSALS:
                    connection.sendall(_REFUSALS[toxic])
                    continue
                reply = self._handed_on(request)
                if not self._play(toxic, connection, reply):
                    return

    def _handed_on(self, request: bytes) -> bytes:
        """The double's reply, on a connection of its own."""
        with socket.create_connection(self._upstream) as upstream, upstream.makefile("rb") as stream:
            upstream.sendall(request)
            return _message(stream, is_reply_to=request.partition(b" ")[0].decode())

    def _play(self, toxic: str, connection: socket.socket, reply: bytes) -> bool:
        """Send what is left of the reply; False when the connection is to be closed."""
        if toxic == "drip":
            pause = self._drip_s / len(reply)
            for at in range(len(reply)):
                connection.sendall(reply[at : at + 1])
                if self._listener.stopping.wait(pause):
                    return False
            return True
        if toxic == "latency":
            self._listener.stopping.wait(_LATENCY_S)
        if toxic in ("", "latency"):
            connection.sendall(reply)
            return True
        if toxic in ("reset midway", "end midway"):
            connection.sendall(reply[: len(reply) // 2])
            if toxic == "reset midway":
                reset(connection)
        elif toxic == "half a chunk":
            head, _, body = reply.partition(b"\r\n\r\n")
            head = re.sub(rb"(?im)^content-length:.*?\r\n", b"", head + b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head + b"%X\r\n" % (len(body) + 1) + body[: len(body) // 2])
        elif toxic == "garbage":
            connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        return False  # "reply lost" sends nothing at all


def _message(stream: BinaryIO, is_reply_to: str) -> bytes:
    """One whole message, as it came: its head, and as much of a body as the head says. Raises ConnectionError."""
    message = b""
    while not message.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            raise ConnectionError("the head was cut")
        message += line
    length = re.search(rb"(?im)^content-length: *(\d+)", message)
    if is_reply_to != "HEAD" and length is not None:
        message += stream.read(int(length[1]))
    return message

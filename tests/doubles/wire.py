"""The HTTP server of the doubles, and the faults that a test can script into it.

A fault is chosen per request, before the body is read. This file performs what concerns the connection (reset, silence,
delay, changed reply headers); the rest of a fault is for the double to act upon.
"""

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Self

from tests.doubles.http1 import Malformed, Reply, Request, read_body, read_head, rendered
from tests.doubles.listener import HOST, Listener, reset


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request. Fields can be combined; an empty Fault is none.

    `status` with `code` answers an error and does nothing else. `reset` cuts (RST) before the body is read. `lost`
    acts, then closes without an answer. `delay` waits that many seconds after the body was read. `flip` turns one bit:
    of what a PUT stores (digests are of the stored bytes: the store is honest), of what a GET returns. `headers`
    replaces reply headers and `without` drops them; names in lower case, applied last.
    """

    status: int | None = None
    code: str = "InternalError"
    reset: bool = False
    lost: bool = False
    delay: float = 0.0
    flip: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()


FaultScript = Callable[[Request], Fault | None] | Iterable[Fault | None] | None
"""A function of the request, or one entry per request in order of arrival (None: no fault; at the end: no more)."""

_NO_FAULT = Fault()


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry of a double's log. `status` is 0 when no answer was sent."""

    method: str
    key: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    query: tuple[tuple[str, str], ...] = ()


class Wire:
    """Serves HTTP/1.1 with keep-alive on an ephemeral port of 127.0.0.1 and logs every request before it is answered.

    `answer` makes the reply, or None to close without one, and must be thread-safe; `name` says what to log as the key.
    """

    def __init__(
        self,
        answer: Callable[[Request, Fault], Reply | None],
        name: Callable[[Request], str],
        now: Callable[[], datetime],
        fault: FaultScript,
    ) -> None:
        self.seen: list[Seen] = []
        self.listener = Listener(self._serve)
        self.authority = f"{HOST}:{self.listener.port}"
        self._answer = answer
        self._name = name
        self._now = now
        self._lock = threading.Lock()
        self._next_fault: Callable[[Request], Fault | None]
        self.script(fault)

    def __enter__(self) -> Self:
        self.listener.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.listener.close()

    def script(self, fault: FaultScript) -> None:
        """Replace the script of faults from the next request on."""
        if callable(fault):
            self._next_fault = fault
            return
        entries = iter(fault or ())

        def in_order(request: Request) -> Fault | None:
            with self._lock:
                return next(entries, None)

        self._next_fault = in_order

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while self._serve_one(stream, connection):
                pass

    def _serve_one(self, stream: BinaryIO, connection: socket.socket) -> bool:
        """Answer one request; False when the connection is to be closed."""
        try:
            request = read_head(stream)
            if request is None:
                return False
            fault = self._next_fault(request) or _NO_FAULT
            if fault.reset:
                self._log(request, 0)
                reset(connection)
                return False
            request = read_body(request, stream, connection)
        except Malformed as problem:
            reply = Reply(problem.status, {"Connection": "close"}, str(problem).encode())
            connection.sendall(rendered(reply, "GET", self._now()))
            return False
        if fault.delay:
            self.listener.stopping.wait(fault.delay)
        answer = self._answer(request, fault)
        if answer is None or fault.lost:
            self._log(request, 0)
            return False
        answer = self._changed(answer, fault)
        self._log(request, answer.status)
        connection.sendall(rendered(answer, request.method, self._now()))
        return request.keeps_alive and answer.headers.get("Connection") != "close"

    @staticmethod
    def _changed(reply: Reply, fault: Fault) -> Reply:
        changed = fault.without | fault.headers.keys()
        kept = {name: value for name, value in reply.headers.items() if name.lower() not in changed}
        return dataclasses.replace(reply, headers={**kept, **fault.headers})

    def _log(self, request: Request, status: int) -> None:
        with self._lock:
            self.seen.append(Seen(request.method, self._name(request), status, request.headers, request.query))


def flipped(body: bytes) -> bytes:
    """`body` with the lowest bit of its middle byte turned; an empty body becomes one byte."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else b"\x01"

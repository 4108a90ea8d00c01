"""An S3-compatible server that checks signatures strictly and can do little else, as some self-hosted stores are.

PUT, GET and HEAD of objects, addressed by path. It keeps no metadata, computes no ETag and no checksum, lists and
deletes nothing. It either ignores `If-None-Match: *` and overwrites, or refuses the header. Its purpose is to show that
archiver proves a copy by reading it back when a store offers nothing better.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.doubles.http1 import Reply, Request, http_date
from tests.doubles.sigv4 import Denied, Keys, verify
from tests.doubles.wire import Fault, FaultScript, Seen, Wire, flipped

_SIGNING = frozenset(
    f"X-Amz-{name}" for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
) | {"X-Amz-Security-Token", "x-id"}


@dataclass(frozen=True, slots=True)
class Bare:
    """One stored object."""

    body: bytes
    content_type: str
    modified: datetime


class BareS3:
    """`endpoint`, `bucket`, `region`, `access_key`, `secret_key` say how to reach it; `objects` is what it holds.

    `mode` is what it does with `If-None-Match` on PUT: `ignore` it, or `refuse` it with 501 NotImplemented.
    """

    def __init__(
        self,
        mode: Literal["ignore", "refuse"] = "ignore",
        fault: FaultScript = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        region: str = "us-east-1",
    ) -> None:
        self.bucket = "bare-archive"
        self.region = region
        self.access_key = "doubleaccesskey00003"
        self.secret_key = "doublesecretkey0000000000000000000000003"
        self.objects: dict[str, Bare] = {}
        self._mode = mode
        self._now = now
        self._lock = threading.Lock()
        self._wire = Wire(self._answer, lambda request: _split(request)[1], now, fault)
        self.endpoint = f"http://{self._wire.authority}"

    def __enter__(self) -> Self:
        self._wire.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._wire.__exit__(kind, e, trace)

    @property
    def requests(self) -> list[Seen]:
        """Every request so far, in order of arrival."""
        return self._wire.seen

    def script(self, fault: FaultScript) -> None:
        """Replace the script of faults from the next request on."""
        self._wire.script(fault)

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._wire.listener.down()

    def up(self) -> None:
        """End an outage: same port, same objects."""
        self._wire.listener.up()

    def _answer(self, request: Request, fault: Fault) -> Reply:
        if fault.status is not None:
            return _error(fault.status, fault.code, "scripted")
        try:
            return self._act(request, fault)
        except Denied as denied:
            return _error(denied.status, denied.code, str(denied))

    def _act(self, request: Request, fault: Fault) -> Reply:
        if request.headers["host"] != self._wire.authority:
            raise Denied(400, "InvalidRequest", "only path-style addressing is understood")
        verify(request, Keys(self.access_key, self.secret_key, self.region), self._now())
        bucket, key = _split(request)
        if bucket != self.bucket:
            raise Denied(404, "NoSuchBucket", "The specified bucket does not exist")
        if not key or request.method not in ("PUT", "GET", "HEAD") or {name for name, _ in request.query} - _SIGNING:
            raise Denied(501, "NotImplemented", "this server only puts, gets and heads objects")
        return self._put(request, key, fault) if request.method == "PUT" else self._get(request, key, fault)

    def _put(self, request: Request, key: str, fault: Fault) -> Reply:
        if self._mode == "refuse" and {"if-none-match", "if-match"} & request.headers.keys():
            raise Denied(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
        if "x-amz-copy-source" in request.headers:
            raise Denied(501, "NotImplemented", "copying is not implemented")
        body = flipped(request.body) if fault.flip else request.body
        content_type = request.headers.get("content-type", "binary/octet-stream")
        with self._lock:
            self.objects[key] = Bare(body, content_type, self._now())
        return Reply(200)

    def _get(self, request: Request, key: str, fault: Fault) -> Reply:
        if conditions := {"range", "if-match", "if-none-match", "if-modified-since"} & request.headers.keys():
            raise Denied(501, "NotImplemented", f"{', '.join(conditions)} is not implemented")
        with self._lock:
            stored = self.objects.get(key)
        if stored is None:
            raise Denied(404, "NoSuchKey", "The specified key does not exist.")
        headers = {"Content-Type": stored.content_type, "Last-Modified": http_date(stored.modified)}
        return Reply(200, headers, flipped(stored.body) if fault.flip else stored.body)


def _split(request: Request) -> tuple[str, str]:
    """Bucket and key, decoded; the key may contain anything, slashes included."""
    bucket, _, key = request.path[1:].partition("/")
    return unquote(bucket), unquote(key, errors="surrogateescape")


def _error(status: int, code: str, message: str) -> Reply:
    body = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return Reply(status, {"Content-Type": "application/xml"}, body.encode())

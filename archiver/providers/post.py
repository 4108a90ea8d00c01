"""One paid POST: sent at most once, on a connection of its own, and every failure says whether it may have been paid.

It speaks through requests' adapter without a session, because a session adds what a paid call must not have: netrc,
proxies and CA bundles from the environment, cookies, and a look at redirects that reads their whole body. It refuses to
retry, to reuse a connection (one that died while idle looks like a request that was cut), to decode, and to quote the
text of a network error, which may hold what is secret.
"""

import io
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.client import HTTPException, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectTimeout, ProxyError, ReadTimeout, SSLError
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from archiver.core.errors import AdapterError, Ambiguous, Permanent, Transient
from archiver.core.model import Network
from archiver.core.ports import Outside

ANSWER_LIMIT = 256 * 1024 * 1024
"""Bytes. Ten 4K images in base64 are about 110 MB; more than this is no answer."""

COMPLAINT_LIMIT = 64 * 1024
"""Bytes that are read of an answer that is an error."""

TAIL_S = 50.0
"""Seconds that a body may still take when the longest silence that is waited for has passed. Together with the 10 and
600 s of a 4K call this is the time that a service manager must leave us to stop in order."""

_PIECE = 64 * 1024
_KEEPALIVE_IDLE = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)  # Linux, or macOS
_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # A model thinks for minutes without a byte. A NAT on the way forgets such a connection, and the image is lost.
    *([(socket.IPPROTO_TCP, _KEEPALIVE_IDLE, 30)] if _KEEPALIVE_IDLE else []),
]
_FAULTS = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)


class Reply:
    """A reply whose head has arrived. `content_type` is empty when the provider named none."""

    def __init__(self, response: requests.Response, is_late: Callable[[], bool]) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.content_type: str = response.headers.get("Content-Type", "")
        self._raw = response.raw
        self._is_late = is_late

    def pieces(self, limit: float | None = None) -> Iterator[bytes]:
        """The body as it arrives, not decoded. Raises Ambiguous when it is cut, stalls, passes `limit` bytes (None:
        `ANSWER_LIMIT`), or is not over when the time of the whole call is."""
        limit = ANSWER_LIMIT if limit is None else limit
        size = 0
        while True:
            try:
                # What is there, not what fills a buffer: it is to be on disk, and a drip must not hide its age.
                piece: bytes = self._raw.read1(_PIECE, decode_content=False)
            except _FAULTS as error:
                raise Ambiguous(f"the answer broke off: {_reason(error)}") from None
            if not piece:
                break
            size += len(piece)
            if size > limit:
                raise Ambiguous(f"the answer is longer than {limit} bytes")
            yield piece
            if self._is_late():
                raise Ambiguous("the answer broke off: it was still arriving when the time for the call was over")
        if not size and "Content-Length" not in self.headers and "Transfer-Encoding" not in self.headers:
            # http.client takes a head that was cut for a whole one.
            raise Ambiguous("the connection was closed where the answer should begin")

    def complaint(self) -> bytes:
        """The first `COMPLAINT_LIMIT` bytes of an error; empty when they cannot be had: the status says enough."""
        try:
            read: bytes = self._raw.read(COMPLAINT_LIMIT, decode_content=False)
        except _FAULTS:
            return b""
        return read


@contextmanager
def send(
    method: str,
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    *,
    timeouts: tuple[float, float],
    outside: Outside,
    tail_s: float = TAIL_S,
) -> Iterator[Reply]:
    """Send a request once. `timeouts` are seconds to connect, and to wait for each read; a body that is still dripping
    when both and `tail_s` are over is cut.

    Raises Transient when the request did not leave this machine, Permanent when it never can (a CA file that is
    missing, a header that is none), and Ambiguous in all other cases. Any status is a reply.
    """
    body = _Body(content)
    network = outside.network
    end = outside.elapsed() + sum(timeouts) + tail_s
    with closing(_OwnConnection(max_retries=0)) as adapter:
        try:
            request = requests.Request(method, url, headers=dict(headers), data=body if content else None).prepare()
            response = adapter.send(
                request,
                stream=True,
                timeout=timeouts,
                verify=network.ca_file or True,
                proxies=_proxies(url, network),
            )
        except _FAULTS as error:
            raise _judge(error, body.left) from None
        with closing(response):
            yield Reply(response, lambda: outside.elapsed() > end)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a `Retry-After` header in either of its forms, at least 1 and at most 3600.

    None when there is no header or nobody could read it.
    """
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", text):
        wait = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
            # "-0000" gives a naive time: UTC by the standard of mail dates.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            wait = (moment - now).total_seconds()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(max(wait, 1.0), 3600.0)


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine without asking anybody: `localhost`, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _Body(io.BytesIO):
    """The content of a request, which knows whether anybody began to read it.

    http.client reads the body only after it has sent the head over a connection that stands (through the proxy, and
    for https with the certificate verified). A body that nobody read has not left this machine, and nobody charges for
    a request without one. The kinds of exceptions prove nothing: a TLS error may come before or after the request.
    """

    left = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.left = True
        return super().read(size)


class _OwnConnection(HTTPAdapter):
    """requests' adapter with TCP keep-alive, also on the way through a proxy. Closing it closes its connection."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, socket_options=_SOCKET_OPTIONS, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, socket_options=_SOCKET_OPTIONS, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        super().cert_verify(conn, url, verify, cert)
        if conn.ca_certs:
            # A context of its own would hold all certificates of the bundle once more: 0.7 MB for every open request.
            conn.conn_kw["ssl_context"] = _trusting(conn.ca_certs, Path(conn.ca_certs).stat().st_mtime_ns)
            conn.ca_certs = None


@lru_cache(maxsize=4)
def _trusting(ca_file: str, _changed_at: int) -> ssl.SSLContext:
    """What all connections that trust this bundle share; a bundle that was replaced is read anew."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise SSLError(error) from None
    return context


def _proxies(url: str, network: Network) -> dict[str, str]:
    """No proxy can reach this machine's own loopback for us."""
    if network.proxy is None or is_loopback(urlsplit(url).hostname or ""):
        return {}
    return {"http": network.proxy, "https": network.proxy}


def _judge(error: Exception, left: bool) -> AdapterError:
    if left:
        return Ambiguous(f"the request was sent, but no answer came: {_reason(error)}")
    if isinstance(error, requests.RequestException) and not isinstance(error, ValueError):
        return Transient(f"the request was not sent: {_reason(error)}")
    return Permanent(f"the request cannot be sent: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """What went wrong in words that hold nothing secret: never the text of requests or urllib3, which quotes URLs."""
    if isinstance(error, ConnectTimeout):
        return "no connection in time"
    if isinstance(error, ReadTimeout | ReadTimeoutError):
        return "nothing arrived in time"
    if isinstance(error, ProxyError):
        return "the proxy did not connect"
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    if isinstance(root, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(root, RemoteDisconnected):
        return "the other side closed the connection"
    words = getattr(root, "strerror", None) or type(root).__name__
    return f"TLS failed: {words}" if isinstance(error, SSLError) else str(words)

"""Gets the bytes behind a URL that nobody vouches for, as they are, and nothing more.

Only GET, only http and https, only addresses that the guard permits, checked on the very socket that is opened and
again at every redirect. No cookies, no credentials, no referer, no decoding. It refuses to judge whether the bytes are
an image, and keeps the URL's secret part out of every message: hosts, statuses and error codes only.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pycurl

from archiver.core.errors import AdapterError, Corrupt, Refused, Transient
from archiver.core.tempurl import TemporaryURL
from archiver.transport.body import Body, BodyWriter, ByteBudget
from archiver.transport.guard import AddressGuard, literal_address
from archiver.transport.handles import Handles, network_fault, origin_and_target
from archiver.transport.judging import disagreement, refused_by_source
from archiver.transport.reply import Head

EVIDENCE = (
    "date",
    "x-oss-expiration",
    "x-amz-expiration",
    "content-type",
    "etag",
    "content-md5",
    "x-oss-hash-crc64ecma",
)
"""The reply's headers that say something of the bytes or of their lifetime. Nothing else is handed on."""

_ERROR_PAGE = 64 * 1024
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_URL = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(?=[/?#]|$)", re.IGNORECASE | re.ASCII)
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_TOO_MANY_HEADERS = 100  # CURLE_TOO_LARGE, which pycurl does not name
_NOT_ON_THE_WIRE = re.compile(r"[^\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """Bounds of one fetch, redirects included. Slower than `slowest` bytes/s over `stall_s` counts as stalled."""

    max_bytes: int = 100 * 1000 * 1000
    total_s: float = 300.0
    slowest: int = 8 * 1024
    stall_s: int = 30
    max_redirects: int = 5


DEFAULT_LIMITS = FetchLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedBody:
    """Whole bytes as the source sent them, and its headers named in `EVIDENCE`. Whoever has it closes `body`."""

    body: Body
    headers: Mapping[str, str]


class Fetcher:
    """One way out to untrusted sources. Used by many threads at once."""

    def __init__(
        self, handles: Handles, guard: AddressGuard, budget: ByteBudget, temp_dir: Path | None, *, proxied: bool
    ) -> None:
        self._handles = handles
        self._guard = guard
        self._budget = budget
        self._temp_dir = temp_dir
        self._proxied = proxied

    def close(self) -> None:
        """Close idle connections."""
        self._handles.close()

    def fetch(self, url: TemporaryURL, limits: FetchLimits) -> FetchedBody:
        """Follow `url` to its bytes.

        Raises `Refused` (address, scheme, downgrade, redirects, size), `Gone` (the source says no), `Throttled`,
        `Corrupt` (cut short, encoded, or not what the source's own checksum says) and `Transient` (everything else).
        """
        target, seconds = _NOT_ON_THE_WIRE.sub(lambda odd: quote(odd[0]), url.reveal()), limits.total_s
        for _ in range(limits.max_redirects + 1):
            found = _Hop(self, target, limits, seconds).run()
            if isinstance(found, FetchedBody):
                return found
            location, spent = found
            refuse_downgrade(target, location)
            target, seconds = location, seconds - spent
            if seconds <= 0:
                raise Transient(f"{_host(target)}: too slow, or no reply in time")
        raise Refused(f"{url.host}: more than {limits.max_redirects} redirects")

    def check_host(self, host: str, port: int) -> str | None:
        """Refuse what can be refused before connecting; returns the address if the URL spells one.

        Behind a proxy this is all that can be seen: the socket leads to the proxy, and the proxy resolves names.
        """
        literal = literal_address(host)
        if literal is not None and not self._guard.permits(literal, True, port):
            raise Refused(_refusal(literal))
        if self._proxied and (host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost")):
            raise Refused(_refusal(host))
        return literal

    def permits(self, address: str, literal: bool, port: int) -> bool:
        """Whether this socket may be opened. A configured proxy is the user's own word."""
        return self._proxied or self._guard.permits(address, literal, port)

    @property
    def handles(self) -> Handles:
        """The guarded pool: no handle of it has ever opened an unguarded connection."""
        return self._handles

    def writer(self) -> BodyWriter:
        """A place for one body."""
        return BodyWriter(self._budget, self._temp_dir)


class _Hop:
    """One request of a fetch."""

    def __init__(self, fetcher: Fetcher, url: str, limits: FetchLimits, seconds: float) -> None:
        match = _URL.match(url)
        if match is None:
            raise Refused("a redirect leads to something that is no plain http or https URL")
        self._url = url
        self._host = match[2].lower()
        port = int(match[3][1:]) if match[3] else (443 if match[1].lower() == "https" else 80)
        self._literal = fetcher.check_host(self._host, port) is not None
        self._fetcher = fetcher
        self._limits = limits
        self._seconds = seconds
        self._head = Head()
        self._page = bytearray()
        self._writer = fetcher.writer()
        self._refused: str | None = None
        self._is_image = False
        self._raised: BaseException | None = None
        self._sockets: list[socket.socket] = []

    def run(self) -> FetchedBody | tuple[str, float]:
        """The body, or where the source sends us and how many seconds that took."""
        try:
            handle, is_fresh = self._fetcher.handles.take("get")
            try:
                self._prepare(handle, is_fresh=is_fresh)
                try:
                    self._fetcher.handles.perform(handle)
                except pycurl.error as error:
                    # Too long an error page was cut off by ourselves; its status still counts.
                    if not (error.args[0] == pycurl.E_WRITE_ERROR and len(self._page) >= _ERROR_PAGE):
                        raise self._fault(error) from None
                if self._head.status in _REDIRECTS and (location := self._location(handle)):
                    return location, handle.getinfo(pycurl.TOTAL_TIME)
            finally:
                self._fetcher.handles.give(handle, "get")
            if self._head.too_long:
                raise self._too_many_headers()
            if self._head.status != 200:
                raise refused_by_source(self._host, self._head, bytes(self._page))
            return self._finish()
        except AdapterError as error:
            error.headers = self._evidence()
            raise
        finally:
            self._writer.close()
            for opened in self._sockets:
                opened.close()

    def _location(self, handle: pycurl.Curl) -> str | None:
        """The absolute URL of a redirect, byte for byte where it needs no resolving (libcurl would rewrite it)."""
        text = self._head.headers.get("location", "")
        if text.startswith("/") and not text.startswith("//"):
            text = origin_and_target(self._url)[0] + text
        elif not _ABSOLUTE.match(text):
            resolved = handle.getinfo_raw(pycurl.REDIRECT_URL)
            text = resolved.decode("latin-1") if resolved else ""
        return _NOT_ON_THE_WIRE.sub(lambda odd: quote(odd[0].encode("latin-1")), text) or None

    def _prepare(self, handle: pycurl.Curl, *, is_fresh: bool) -> None:
        self._fetcher.handles.aim(handle, self._url)
        if is_fresh:
            handle.setopt(pycurl.HTTPGET, 1)
            handle.setopt(pycurl.HTTPHEADER, ["Accept-Encoding: identity"])
        handle.setopt(pycurl.TIMEOUT_MS, max(1, int(self._seconds * 1000)))
        handle.setopt(pycurl.LOW_SPEED_LIMIT, self._limits.slowest)
        handle.setopt(pycurl.LOW_SPEED_TIME, self._limits.stall_s)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, self._limits.max_bytes)
        handle.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        handle.setopt(pycurl.HEADERFUNCTION, self._head.lines.append)
        handle.setopt(pycurl.WRITEFUNCTION, self._receive)

    def _open_socket(self, _purpose: int, target: Any) -> socket.socket | int:
        """Called by libcurl with the address that it is about to connect to: nothing can change in between."""
        family, kind, protocol, (address, port, *_) = target
        if isinstance(address, bytes):
            address = address.decode("ascii")
        if not self._fetcher.permits(address, self._literal, port):
            self._refused = address
            return int(pycurl.SOCKET_BAD)
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError:  # no descriptor is left: libcurl has no room for an exception here
            return int(pycurl.SOCKET_BAD)
        self._sockets.append(opened)  # libcurl works on a duplicate; ours is closed when the hop is over
        return opened

    def _receive(self, piece: bytes) -> int | None:
        """Called by libcurl; an exception must not pass through it, so it is kept, and raised behind it by `_fault`."""
        try:
            if not self._is_image and not self._begins_image():
                self._page.extend(piece[: _ERROR_PAGE - len(self._page)])
                return -1 if len(self._page) >= _ERROR_PAGE else None
            if self._writer.size + len(piece) > self._limits.max_bytes:  # an older libcurl caps announced lengths only
                raise self._too_big()
            self._writer.write(piece)
        except BaseException as error:  # noqa: BLE001 - see above
            self._raised = error
            return -1
        return None

    def _begins_image(self) -> bool:
        """Whether this is the body of an image; its first piece is about to be written."""
        if self._head.status != 200:
            return False
        self._is_image = True
        length = self._head.headers.get("content-length", "")
        if length.isdecimal() and int(length) <= self._limits.max_bytes:
            self._writer.announce(int(length))
        return True

    def _too_big(self) -> Refused:
        return Refused(f"{self._host}: more than the {self._limits.max_bytes} bytes that a fetch may bring")

    def _too_many_headers(self) -> Refused:
        return Refused(f"{self._host}: more headers than any image needs")

    def _fault(self, error: pycurl.error) -> BaseException:
        if self._raised is not None:
            return self._raised
        if error.args[0] == pycurl.E_FILESIZE_EXCEEDED:
            return self._too_big()
        if self._head.too_long or error.args[0] == _TOO_MANY_HEADERS:
            return self._too_many_headers()
        if self._refused is not None and not self._sockets:  # with one that was permitted, that one's fault counts
            return Refused(f"{self._host}: {_refusal(self._refused)}")
        if error.args[0] == pycurl.E_PARTIAL_FILE:
            return Corrupt(f"{self._host}: cut short after {self._writer.size} bytes")
        return network_fault(error, self._host)

    def _finish(self) -> FetchedBody:
        headers = self._head.headers
        if (encoding := headers.get("content-encoding", "identity").lower()) not in ("identity", ""):
            raise Corrupt(f"{self._host}: the body is encoded ({encoding[:20]}), though we asked for it as it is")
        body = self._writer.finish()
        if "x-oss-process=" not in self._url and (wrong := disagreement(body, headers)):  # sums are of the original
            body.close()
            raise Corrupt(f"{self._host}: the bytes do not match the source's own {wrong}")
        return FetchedBody(body=body, headers=self._evidence())

    def _evidence(self) -> dict[str, str]:
        return {name: self._head.headers[name] for name in EVIDENCE if name in self._head.headers}


def refuse_downgrade(url: str, location: str) -> None:
    """Raise `Refused` when a redirect gives up the encryption that the first URL asked for."""
    if url.lower().startswith("https:") and not location.lower().startswith("https:"):
        raise Refused(f"{_host(url)}: a redirect from https to another scheme is not followed")


def _host(url: str) -> str:
    match = _URL.match(url)
    return match[2].lower() if match else "the source"


def _refusal(address: str) -> str:
    return f"address {address} is private or special; name its range in [fetch] allow_cidrs if that is intended"

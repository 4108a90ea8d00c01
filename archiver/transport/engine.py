"""The data plane: every image byte, in and out, is carried by libcurl through this engine.

`send` carries a request that a store has signed, to a server that the user configured. `fetch` gets bytes from a URL
that nobody vouches for (see `fetch.py`). The engine knows no catalogue, provider, store or policy; it asks once and
never repeats.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pycurl

from archiver.core import ports
from archiver.core.errors import Transient
from archiver.core.model import HttpReply, Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import fetch as fetching
from archiver.transport.body import Body, ByteBudget
from archiver.transport.guard import AddressGuard
from archiver.transport.handles import Handles, network_fault
from archiver.transport.reply import Head

_KEPT_REPLY = 1024 * 1024
_SLOWEST_BYTES, _SLOWEST_SECONDS = 1024, 60  # per second, over this long: slower than that counts as stalled


class CurlEngine:
    """`core.ports.Engine`, and `fetch` besides. One per process; used by many threads at once."""

    def __init__(
        self,
        network: Network,
        guard: AddressGuard,
        *,
        budget: ByteBudget | None = None,
        temp_dir: Path | None = None,
        user_agent: str = "archiver",
    ) -> None:
        self._senders = Handles(network, user_agent)
        self._budget = budget or ByteBudget()
        self._fetcher = fetching.Fetcher(
            Handles(network, user_agent), guard, self._budget, temp_dir, proxied=network.proxy is not None
        )

    def fetch(self, url: TemporaryURL, limits: fetching.FetchLimits = fetching.DEFAULT_LIMITS) -> fetching.FetchedBody:
        """Get the bytes behind an untrusted URL; see `fetch.Fetcher.fetch` for what it refuses and raises."""
        return self._fetcher.fetch(url, limits)

    def close(self) -> None:
        """Close idle connections."""
        self._senders.close()
        self._fetcher.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: ports.Body | None = None,
        sink: Callable[[bytes], None] | None = None,
        total_s: float = 600.0,
    ) -> HttpReply:
        """Send one request as given; see `core.ports.Engine.send`. What `sink` raises is raised again."""
        head = Head()
        kept = bytearray()
        raised: list[BaseException] = []

        def receive(piece: bytes) -> int | None:
            if sink is None or not 200 <= head.status < 300:
                kept.extend(piece[: _KEPT_REPLY - len(kept)])
                return None
            try:
                sink(piece)
            except BaseException as error:  # noqa: BLE001 - libcurl is in between: it must not pass through C, only around it
                raised.append(error)
                return -1
            return None

        data = body.data if method == "PUT" and isinstance(body, Body) else None
        use = "put" if data is not None else None
        handle, is_fresh = self._senders.take(use)
        try:
            with nullcontext() if data is not None or body is None else body.open() as file:
                self._senders.aim(handle, url)
                handle.setopt(pycurl.TIMEOUT_MS, max(1, int(total_s * 1000)))
                handle.setopt(pycurl.HTTPHEADER, _lines(headers))
                handle.setopt(pycurl.HEADERFUNCTION, head.lines.append)
                handle.setopt(pycurl.WRITEFUNCTION, receive)
                if is_fresh:
                    handle.setopt(pycurl.LOW_SPEED_LIMIT, _SLOWEST_BYTES)
                    handle.setopt(pycurl.LOW_SPEED_TIME, _SLOWEST_SECONDS)
                    _prepare_method(handle, method)
                if data is not None:
                    handle.setopt(pycurl.POSTFIELDS, data)  # sent from where it lies: 13 % faster than piecemeal
                elif file is not None and body is not None:
                    _prepare_upload(handle, file, body.size)
                self._senders.perform(handle)
        except pycurl.error as error:
            if raised:
                raise raised[0] from None
            raise network_fault(error, urlsplit(url).hostname or "the store") from None
        finally:
            if data is not None:
                handle.setopt(pycurl.POSTFIELDS, b"")  # an idle handle must not hold an image
            self._senders.give(handle, use)
        if head.too_long:
            raise Transient(f"{urlsplit(url).hostname}: more headers than any store sends")
        return HttpReply(status=head.status, headers=head.headers, body=bytes(kept))


def _lines(headers: Mapping[str, str]) -> list[str]:
    """Header lines for libcurl; its own additions (`Expect`, a form's content type) are switched off."""
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers.items()]
    names = {name.lower() for name in headers}
    return lines + [f"{name}:" for name in ("Expect", "Content-Type") if name.lower() not in names]


def _prepare_method(handle: pycurl.Curl, method: str) -> None:
    if method == "HEAD":
        handle.setopt(pycurl.NOBODY, 1)
    elif method != "GET":
        handle.setopt(pycurl.CUSTOMREQUEST, method)


def _prepare_upload(handle: pycurl.Curl, file: BinaryIO, size: int) -> None:
    def rewind(offset: int, origin: int) -> int:
        file.seek(offset, origin)
        return int(pycurl.SEEKFUNC_OK)

    handle.setopt(pycurl.UPLOAD, 1)
    handle.setopt(pycurl.INFILESIZE_LARGE, size)
    handle.setopt(pycurl.READFUNCTION, file.read)
    handle.setopt(pycurl.SEEKFUNCTION, rewind)

"""libcurl handles: made once, used by one thread at a time, and again in the order in which their connections are warm.

Two pools never share a handle, because a handle keeps its connections: one that was opened without the address guard
must not serve a guarded fetch. This file refuses to know what is sent, and keeps URLs out of its error texts.
"""

import re
import threading

import certifi
import pycurl

from archiver.core.errors import Transient
from archiver.core.model import Network
from archiver.transport.loop import perform

CONNECT_SECONDS = 10
_BUFFER = 256 * 1024
_KEPT = 256  # more idle handles than that are closed

_PARTS = re.compile(r"([a-z]+://[^/?#]*)([^#]*)", re.IGNORECASE)

_TELLING = {
    pycurl.E_COULDNT_RESOLVE_PROXY,
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_COULDNT_CONNECT,
}
"""Codes whose libcurl text helps the reader; it names hosts, files and certificates, never a URL."""

_SAID = {
    pycurl.E_URL_MALFORMAT: "the URL is malformed",
    # Schemes are judged before libcurl sees a URL; what it calls unsupported is a reply without a proper head.
    pycurl.E_UNSUPPORTED_PROTOCOL: "the reply is no proper HTTP",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "the reply is no proper HTTP",  # not only of FTP
    pycurl.E_COULDNT_RESOLVE_HOST: "the host name cannot be resolved",
    pycurl.E_COULDNT_CONNECT: "no connection",
    pycurl.E_OUT_OF_MEMORY: "this machine has too many open files, or no memory left",
    pycurl.E_OPERATION_TIMEDOUT: "too slow, or no reply in time",
    pycurl.E_PARTIAL_FILE: "the connection ended before the whole body had come",
    pycurl.E_GOT_NOTHING: "the connection was closed without a reply",
    pycurl.E_SEND_ERROR: "the connection was cut while sending",
    pycurl.E_RECV_ERROR: "the connection was cut while receiving",
    pycurl.E_SSL_CONNECT_ERROR: "TLS failed",
    pycurl.E_PEER_FAILED_VERIFICATION: "the TLS certificate is not trusted",
    pycurl.E_SSL_CACERT_BADFILE: "the CA file cannot be read",
}


class Handles:
    """A pool of handles, last in first out. Thread-safe."""

    def __init__(self, network: Network, user_agent: str) -> None:
        self._network = network
        self._user_agent = user_agent
        self._ca_file = network.ca_file or certifi.where()
        self._by_proxy = network.proxy is not None and not network.proxy.lower().startswith("socks")
        self._lock = threading.Lock()
        self._idle: list[tuple[pycurl.Curl, str | None]] = []

    def take(self, use: str | None = None) -> tuple[pycurl.Curl, bool]:
        """A handle with the options of every request set, and whether it is a fresh one.

        One that was given back for the same `use` still has the options of the request before: whoever names a use sets
        the same ones each time. Without one, every handle is fresh.
        """
        with self._lock:
            handle, was = self._idle.pop() if self._idle else (None, None)
        if handle is not None and use is not None and use == was:
            return handle, False
        if handle is None:
            handle = pycurl.Curl()
        else:
            handle.reset()  # drops options and callbacks, keeps connections
        self._prepare(handle)
        return handle, True

    def give(self, handle: pycurl.Curl, use: str | None = None) -> None:
        """Take a handle back."""
        if use is None:
            handle.reset()  # and whatever body it holds
        with self._lock:
            if keep := len(self._idle) < _KEPT:
                self._idle.append((handle, use))
        if not keep:
            handle.close()

    def aim(self, handle: pycurl.Curl, url: str) -> None:
        """Point a handle at `url` (ASCII), whose path and query go out byte for byte.

        libcurl alone would rewrite them: `%2f` becomes `%2F`, and a signature over the text of the URL is broken.
        """
        handle.setopt(pycurl.URL, url)
        origin, target = origin_and_target(url)
        if self._by_proxy and origin.lower().startswith("http:"):
            target = origin + target
        handle.setopt(pycurl.REQUEST_TARGET, target)

    def perform(self, handle: pycurl.Curl) -> None:
        """Do what a leased handle was prepared for. Raises `pycurl.error`. In a task of a loop, other tasks go on
        meanwhile."""
        perform(handle, self)

    def close(self) -> None:
        """Close all idle handles and their connections. The pool may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for handle, _ in idle:
            handle.close()

    def _prepare(self, handle: pycurl.Curl) -> None:
        handle.setopt(pycurl.NOSIGNAL, 1)  # signals and threads do not mix
        handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        handle.setopt(pycurl.FOLLOWLOCATION, 0)
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # object stores speak nothing newer
        handle.setopt(pycurl.CONNECTTIMEOUT, CONNECT_SECONDS)
        handle.setopt(pycurl.BUFFERSIZE, _BUFFER)
        handle.setopt(pycurl.USERAGENT, self._user_agent)
        handle.setopt(pycurl.CAINFO, self._ca_file)
        # An empty string, because otherwise libcurl would take a proxy from the environment behind wiring's back.
        handle.setopt(pycurl.PROXY, self._network.proxy or "")
        if self._network.proxy:
            handle.setopt(pycurl.NOPROXY, "")


def origin_and_target(url: str) -> tuple[str, str]:
    """Origin and request target; the fragment stays here."""
    match = _PARTS.match(url)
    origin, target = (match[1], match[2]) if match else (url, "")
    return origin, target if target.startswith("/") else f"/{target}"


def network_fault(error: pycurl.error, host: str) -> Transient:
    """The word for a libcurl error. The text names the host and nothing else of the URL."""
    code, text = int(error.args[0]), str(error.args[1]) if len(error.args) > 1 else ""
    said = _SAID.get(code, f"network error {code} of libcurl")
    detail = f" ({text})" if code in _TELLING and text and "?" not in text else ""
    return Transient(f"{host}: {said}{detail}")

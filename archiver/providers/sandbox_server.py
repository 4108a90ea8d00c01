"""Serves the sandbox's pictures on 127.0.0.1, behind URLs that are signed and die like those of Aliyun OSS (V1).

Port and signing key lie in the sandbox's own folder, and the path of a URL says what to draw: so whichever process of
the same data folder serves, it serves every URL that any of them gave, also those of processes that are gone. It
refuses to listen anywhere but on loopback, to store a picture, and to draw what it did not sign.
"""

import contextlib
import errno
import fcntl
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import socket
import socketserver
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from archiver.providers.picture import draw

HOST = "127.0.0.1"
_ACCESS_KEY_ID = "sandbox"
_HEALTH = "/health"
_PATH = re.compile(r"/([0-9a-f]{32})/([0-9])/([1-9][0-9]{0,3})x([1-9][0-9]{0,3})\.png")
_PATIENCE_S = 5.0  # a process that draws sixteen large pictures at once is slow, but alive


@dataclass(frozen=True, slots=True)
class Picture:
    """What a path names: the picture number `index` (0 to 9) of a prompt, of which `prompt_hash` has 32 digits."""

    prompt_hash: str
    index: int
    width: int
    height: int

    @property
    def path(self) -> str:
        """The path of its URL."""
        return f"/{self.prompt_hash}/{self.index}/{self.width}x{self.height}.png"

    def draw(self) -> bytes:
        """The PNG itself."""
        return draw(f"{self.prompt_hash}/{self.index}".encode(), self.width, self.height)


@dataclass(frozen=True, slots=True)
class _State:
    """What all processes of one data folder agree on."""

    port: int
    key: bytes = field(repr=False)

    def sign(self, path: str, expires: str) -> str:
        """The signature of a GET by the rules of OSS V1, for a bucket named `sandbox`."""
        text = f"GET\n\n\n{expires}\n/sandbox{path}"
        return b64encode(hmac.new(self.key, text.encode(), hashlib.sha1).digest()).decode()

    @property
    def token(self) -> str:
        """What only a server with our key can say."""
        return hmac.new(self.key, _HEALTH.encode(), hashlib.sha256).hexdigest()


class SandboxServer:
    """Sees to it that somebody serves, and signs URLs. Its methods may be called by many threads at once.

    `folder` holds `{name}.json` and `{name}.lock`, both 0600. `fault_rate` is the share (0 to 1) of picture requests
    that this process answers with 503. Methods raise OSError when the folder or the network of this machine fails.
    """

    def __init__(self, folder: Path, name: str, now: Callable[[], datetime], fault_rate: float) -> None:
        self._file = folder / f"{name}.json"
        self._lock_file = folder / f"{name}.lock"
        self._now = now
        self._fault_rate = fault_rate
        self._lock = threading.Lock()
        self._state: _State | None = None
        self._listener: _Listener | None = None

    def address(self) -> tuple[str, int]:
        """Where the pictures are served. Does not start a server; ask again after `serve`, which may have to move."""
        with self._lock, self._alone():
            return HOST, self._agreed().port

    def serve(self) -> None:
        """Return when somebody serves: another process, or from now on this one. Cheap, and to be called often: the
        other process may have ended."""
        with self._lock:
            if self._listener is not None:
                return
            with self._alone():
                self._state = self._agreed()
                if not _is_served(self._state):
                    self._listener = self._listen(self._state)

    def url(self, picture: Picture, expires: int) -> str:
        """The signed URL of `picture`, a secret that dies at `expires` (epoch seconds). Only after `serve`."""
        state = self._state
        if state is None:
            raise RuntimeError("serve() comes before url()")
        signature = quote(state.sign(picture.path, str(expires)), safe="")
        query = f"OSSAccessKeyId={_ACCESS_KEY_ID}&Expires={expires}&Signature={signature}"
        return f"http://{HOST}:{state.port}{picture.path}?{query}"

    def close(self) -> None:
        """Stop serving. The port and the key stay for the next process."""
        with self._lock:
            if self._listener is not None:
                self._listener.shutdown()
                self._listener.server_close()
                self._listener = None

    def _listen(self, state: _State) -> "_Listener":
        """Take the agreed port, or agree on a new one when a stranger has it."""
        try:
            listener = _Listener(state, self._now, self._fault_rate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self._state = replace(state, port=0)
            listener = _Listener(self._state, self._now, self._fault_rate)
            self._state = listener.state
            self._write(self._state)
        threading.Thread(target=listener.serve_forever, args=(0.1,), name="sandbox", daemon=True).start()
        return listener

    def _agreed(self) -> _State:
        """The state on disk, or a new one when there is none that can be read. Call it alone."""
        try:
            written = json.loads(self._file.read_bytes())
            return _State(port=int(written["port"]), key=bytes.fromhex(written["key"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            with socket.create_server((HOST, 0)) as free:
                # Ports do not enter through wiring, nor does this key: it guards pictures that anybody may draw.
                state = _State(port=free.getsockname()[1], key=secrets.token_bytes(32))
            self._write(state)
            return state

    def _write(self, state: _State) -> None:
        """Replace the file as a whole: a reader never sees half of it."""
        fresh = self._file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"port": state.port, "key": state.key.hex()}, file)
        fresh.replace(self._file)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock between processes: two that start at once must agree on one port and one key."""
        self._lock_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _is_served(state: _State) -> bool:
    """Whether a process with our key answers on the port. A stranger there, or silence, is no."""
    connection = http.client.HTTPConnection(HOST, state.port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", _HEALTH)
        said = connection.getresponse().read(200)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return hmac.compare_digest(said, state.token.encode())


class _Listener(socketserver.ThreadingTCPServer):
    """The listening socket. `http.server.HTTPServer` is not used: it asks DNS for its own name when it starts."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, state: _State, now: Callable[[], datetime], fault_rate: float) -> None:
        super().__init__((HOST, state.port), _Handler)
        self.state = replace(state, port=self.server_address[1])
        self.now = now
        self._fault_rate = fault_rate
        self._asked = 0
        self._lock = threading.Lock()

    def is_faulty(self) -> bool:
        """Whether this picture request is one of the share that fails. By count, so that it can be foretold."""
        with self._lock:
            before = int(self._asked * self._fault_rate)
            self._asked += 1
            return int(self._asked * self._fault_rate) > before

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is a bug and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """Answers GET with a picture, or with an error as OSS words it."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    server_version = "archiver-sandbox"
    sys_version = ""
    disable_nagle_algorithm = True  # head and body are two writes; a delayed ACK between them costs 40 ms
    timeout = 60

    def do_GET(self) -> None:
        """The one method."""
        target = urlsplit(self.path)
        if target.path == _HEALTH:
            self._reply(200, "text/plain", self.server.state.token.encode())
            return
        refusal = self._refusal(target.path, parse_qs(target.query))
        picture = _PATH.fullmatch(target.path)
        if refusal:
            self._error(403, *refusal)
        elif picture is None:
            self._error(404, "NoSuchKey", "The specified key does not exist.")
        elif self.server.is_faulty():
            self._error(503, "ServiceUnavailable", "Please try again later.")
        else:
            prompt_hash, index, width, height = picture.groups()
            self._reply(200, "image/png", Picture(prompt_hash, int(index), int(width), int(height)).draw())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is given
        """Silent: the request line holds the signature."""

    def _refusal(self, path: str, query: dict[str, list[str]]) -> tuple[str, str] | None:
        """Code and message when the signature does not open this path now."""
        names = ("OSSAccessKeyId", "Expires", "Signature")
        access_key_id, expires, signature = (query.get(name, [""])[0] for name in names)
        if not (access_key_id and signature and re.fullmatch(r"[0-9]{1,12}", expires)):
            return "AccessDenied", "You have no right to access this object because of bucket acl."
        if int(expires) <= self.server.now().timestamp():
            return "AccessDenied", "Request has expired."
        if not hmac.compare_digest(self.server.state.sign(path, expires).encode(), signature.encode()):
            return (
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        return None

    def _error(self, status: int, code: str, message: str) -> None:
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n'
        )
        self._reply(status, "application/xml", body.encode())

    def _reply(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

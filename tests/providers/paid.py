"""What the tests of providers share: an endpoint that keeps a ledger of what it was paid for, and what wiring hands in.

The endpoint is a real socket with one scripted behaviour; every request whose body arrived whole is in its ledger. It
refuses to imitate any provider: what it answers is decided by the test.
"""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from archiver.core.errors import ConfigurationError
from archiver.core.kept_headers import KEPT_HEADERS
from archiver.core.model import Answer, Ask, HttpReply, Network, SecretReference
from archiver.core.ports import Outside
from tests.doubles.http1 import Request, head, read_body, read_head
from tests.doubles.listener import HOST, Listener

KEY = "sk-live-9f8e7d6c5b4a39281706"
SIGNED = (
    "https://bucket.oss-cn-beijing.aliyuncs.com/a/b.png?OSSAccessKeyId=LTAIx&Expires=1893456000&Signature=S%2Bigned"
)
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

Behaviour = Callable[[socket.socket, Request], None]


@dataclass
class Kept:
    """A sink that keeps everything; an answer can be made of it."""

    begun: list[tuple[int, str]] = field(default_factory=list)
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def begin(self, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        self.begun.append((status, content_type))
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}

    def write(self, piece: bytes) -> None:
        assert len(self.begun) == 1, "begin comes first, and once"
        self.body += piece

    def answer(self) -> Answer:
        (status, content_type), *more = self.begun
        assert not more
        kept = {name: value for name, value in self.headers.items() if name in KEPT_HEADERS}
        return Answer(status=status, content_type=content_type, body=self.body, received_at=START, headers=kept)


@dataclass
class Clock:
    """A clock that moves only when the test moves it."""

    moment: datetime = START

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, by: timedelta) -> None:
        self.moment += by


class NoEngine:
    """Providers have no business with the data plane."""

    def send(self, *_: object, **__: object) -> HttpReply:
        raise AssertionError("a provider used the engine")


def outside(
    state: Path,
    now: Callable[[], datetime] | None = None,
    network: Network | None = None,
    secret: str | None = KEY,
    elapsed: Callable[[], float] = time.monotonic,
) -> Outside:
    """What wiring hands in, with one secret at `env:KEY` (None: it cannot be resolved)."""

    def resolve(reference: SecretReference) -> str:
        if secret is None or str(reference) != "env:KEY":
            raise ConfigurationError(f"{reference} is not set")
        return secret

    return Outside(
        secret=resolve,
        now=now or Clock(),
        elapsed=elapsed,
        network=network or Network(),
        engine=NoEngine(),
        state_dir=state,
    )


def ask(**changes: object) -> Ask:
    """A request for one image, with `changes`."""
    values = {"generation_id": "01JNGENERATION", "prompt": "a red fox", "model": "m-1"} | changes
    return Ask(**values)  # type: ignore[arg-type]


def sends(status: int, body: bytes | dict[str, object] = b"", /, **headers: str) -> Behaviour:
    """Answer with `status`; a dict becomes JSON. `Retry_After="3"` is the header `Retry-After: 3`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/html" if isinstance(body, bytes) else "application/json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = head(status, {"Content-Type": kind, "Content-Length": str(len(content)), **named}) + content
    return lambda connection, _: connection.sendall(reply)


def images_reply(connection: socket.socket, request: Request) -> None:
    """Answer as the OpenAI Images dialect does: `n` images in the form that was asked for."""
    wanted = json.loads(request.body)
    if wanted.get("response_format") == "b64_json":
        items: list[dict[str, object]] = [{"b64_json": "iVBORw0KGgo="} for _ in range(wanted["n"])]
    else:
        items = [{"url": f"{SIGNED}&i={index}", "revised_prompt": "a fox"} for index in range(wanted["n"])]
    sends(200, {"created": 1, "id": "req-1", "data": items})(connection, request)


class Paid:
    """A running endpoint: `base_url`, and the `ledger` of the requests it was paid for."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None) -> None:
        self.behave = behave
        self.ledger: list[Request] = []
        self.listener = Listener(self._serve)
        self.base_url = f"{'https' if tls else 'http'}://{HOST}:{self.listener.port}"
        self._tls = tls

    def silent(self, connection: socket.socket, request: Request) -> None:
        """A behaviour: say nothing until the test is over."""
        self.listener.stopping.wait(30)

    def _serve(self, connection: socket.socket) -> None:
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rb") as stream:
            while request := read_head(stream):
                request = read_body(request, stream, connection)
                self.ledger.append(request)
                self.behave(connection, request)
                if not request.keeps_alive:
                    return


@contextmanager
def paid(behave: Behaviour = images_reply, tls: ssl.SSLContext | None = None) -> Iterator[Paid]:
    """An endpoint that behaves as told."""
    endpoint = Paid(behave, tls)
    endpoint.listener.up()
    try:
        yield endpoint
    finally:
        endpoint.listener.close()

"""What every double of a provider has: a ledger of what it charged, mishaps that a test scripts, and an image host.

The ledger is written before anything is answered, so that a test can compare what was paid with what was recorded. A
double adds its dialect: which requests it takes, and what a good answer looks like. This file refuses to know any.
"""

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlencode

from tests.doubles.http1 import Reply, Request
from tests.doubles.oss_signing import v1_signature, v1_string_to_sign
from tests.doubles.pngs import png
from tests.doubles.source import Behaviour, ImageSource
from tests.doubles.wire import Fault, Seen, Wire

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of the ledger; `amount_micro` is in micro-USD for all `n` images."""

    request_id: str
    prompt: str
    model: str
    n: int
    size: str
    amount_micro: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """What goes wrong with one valid request.

    `status`, `body` and `headers` replace the answer (without a body, an error status brings a JSON error). `charged`
    says whether the ledger is written; None means: yes when the status is 200. `cut` closes the connection without an
    answer, `before` or `after` charging, or `midway` through the answer. `stall` charges and then says nothing until
    the provider closes. `data_null` and `url_null` answer `"data": null` and `"url": null`; `images` answers fewer than
    `n`; `truncated` ends the JSON in the middle, as a complete HTTP reply.
    """

    status: int = 200
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    charged: bool | None = None
    cut: Literal["before", "midway", "after"] | None = None
    stall: bool = False
    data_null: bool = False
    url_null: bool = False
    images: int | None = None
    truncated: bool = False


MishapScript = Callable[[Request], Mishap | None] | Iterable[Mishap | None] | None
"""A function of the request, or one entry per valid request in order of arrival."""

_NONE = Mishap()


class Refused(Exception):
    """The request is refused without charge, with this reply."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__()


class Paid:
    """The floor of a provider double: `endpoint` is its address, `api_key` the key, `charges` the ledger, `source` the
    image host.

    `latency` (seconds) passes after charging. URLs die `lifetime` after the answer; with `enforce` the image host
    refuses them from then on, by the clock `now`. Without `signed` they are bare, as some relays give them.
    `image_first` are behaviours that each new image shows before it is served properly.
    """

    def __init__(
        self,
        script: MishapScript = None,
        now: Clock = utc_now,
        latency: float = 0.0,
        lifetime: timedelta = timedelta(days=7),
        price_micro: int = 40_000,
        signed: bool = True,
        enforce: bool = False,
        image_first: tuple[Behaviour, ...] = (),
    ) -> None:
        self.api_key = "sk-doubleproviderkey0001"
        self.charges: list[Charge] = []
        self.latency = latency
        self.image_first = image_first
        self.source = ImageSource(now if enforce else None)
        self._lifetime = lifetime
        self._price_micro = price_micro
        self._signed = signed
        self._now = now
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._next: Callable[[Request], Mishap | None]
        self.script(script)
        self._wire = Wire(self._answer, lambda request: request.path, now, None)
        self._open = contextlib.ExitStack()
        self.endpoint = f"http://{self._wire.authority}"

    # What a dialect adds.

    def _validated(self, request: Request) -> dict[str, Any]:
        """What a valid request asks for. Raises Refused."""
        raise NotImplementedError

    def _counted(self, asked: Mapping[str, Any]) -> tuple[str, str, int, str]:
        """Prompt, model, number of images and size, for the ledger."""
        raise NotImplementedError

    def _document(self, request_id: str, asked: Mapping[str, Any], mishap: Mishap) -> dict[str, Any]:
        """A good answer, as far as `mishap` lets it be one."""
        raise NotImplementedError

    def _error(self, status: int, message: str) -> bytes:
        """The body of an error, in the dialect's envelope."""
        raise NotImplementedError

    # What all share.

    def __enter__(self) -> Self:
        self._open.enter_context(self.source)
        self._open.enter_context(self._wire)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._open.__exit__(kind, e, trace)

    @property
    def requests(self) -> list[Seen]:
        """Every request so far, charged or not, in order of answering; the key is the path."""
        return self._wire.seen

    @property
    def served(self) -> dict[str, bytes]:
        """The bytes behind every URL that was given out, by path."""
        return self.source.served

    def script(self, script: MishapScript) -> None:
        """Replace the script of mishaps from the next valid request on."""
        if callable(script):
            self._next = script
            return
        entries = iter(script or ())

        def in_order(request: Request) -> Mishap | None:
            with self._lock:
                return next(entries, None)

        self._next = in_order

    def down(self) -> None:
        """Cut all connections of the API (not of the image host) and refuse new ones."""
        self._wire.listener.down()

    def up(self) -> None:
        """End an outage."""
        self._wire.listener.up()

    @staticmethod
    def image(prompt: str, index: int) -> bytes:
        """The PNG that image `index` (from 0) of `prompt` is."""
        return png(f"{prompt}/{index}")

    def _answer(self, request: Request, fault: Fault) -> Reply | None:
        try:
            asked = self._validated(request)
        except Refused as refused:
            return refused.reply
        mishap = self._next(request) or _NONE
        if mishap.cut == "before":
            return None
        with self._lock:
            request_id = f"req-{next(self._ids):08d}"
            if mishap.status == 200 if mishap.charged is None else mishap.charged:
                self.charges.append(self._charge(request_id, asked))
        stopping = self._wire.listener.stopping
        if self.latency:
            stopping.wait(self.latency)
        if mishap.stall:
            stopping.wait()
        if mishap.stall or mishap.cut == "after":
            return None
        return self._reply(request_id, asked, mishap)

    def _charge(self, request_id: str, asked: Mapping[str, Any]) -> Charge:
        prompt, model, n, size = self._counted(asked)
        return Charge(request_id, prompt, model, n, size, n * self._price_micro, self._now())

    def _reply(self, request_id: str, asked: Mapping[str, Any], mishap: Mishap) -> Reply:
        headers = {"Content-Type": "application/json", "x-request-id": request_id}
        if mishap.body is not None:
            body = mishap.body
        elif mishap.status != 200:
            body = self._error(mishap.status, "scripted")
        else:
            body = json.dumps(self._document(request_id, asked, mishap)).encode()
        if mishap.truncated:
            body = body[: len(body) // 2]
        if mishap.cut == "midway":
            headers |= {"Content-Length": str(len(body)), "Connection": "close"}
            body = body[: len(body) // 2]
        return Reply(mishap.status, {**headers, **mishap.headers}, body)

    def _url(self, request_id: str, index: int, data: bytes) -> str:
        """Put an image on the image host; where it is found, signed and expiring unless told otherwise."""
        path = f"/nano-banana/{request_id}-{index}.png"
        if self._signed:
            expires = str(int((self._now() + self._lifetime).timestamp()))
            text = v1_string_to_sign(Request("GET", path, {}), "double", path[1:], {}, expires)
            signature = v1_signature(text, "doublesecretkey00000000000005")
            path += "?" + urlencode({"Expires": expires, "OSSAccessKeyId": "LTAIdouble", "Signature": signature})
        return self.source.add(path, data, *self.image_first)


def posted(request: Request) -> dict[str, Any] | None:
    """The JSON object that was posted; None when it is none, or is not called so."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return None
    try:
        asked = json.loads(request.body)
    except ValueError:
        return None
    return asked if isinstance(asked, dict) else None


def in_openai_envelope(status: int, message: str, code: str | None = None, param: str | None = None) -> Reply:
    """An error as OpenAI and its relays word it."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Reply(status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode())

"""A provider of images on loopback that speaks the OpenAI images dialect and keeps a ledger of what it charged.

`POST /v1/images/generations` only. The ledger is written before anything is answered, so that a test can compare what
was paid with what was recorded. It validates key and body as a strict relay does, and can be scripted to fail in every
way that costs money. Its images are real PNG files on an `ImageSource`, under URLs that look signed and expiring.
"""

import base64
import contextlib
import itertools
import json
import re
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

_PATH = "/v1/images/generations"
_KNOWN = {"prompt", "model", "n", "size", "response_format", "quality", "style", "background", "moderation", "user"}
_KNOWN |= {"output_format", "output_compression"}


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


class _Invalid(Exception):
    """The request is refused without charge."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        self.reply = _error(status, message, code, param)
        super().__init__(message)


class ImagesProvider:
    """`endpoint` is the base without `/v1`, `api_key` the Bearer key, `charges` the ledger, `source` the image host.

    `latency` (seconds) passes after charging. URLs die `lifetime` after the answer; with `enforce` the image host
    refuses them from then on, by the clock `now`. Without `signed` they are bare, as some relays give them.
    `image_first` are behaviours that each new image shows before it is served properly.
    """

    def __init__(
        self,
        script: MishapScript = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
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
        except _Invalid as invalid:
            return invalid.reply
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
        n, size = asked.get("n", 1), asked.get("size", "auto")
        return Charge(request_id, asked["prompt"], asked["model"], n, size, n * self._price_micro, self._now())

    def _reply(self, request_id: str, asked: Mapping[str, Any], mishap: Mishap) -> Reply:
        headers = {"Content-Type": "application/json", "x-request-id": request_id}
        if mishap.body is not None:
            body = mishap.body
        elif mishap.status != 200:
            body = _error(mishap.status, "scripted", None, None).body
        else:
            count = asked.get("n", 1) if mishap.images is None else mishap.images
            data = [self._item(request_id, asked, index, mishap) for index in range(count)]
            answer = {"created": int(self._now().timestamp()), "data": None if mishap.data_null else data}
            body = json.dumps(answer).encode()
        if mishap.truncated:
            body = body[: len(body) // 2]
        if mishap.cut == "midway":
            headers |= {"Content-Length": str(len(body)), "Connection": "close"}
            body = body[: len(body) // 2]
        return Reply(mishap.status, {**headers, **mishap.headers}, body)

    def _item(self, request_id: str, asked: Mapping[str, Any], index: int, mishap: Mishap) -> dict[str, Any]:
        data = self.image(asked["prompt"], index)
        if asked.get("response_format", "url") == "b64_json":
            return {"b64_json": base64.b64encode(data).decode()}
        path = f"/nano-banana/{request_id}-{index}.png"
        if self._signed:
            expires = str(int((self._now() + self._lifetime).timestamp()))
            text = v1_string_to_sign(Request("GET", path, {}), "double", path[1:], {}, expires)
            signature = v1_signature(text, "doublesecretkey00000000000005")
            path += "?" + urlencode({"Expires": expires, "OSSAccessKeyId": "LTAIdouble", "Signature": signature})
        url = self.source.add(path, data, *self.image_first)
        return {"url": None if mishap.url_null else url}

    def _validated(self, request: Request) -> dict[str, Any]:
        """The body of a valid request. Raises _Invalid."""
        if request.target != _PATH:
            raise _Invalid(404, f"Invalid URL ({request.method} {request.path})")
        if request.method != "POST":
            raise _Invalid(405, f"Not allowed to {request.method} on {_PATH}", "method_not_supported")
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            raise _Invalid(401, "Incorrect API key provided.", "invalid_api_key")
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise _Invalid(400, "The body must be application/json.")
        try:
            asked = json.loads(request.body)
        except ValueError:
            raise _Invalid(400, "We could not parse the JSON body of your request.") from None
        if not isinstance(asked, dict):
            raise _Invalid(400, "The body must be a JSON object.")
        _check(asked)
        return asked


def _check(asked: Mapping[str, Any]) -> None:
    """Refuse a missing, unknown or impossible parameter. Raises _Invalid."""
    for name in asked.keys() - _KNOWN:
        raise _Invalid(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)
    n, size = asked.get("n", 1), asked.get("size", "auto")
    valid = {
        "prompt": isinstance(asked.get("prompt"), str) and bool(asked["prompt"].strip()),
        "model": isinstance(asked.get("model"), str) and bool(asked["model"]),
        "n": type(n) is int and 1 <= n <= 10,
        "size": isinstance(size, str) and re.fullmatch(r"auto|[1-9]\d{1,4}x[1-9]\d{1,4}", size) is not None,
        "response_format": asked.get("response_format", "url") in ("url", "b64_json"),
    }
    for name, good in valid.items():
        if not good:
            raise _Invalid(400, f"Invalid value for '{name}'.", "image_generation_user_error", name)


def _error(status: int, message: str, code: str | None, param: str | None) -> Reply:
    """An error in OpenAI's envelope."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Reply(status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode())

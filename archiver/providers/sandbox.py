"""The kind `sandbox`: a provider inside archiver, without account, network or money.

It answers as a real one does (OpenAI Images JSON, temporary URLs that die, tasks if wished), and its pictures are real
PNGs, so that the whole way of an image can be walked and tested on one machine. What it hands out is decided by prompt,
size and position alone. It refuses to imitate the faults of a wire: those belong to the doubles of the tests.
"""

import hashlib
import json
import re
import threading
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from archiver.core.errors import Permanent, Transient, Unusable
from archiver.core.model import Accepted, Answer, Ask, Completed, Promise
from archiver.core.news import Remark
from archiver.core.ports import AnswerSink, Outside
from archiver.core.pricing import micro_usd
from archiver.providers import answers, checking
from archiver.providers.sandbox_server import Picture, SandboxServer
from archiver.settings import Duration, Section

_MOST = 10  # images of one request, as in the OpenAI API
_LARGEST = 4096  # pixels on one side
_NAMED_SIZES = {None: 512, "AUTO": 512, "1K": 1024, "2K": 2048, "4K": 4096}
_HANDLE = re.compile(r"sandbox-([0-9]{1,15})-([0-9a-f]{32})-([0-9]{1,2})-([0-9]{1,4}x[0-9]{1,4})")


class Settings(Section):
    """One sandbox.

    `latency` is how long a generation takes, `lifetime` how long its URLs live, `fault_rate` the share of requests for
    an image that are answered 503. With `tasks = true` a request is only accepted, and is done after `latency`.
    """

    model: str = Field(default="sandbox-1", min_length=1)
    latency: Annotated[Duration, Field(ge=timedelta(0))] = timedelta(0)
    lifetime: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(hours=1)
    fault_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    tasks: bool = False
    response_format: Literal["url", "b64_json"] = "url"
    concurrency: int = Field(default=16, ge=1)
    price_usd: Decimal | None = Field(default=None, ge=0)


def connect(name: str, settings: Settings, outside: Outside) -> "Sandbox":
    """The sandbox `name`. Does no I/O: the server starts when the first URL is needed, or with `serve`."""
    return Sandbox(name, settings, outside)


@dataclass(frozen=True, slots=True)
class _Work:
    """One request, as a handle carries it. `done_at` is in epoch milliseconds."""

    done_at: int
    prompt_hash: str
    n: int
    width: int
    height: int

    @property
    def handle(self) -> str:
        return f"sandbox-{self.done_at}-{self.prompt_hash}-{self.n}-{self.width}x{self.height}"

    @property
    def pictures(self) -> list[Picture]:
        return [Picture(self.prompt_hash, index, self.width, self.height) for index in range(self.n)]


class Sandbox:
    """See `Provider`. `address`, `serve` and `close` are for wiring, beyond the port."""

    def __init__(self, name: str, settings: Settings, outside: Outside) -> None:
        self.name = name
        self.model = settings.model
        self.concurrency = settings.concurrency
        price = None if settings.price_usd is None else micro_usd(settings.price_usd)
        self.promise = Promise(
            lifetime=settings.lifetime, price_micro=price, inline=settings.response_format == "b64_json"
        )
        self._settings = settings
        self._now = outside.now
        self._server = SandboxServer(outside.state_dir, f"sandbox-{name}", outside.now, settings.fault_rate)
        self._closed = threading.Event()

    def address(self) -> tuple[str, int]:
        """Host and port of the image URLs, which the address guard must let through, and nothing else of loopback.

        Starts no server. Raises Unusable when the state folder cannot be used.
        """
        try:
            return self._server.address()
        except OSError as error:
            raise Unusable(f"{self.name}: no address for the sandbox's images: {error.strerror}") from None

    def serve(self) -> None:
        """Return when this process or another one of the same data folder serves the images. Raises Unusable."""
        try:
            self._server.serve()
        except OSError as error:
            raise Unusable(f"{self.name}: the sandbox cannot serve its images: {error.strerror}") from None

    def close(self) -> None:
        """Stop serving, and end the waiting of open requests."""
        self._closed.set()
        self._server.close()

    def check(self, ask: Ask) -> tuple[Remark, ...]:
        """See `Provider.check`."""
        return checking.unbuildable(lambda: _work(ask, self._now()))

    def submit(self, ask: Ask, sink: AnswerSink) -> None:
        """See `Provider.submit`. Raises Permanent for a size or a number of images that it does not draw."""
        work = _work(ask, self._now() + self._settings.latency)
        if self._settings.tasks:
            _write(sink, _task(work, "processing"))
            return
        if self._closed.wait(self._settings.latency.total_seconds()):
            raise Transient(f"{self.name} was closed")
        _write(sink, self._result(work))

    def poll(self, handle: str, sink: AnswerSink) -> None:
        """See `Provider.poll`. A handle says all of its work, so that any process can complete it."""
        work = _work_of(handle)
        if work is None:
            raise Permanent(f"{self.name} knows no such task")
        if self._now() < datetime.fromtimestamp(work.done_at / 1000, tz=self._now().tzinfo):
            _write(sink, _task(work, "processing"))
        else:
            _write(sink, {**_task(work, "completed"), "result": self._result(work)})

    def read(self, answer: Answer) -> Completed | Accepted:
        """See `Provider.read`."""
        document = answers.parse(answer.body)
        task = answers.task_id(document)
        return Accepted(handle=task) if task is not None else answers.images(document)

    def _result(self, work: _Work) -> dict[str, object]:
        now = self._now()
        if self._settings.response_format == "b64_json":
            data = [{"b64_json": b64encode(picture.draw()).decode()} for picture in work.pictures]
        else:
            try:
                self._server.serve()
            except OSError as error:
                raise Transient(f"{self.name} cannot serve its images: {error.strerror}") from None
            expires = int((now + self._settings.lifetime).timestamp())
            data = [{"url": self._server.url(picture, expires)} for picture in work.pictures]
        return {"created": int(now.timestamp()), "data": data}


def _work(ask: Ask, done_at: datetime) -> _Work:
    """Raises Permanent when the sandbox does not draw what is asked for."""
    size = ask.size.strip().upper() if ask.size else None
    sides = re.fullmatch(r"([0-9]{1,4})X([0-9]{1,4})", size or "")
    width, height = (int(sides[1]), int(sides[2])) if sides else (_NAMED_SIZES.get(size, 0),) * 2
    if not (1 <= width <= _LARGEST and 1 <= height <= _LARGEST):
        raise Permanent(f'size must be "WIDTHxHEIGHT" up to {_LARGEST}, or 1K, 2K, 4K')
    if not 1 <= ask.n <= _MOST:
        raise Permanent(f"n must be 1 to {_MOST}")
    prompt_hash = hashlib.sha256(ask.prompt.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return _Work(int(done_at.timestamp() * 1000), prompt_hash, ask.n, width, height)


def _work_of(handle: str) -> _Work | None:
    """The work that `_Work.handle` named; None when no sandbox made this handle."""
    parts = _HANDLE.fullmatch(handle)
    if parts is None:
        return None
    width, height = (int(side) for side in parts[4].split("x"))
    work = _Work(int(parts[1]), parts[2], int(parts[3]), width, height)
    return work if 1 <= work.n <= _MOST and min(width, height) >= 1 and max(width, height) <= _LARGEST else None


def _task(work: _Work, status: str) -> dict[str, object]:
    return {"task_id": work.handle, "status": status}


def _write(sink: AnswerSink, document: dict[str, object]) -> None:
    sink.begin(200, "application/json")
    sink.write(json.dumps(document).encode("ascii"))

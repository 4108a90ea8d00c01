"""An outside in memory and in virtual time: providers, image hosts and stores that satisfy the ports and fail on order.

They are adapters, nothing more: they know no catalogue and no pipeline. Every one of their steps passes by `Fate`,
which may let the process that called them die there. The ledger of charges, the links that were given out and the
objects that are held are the truth by which a run is judged.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from archiver.core.errors import Ambiguous, Corrupt, Gone, KeyTaken, Permanent, Throttled, Transient
from archiver.core.model import Accepted, Answer, Ask, Completed, ObjectHead, Promise, Receipt
from archiver.core.news import Remark
from archiver.core.ports import AnswerSink, Body
from archiver.core.tempurl import TemporaryURL
from archiver.providers import answers
from archiver.transport import Body as HeldBody
from archiver.transport import FetchedBody
from tests.data.images import png

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
TASKS_ARE_REMEMBERED = timedelta(hours=24)
SOURCE_FAULTS = ("down", "throttled", "gone", "cut", "page")
STORE_FAULTS = ("down", "reply lost", "denied", "throttled", "other digest", "no records", "buggy")
REPLIES = (
    *("ok", "inline", "mixed", "fewer", "twice", "task"),
    *("throttled", "never left", "denied", "error", "error but made", "cut", "page", "no image"),
)


class DiedError(BaseException):
    """The process ends here, as by SIGKILL: no handler of it may run."""


@dataclass
class Fate:
    """How many more steps the process that acts now may take; None: it lives."""

    left: int | None = None

    def step(self) -> None:
        """Take one step, or die."""
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.left = None
                raise DiedError


@dataclass
class VirtualTime:
    """`true` is when it is; calling the object is reading the machine's clock, which may be wrong by `skew`."""

    true: datetime = START
    skew: timedelta = timedelta(0)
    was_wrong: bool = False

    def __call__(self) -> datetime:
        return self.true + self.skew

    def pass_by(self, amount: timedelta) -> None:
        """Time goes on."""
        self.true += amount

    def jump(self, amount: timedelta) -> None:
        """Somebody sets the clock."""
        self.skew += amount
        self.was_wrong = True


def picture(name: str) -> bytes:
    """The bytes of one image: a whole small PNG that differs from every other."""
    return png(body=name.encode() * 3)


@dataclass
class VirtualSource:
    """Image hosts. A link dies at its own true time; `mode` is a fault of SOURCE_FAULTS or empty."""

    time: VirtualTime
    fate: Fate
    mode: str = ""
    links: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    answers: dict[str, list[str]] = field(default_factory=dict)
    refused_alive: set[str] = field(default_factory=set)

    def issue(self, name: str, lifetime: timedelta, *, signed: bool) -> str:
        """A link to `name`. A signed one states its expiry, to the second."""
        dies = self.time.true + lifetime
        if not signed:
            text = f"https://cdn.example/{name}.png"
        else:
            dies = dies.replace(microsecond=0)
            text = (
                f"https://made.example/{name}.png?OSSAccessKeyId=k&Expires={int(dies.timestamp())}"
                f"&Signature=secret{len(self.links)}"
            )
        self.links[text] = (name, dies)
        return text

    def is_dead(self, links: Iterable[str]) -> bool:
        """Whether nobody can have the bytes behind these links from here any more."""
        return all(self.links[text][0] in self.deleted or self.links[text][1] <= self.time.true for text in links)

    def fetch(self, url: TemporaryURL) -> FetchedBody:
        """What wiring hands to a transfer."""
        self.fate.step()
        name, dies = self.links[url.reveal()]
        refuses = name in self.deleted or dies <= self.time.true
        word = self.mode or ("gone" if refuses else "served")
        self.answers.setdefault(name, []).append(word)
        if word in ("gone", "page") and not refuses:
            self.refused_alive.add(name)
        if word == "down":
            raise Transient("made.example: no connection")
        if word == "throttled":
            raise Throttled("made.example: 429", 20.0)
        if word == "gone":
            raise Gone("made.example: 403")
        whole = picture(name)
        data = {"cut": whole[:-7], "page": b"<html><body>AccessDenied</body></html>"}.get(word, whole)
        self.fate.step()
        return FetchedBody(body=HeldBody.of(data), headers={})


@dataclass
class VirtualStore:
    """A bucket that keeps what it was given for ever and never overwrites; `mode` is a fault of STORE_FAULTS or
    empty."""

    name: str
    fate: Fate
    mode: str = ""
    prefix: str = "archive/"
    objects: dict[str, bytes] = field(default_factory=dict)
    puts: int = 0

    def put_new(self, key: str, body: Body, content_type: str, metadata: Mapping[str, str]) -> Receipt:
        """See `core.ports.Store`."""
        self.fate.step()
        self.puts += 1
        is_record = "_lineage/" in key
        if self.mode == "down" or (self.mode == "no records" and is_record):
            raise Transient(f"{self.name}: no connection")
        if self.mode == "denied":
            raise Permanent(f"{self.name}: AccessDenied")
        if self.mode == "throttled":
            raise Throttled(f"{self.name}: SlowDown", 30.0)
        if self.mode == "other digest":
            raise Corrupt(f"{self.name}: the store confirmed another digest")
        if self.mode == "buggy" and not is_record:
            raise ZeroDivisionError
        with body.open() as source:
            data = source.read()
        if self.objects.setdefault(key, data) != data:
            raise KeyTaken(f"{self.name}: {key} holds other bytes")
        self.fate.step()
        if self.mode == "reply lost":
            raise Transient(f"{self.name}: the reply was lost")
        return Receipt(store=self.name, key=key, sha256=body.sha256, size=body.size, etag=None, proof="checksum-sha256")

    def head(self, key: str) -> ObjectHead | None:
        """See `core.ports.Store`."""
        return ObjectHead(key=key, size=len(self.objects[key])) if key in self.objects else None

    def open(self, key: str) -> Iterator[bytes]:
        """See `core.ports.Store`."""
        if key not in self.objects:
            raise Gone(f"{self.name}: no such object")
        yield self.objects[key]

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """See `core.ports.Store`."""
        yield from (ObjectHead(key=key, size=len(data)) for key, data in self.objects.items() if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """See `core.ports.Store`."""
        raise AssertionError("nothing but prune and forget may delete")

    def presign(self, key: str, lifetime: timedelta) -> str:
        """See `core.ports.Store`."""
        raise AssertionError("nobody asked for an address")


@dataclass
class VirtualProvider:
    """Makes images for money. `reply` names what the next request meets: one of REPLIES.

    `charges` is the ledger; `made` are the images of every paid request, also of those whose answer never arrived;
    `whole` are the answers that were sent to the end, by generation.
    """

    name: str
    source: VirtualSource
    lifetime: timedelta
    signed: bool
    promise: Promise
    reply: str = "ok"
    model: str = "m"
    concurrency: int = 2
    charges: list[str] = field(default_factory=list)
    made: dict[str, list[str]] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    whole: dict[str, bytes] = field(default_factory=dict)
    tasks: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def check(self, ask: Ask) -> tuple[Remark, ...]:
        """See `core.ports.Provider`. It minds nothing."""
        return ()

    def submit(self, ask: Ask, sink: AnswerSink) -> None:
        """See `core.ports.Provider`."""
        self.source.fate.step()
        reply, self.reply = self.reply, "ok"
        if reply == "throttled":
            raise Throttled("429", 15.0)
        if reply == "never left":
            raise Transient("connection refused")
        if reply == "denied":
            raise Permanent("400 bad request")
        if reply == "error":
            raise Ambiguous("502")
        self._charge(ask, reply)
        self.source.fate.step()
        if reply == "error but made":
            raise Ambiguous("504")
        if reply == "task":
            handle = f"task-{ask.generation_id}"
            self.tasks[handle] = (ask.generation_id, self.source.time.true + timedelta(minutes=2))
            self._send(sink, json.dumps({"task_id": handle}).encode(), None)
        elif reply == "page":
            self._send(sink, b"<html>busy</html>", None)
        elif reply == "no image":
            self._send(sink, b'{"data": []}', None)
        elif reply == "cut":
            self._send(sink, self.bodies[ask.generation_id][:-9], None)
            raise Ambiguous("the answer was cut")
        else:
            self._send(sink, self.bodies[ask.generation_id], ask.generation_id)

    def poll(self, handle: str, sink: AnswerSink) -> None:
        """See `core.ports.Provider`. What is finished is remembered for a day."""
        self.source.fate.step()
        if self.source.mode == "down":
            raise Transient("no connection")
        generation_id, ready = self.tasks[handle]
        if self.source.time.true >= ready + TASKS_ARE_REMEMBERED:
            raise Permanent("404: no such task")
        is_ready = self.source.time.true >= ready
        body = self.bodies[generation_id] if is_ready else json.dumps({"task_id": handle}).encode()
        self._send(sink, body, generation_id if is_ready else None)

    def read(self, answer: Answer) -> Completed | Accepted:
        """See `core.ports.Provider`."""
        self.source.fate.step()
        document = answers.parse(answer.body)
        handle = answers.task_id(document)
        return Accepted(handle=handle) if handle else answers.images(document)

    def _charge(self, ask: Ask, reply: str) -> None:
        self.charges.append(ask.generation_id)
        count = 0 if reply == "no image" else 1 if reply in ("fewer", "twice") else ask.n
        names = [f"{ask.generation_id}-{index}" for index in range(count)] * (2 if reply == "twice" else 1)
        self.made[ask.generation_id] = names
        self.bodies[ask.generation_id] = json.dumps(
            {"data": [self._item(name, index, reply) for index, name in enumerate(names)]}
        ).encode()

    def _item(self, name: str, index: int, reply: str) -> dict[str, str]:
        if reply == "inline" or (reply == "mixed" and index % 2):
            return {"b64_json": base64.b64encode(picture(name)).decode()}
        return {"url": self.source.issue(name, self.lifetime, signed=self.signed)}

    def _send(self, sink: AnswerSink, body: bytes, generation_id: str | None) -> None:
        sink.begin(200, "application/json")
        half = len(body) // 2
        for piece in (body[:half], body[half:]):
            self.source.fate.step()
            sink.write(piece)
        if generation_id is not None:
            self.whole[generation_id] = body
        self.source.fate.step()


def named_in(source: str) -> str:
    """The name of the image that a link, redacted or not, leads to."""
    found = re.search(r"/([a-z0-9-]+)\.png", source)
    assert found is not None, source
    return found[1]

"""The two ports of archiver, `Provider` and `Store`, and what an adapter is given to build itself.

The prose here is the contract; `tests/contracts/` runs it against every adapter and every server that can be run.
An adapter is one module with a `Settings` class (a pydantic model that forbids unknown keys), a
`connect(name, settings, outside)` function, and one entry point in the group `archiver.providers` or `archiver.stores`
(for a store, the entry point's name is the scheme of its URL). Adapters raise the words of `errors`; no other
exception leaves them. Nothing here does any work.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from archiver.core.batching import BatchLine, BatchState
from archiver.core.bucket_rules import BucketRule
from archiver.core.model import (
    Accepted,
    Answer,
    Ask,
    Completed,
    HttpReply,
    Network,
    ObjectHead,
    Promise,
    Receipt,
    SecretReference,
)
from archiver.core.news import KeyNews, Remark


class AnswerSink(Protocol):
    """Where a provider's raw answer goes while it arrives. What was written is on disk before it is read."""

    def begin(self, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        """Open the answer. Called once, when the reply's header has arrived. Of `headers`, the ones in
        `kept_headers.KEPT_HEADERS` stay with the answer."""

    def write(self, piece: bytes) -> None:
        """Append the next bytes of the body, exactly as received."""


class Provider(Protocol):
    """Somebody who makes images for money.

    An instance is used by many threads at once. `submit` may be called once per ask and never retries by itself: a
    repeated request is a second charge.
    """

    @property
    def name(self) -> str:
        """The name in the configuration, for example `apiyi`."""

    @property
    def model(self) -> str:
        """The model that is asked for, as the provider spells it."""

    @property
    def concurrency(self) -> int:
        """How many requests may be open at once."""

    @property
    def promise(self) -> Promise:
        """Lifetime and price when the URL itself and the answer are silent."""

    def check(self, ask: Ask) -> tuple[Remark, ...]:
        """What is wrong or odd with a request, before it is paid for. Pure, and shown to people; `submit` raises
        `Permanent` for an error. The bytes of inputs may be missing: only how many there are counts."""

    def submit(self, ask: Ask, sink: AnswerSink) -> None:
        """Ask once, and stream the raw answer into `sink`. Returns when the whole answer has been written.

        Raises `Transient` only when the request provably never left this machine, `Throttled` when the provider refused
        without charge, `Permanent` when it refused for good without charge, and `Ambiguous` in every case of doubt:
        a read timeout, a connection cut after sending, an error that may have been charged.
        """

    def poll(self, handle: str, sink: AnswerSink) -> None:
        """Ask how accepted work stands. Free, repeatable; raises `Transient`, `Throttled`, or `Permanent` (unknown
        handle)."""

    def read(self, answer: Answer) -> Completed | Accepted:
        """Understand an answer. Pure: the same bytes give the same result, now, in a webhook or after a crash.

        Raises `Corrupt` when the bytes are no complete answer of this provider (a web page, cut off, empty), and
        `Permanent` when it is a complete answer that says: no image.
        """


@runtime_checkable
class Notified(Protocol):
    """A provider that tells by webhook when work is done. Optional: beside polling, never in its place."""

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """The handle that a webhook names, None when it is not genuine or names none. `body` is exactly as received.

        Where the provider signs, an unsigned one is not genuine; where it does not, anybody could have sent it. So it
        is a hint to poll, and nothing else in it is believed. Touches no network.
        """


@runtime_checkable
class BatchProvider(Provider, Protocol):
    """A provider that takes many requests as one file, and gives their answers back as files, in its own time.

    `submit` and `poll` of such a one raise `Permanent`; `read` understands one line of an output, as it came. Batches
    have a name of ours, so that one whose creation was not answered can be found; lines have the generation's id.
    """

    @property
    def gather(self) -> timedelta:
        """How long to wait for more after the newest request that is planned."""

    @property
    def most_bytes(self) -> int:
        """The largest file of requests that is taken."""

    def most_at_once(self, size: str | None) -> int:
        """How many requests with images of this size one batch may hold."""

    def line(self, ask: Ask) -> bytes:
        """One request as a line of the file, its end included. Raises `Permanent` when it cannot be said. Pure."""

    def upload(self, batch_id: str, lines: bytes) -> str:
        """Hand the file over, and return what it is called there. Free: whatever it raises, nothing was bought."""

    def create(self, batch_id: str, uploaded: str) -> str:
        """Order the batch, once, and return its handle. Raises as `Provider.submit` does: this is what is paid for."""

    def find(self, batch_id: str) -> str | None:
        """The handle of the batch of this name, None when it is not among those that the provider lists. Free."""

    def look(self, handle: str) -> BatchState:
        """Ask how a batch stands. Free, repeatable; raises as `Provider.poll` does."""

    def fetch(self, file: str, write: Callable[[bytes], None]) -> None:
        """Stream one file of output into `write`. Free, repeatable; raises as `Provider.poll` does."""

    def tell(self, line: bytes) -> BatchLine:
        """Whose a line of output is. Pure. Raises `Corrupt` when it does not say."""


class Body(Protocol):
    """Bytes on their way into a store, held once: in memory, or in a temporary file when they are many."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def sha256(self) -> str:
        """Lower-case hexadecimal digest."""

    @property
    def crc64(self) -> int:
        """CRC-64/XZ, as Aliyun OSS computes it."""

    def md5(self) -> str:
        """Lower-case hexadecimal digest, computed at the first call: it costs more than sha256 and is rarely needed."""

    def open(self) -> AbstractContextManager[BinaryIO]:
        """The bytes from the start, for one reader at a time."""


class Store(Protocol):
    """A permanent home for images.

    Keys are full names, the configured prefix included, in printable ASCII as archiver makes them; an adapter must
    nevertheless carry any key of up to 1,000 bytes of UTF-8 without NUL. An instance is used by many threads at once.
    `put_new`, `head` and `open` are all that archiving needs; a server without listing, metadata, checksums or
    conditional writes can still be stored to.
    """

    @property
    def name(self) -> str:
        """The name in the configuration, for example `main`."""

    @property
    def prefix(self) -> str:
        """What every key of ours starts with: empty, or without a leading and with a trailing slash."""

    def put_new(self, key: str, body: Body, content_type: str, metadata: Mapping[str, str]) -> Receipt:
        """Store `body` under `key`, never over other bytes, and prove it.

        Returns only when the store confirmed the digest that we computed, or when the object was read back and hashed.
        A key that already holds equal bytes is success. Raises `KeyTaken` when it holds other bytes, `Throttled`,
        `Transient` (including a reply that was lost: asking again is safe), `Permanent` when nothing but a person can
        help (denied, no such bucket), `Corrupt` when the store confirmed another digest.
        `metadata` is ASCII, names in `[a-z0-9-]`; a store that cannot keep it drops it.
        """

    def head(self, key: str) -> ObjectHead | None:
        """What the store says of `key`; None when it says that there is no such object. None is no proof of absence:
        without list permission, S3 denies what does not exist (`Permanent`)."""

    def open(self, key: str) -> Iterator[bytes]:
        """The object's bytes in pieces. Raises `Gone` when there is no such object."""

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """All objects whose key starts with `prefix`, in any order."""

    def delete(self, key: str) -> None:
        """Remove one object. Only `prune`, `forget` and tests may call it; a missing object is no error."""

    def presign(self, key: str, lifetime: timedelta) -> str:
        """An address that shows the object for `lifetime`. It is a secret, and is never written down."""


@runtime_checkable
class Littered(Protocol):
    """A store in which whoever is killed while putting leaves an unfinished file. Optional: a bucket has none."""

    def unfinished(self, before: datetime) -> Iterator[tuple[str, int, datetime]]:
        """Files that never got their names and were last written before `before`: what each is called there, its size
        in bytes, and when that was."""

    def sweep(self, name: str) -> None:
        """Remove one that `unfinished` named, and nothing else; one that is gone is no error."""


@runtime_checkable
class Ruled(Protocol):
    """A store that can tell by which rules its bucket acts on objects by itself. Optional: a folder has none."""

    def rules(self) -> tuple[BucketRule, ...]:
        """The rules that are switched on and may touch what lies below the store's prefix. Raises `Permanent` when the
        credentials may not see them or the server does not know of any such thing: then nothing is known."""


class Engine(Protocol):
    """The part of the data plane that stores use to send a request that they signed."""

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
        sink: Callable[[bytes], None] | None = None,
        total_s: float = 600.0,
    ) -> HttpReply:
        """Send one request, exactly as given and once, and return the reply, whatever its status.

        The URL's path is sent as it is. Redirects are not followed. Raises `Transient` on every network fault: whether
        the other side acted is not known. `sink` receives the body of a 2xx reply in pieces; without it the body is
        kept, up to 1 MiB.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What wiring hands to an adapter: the only way to secrets, time, network and disk.

    `secret` resolves a reference when it is needed and raises `ConfigurationError` when it cannot. `elapsed` counts
    seconds on a clock that nobody sets. `state_dir` is a private folder that the adapter may use (made on demand).
    `key_news` takes word of every key that was refused or taken, and raises nothing.
    """

    secret: Callable[[SecretReference], str]
    now: Callable[[], datetime]
    elapsed: Callable[[], float]
    network: Network
    engine: Engine
    state_dir: Path
    key_news: Callable[[KeyNews], None] = lambda _: None

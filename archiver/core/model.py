"""The nouns that cross rooms, as frozen values.

They say what a thing is made of and nothing else: no behaviour beyond what follows from their own fields, no database
row, no wire format. A noun that only one room knows lives in that room.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Union

from archiver.core.kept_headers import request_id_of
from archiver.core.tempurl import TemporaryURL

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is kept: `env:NAME` or `file:PATH`. Never the secret itself, so it may be printed."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How this machine reaches the outside: an explicit proxy URL and a CA bundle (None: none, the default one)."""

    proxy: str | None = field(default=None, repr=False)  # it may hold a password
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One prompt of a job, with what it wants otherwise than the job does (None and empty: the same). `inputs` name
    files, or archived images as `image:ID`."""

    prompt: str
    size: str | None = None
    n: int | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An image that goes into a request: its bytes, which have the digest that was planned."""

    sha256: str
    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An earlier exchange that a request goes on from: what was asked, and what came back."""

    prompt: str
    reply: str = ""
    inputs: tuple[Input, ...] = ()
    images: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a provider is asked for: one paid request for `n` images of one prompt.

    `parameters` are the provider's own words for everything else (quality, aspect ratio, temperature); the adapter
    knows which there are. `inputs` are images to edit or to follow, in the order in which a prompt counts them. `turns`
    is the dialogue so far, oldest first.
    """

    generation_id: str
    prompt: str
    model: str
    size: str | None = None
    n: int = 1
    parameters: Mapping[str, Json] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A provider's answer as it arrived: everything that `Provider.read` needs, also after a crash. `headers` has lower
    case names, those in `kept_headers.KEPT_HEADERS` only."""

    status: int
    content_type: str
    body: bytes
    received_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def request_id(self) -> str | None:
        """What the provider calls the request in its headers, None when it does not say."""
        return request_id_of(self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One image of an answer: a temporary URL, or the bytes themselves. Exactly one of the two is set. A `draft` is one
    that the provider made on its way to the `final` one, and charged for."""

    index: int
    url: TemporaryURL | None = None
    data: bytes | None = field(default=None, repr=False)
    revised_prompt: str | None = None
    role: Literal["final", "draft"] = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The provider is done: these are all outputs it gave, possibly fewer than asked for.

    `reply` is what it said in words. `facts` is the rest of its answer (usage, model, finish reasons, whatever nobody
    here knows), without images and URLs.
    """

    outputs: tuple[Output, ...]
    request_id: str | None = None
    reply: str | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The provider took the work and will have the result later, under `handle`."""

    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One reason to believe that a URL dies at `at`.

    `source` is `url`, `header`, `host`, `provider` or `default`. A `lower_bound` may make us hurry but never makes an
    image lost: the true death is later.
    """

    source: Literal["url", "header", "host", "provider", "default"]
    at: datetime
    detail: str = ""
    lower_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """What the bytes themselves say. `extension` has no dot; `bin` means complete bytes of no known format."""

    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    verdict: str = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHead:
    """What a store says of one object. None means that the store does not say."""

    key: str
    size: int
    etag: str | None = None
    sha256: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof of a stored copy. `proof` names how the digest was confirmed.

    `checksum-sha256` (the store computed ours), `crc64`, `etag-md5`, or `read-back` (read again and hashed).
    """

    store: str
    key: str
    sha256: str
    size: int
    etag: str | None
    proof: Literal["checksum-sha256", "crc64", "etag-md5", "read-back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one stage of a transfer did not succeed: an error word and a redacted message.

    `store` is the store that failed, to take the bytes or to give them back; None when it was the source or the spool.
    `retry_after` is in seconds.
    """

    stage: Literal["fetch", "put", "lineage"]
    word: str
    message: str
    store: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One copy that is still wanted: the store's name, and the key when an earlier attempt already chose it."""

    store: str
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One confirmed copy: where the bytes can be had again when spool and source have failed."""

    store: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One claimed image and the stores that still want it: all that is needed to copy it, nothing of the catalogue.

    `claim` fences the worker: a write that names an older claim changes nothing. `job` is the job's name, or `generate`
    or `backfill`; `created_at` is when the generation was planned. Either `url` or `spooled` (a file name in the spool)
    says where the bytes are; both may be set, and `copies` are where they lie already. `wants` is empty when only the
    lineage record is missing.
    """

    image_id: str
    claim: int
    owner: str
    job: str
    created_at: datetime
    deadline: datetime
    attempts: int
    wants: tuple[Want, ...]
    copies: tuple[Copy, ...] = ()
    url: TemporaryURL | None = None
    spooled: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What one fetch found: the digest and shape of verified bytes, and when they had all arrived."""

    sha256: str
    size: int
    info: ImageInfo
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one transfer: everything the catalogue must hear of, and nothing else.

    `fetched` is None when no verified bytes were had. `spooled` is set when the bytes were brought into the spool.
    `evidence` is what the source said of the image's end, in whatever reply. An outcome with a receipt per want means
    that the image is safe, whatever failed on the way to its bytes.
    """

    ticket: Ticket
    fetched: Fetched | None
    receipts: tuple[Receipt, ...] = ()
    failures: tuple[Failure, ...] = ()
    spooled: str | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """An HTTP reply of a store. Header names are lower case; `body` is at most 1 MiB when no sink took it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a provider promises of its URLs: how long they live, and a price per image in micro-USD (None: unknown).
    `inline`: its answers hold the images themselves, and need room on the disk. `renews`: it tells the result of
    finished work again, perhaps with a fresh URL. `poll_interval`: how often it is asked for accepted work, after the
    first time."""

    lifetime: timedelta | None = None
    price_micro: int | None = None
    inline: bool = False
    renews: bool = False
    poll_interval: timedelta = timedelta(seconds=5)

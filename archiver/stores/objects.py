"""What S3 and OSS have in common: an object is put once, never over another, and its digest is proved.

Every byte travels through the engine; the subclass signs. Nothing is retried here, except that a server which does not
know a header of ours is asked again without it. An object is never listed, deleted or presigned by this file, and never
called stored because the server merely said 200.
"""

import hashlib
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from archiver.core.errors import Corrupt, Gone, KeyTaken, Transient
from archiver.core.model import HttpReply, ObjectHead, Receipt
from archiver.core.ports import Body, Outside
from archiver.settings import Reference, Section
from archiver.stores import keys
from archiver.stores.replies import Hints, fault
from archiver.transport.guard import literal_address
from archiver.transport.reply import error_code

_TOTAL_SECONDS = 300.0
_IN_MEMORY = 8 * 1024 * 1024
_PIECE = 256 * 1024
_OURS = re.compile(r"(authorization|host|content-length|content-type|x-amz-(date|content-.*|security-.*|checksum-.*)|"
                   r"x-oss-(date|security-.*|forbid-overwrite)|if-.*|expect|x-(amz|oss)-meta-.*)")  # fmt: skip

_ABOUT_BYTES = frozenset(("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"))

Proof = Literal["checksum-sha256", "crc64", "etag-md5", "read-back"]


def _sendable(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]+", value):
            raise ValueError(f"{name!r} and its value must be printable ASCII")
        if _OURS.fullmatch(name.lower()):
            raise ValueError(f"{name!r} is set by archiver itself")
    return {name.lower(): value for name, value in headers.items()}


class ObjectSettings(Section):
    """Settings that S3 and OSS share. `headers` go with every put and are signed: storage class, encryption."""

    url: str
    endpoint: str | None = None
    region: str | None = None
    access_key_id: Reference | None = None
    access_key_secret: Reference | None = None
    session_token: Reference | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    headers: Annotated[dict[str, str], AfterValidator(_sendable)] = Field(default_factory=dict)
    public_base_url: str | None = None

    @model_validator(mode="after")
    def _whole_key(self) -> "ObjectSettings":
        if (self.access_key_id is None) != (self.access_key_secret is None):
            raise ValueError("access_key_id and access_key_secret belong together: set both or none")
        return self


def bucket_and_prefix(url: str, scheme: str) -> tuple[str, str]:
    """Split `s3://bucket/prefix`. The prefix comes back empty, or with a trailing slash. Raises ValueError."""
    match = re.fullmatch(rf"{scheme}://([A-Za-z0-9][A-Za-z0-9._-]{{1,62}})(?:/+([^?#]*))?", url)
    if match is None:
        raise ValueError(f'{url!r} is no store; write "{scheme}://bucket/prefix"')
    prefix = (match[2] or "").strip("/")
    return match[1], f"{prefix}/" if prefix else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one kind of store spells what all of them do."""

    metadata: str
    """What the headers of metadata begin with."""
    optional: tuple[str, ...]
    """Headers that a lesser server may not know, the one to give up first at the front."""
    exists: frozenset[tuple[int, str]]
    """(status, code) that say: this key is taken. An empty code stands for any."""
    head: Mapping[str, str]
    """What a HEAD asks for beyond the object itself."""
    hints: Hints


class ObjectStore(ABC):
    """Put, head and open of `core.ports.Store`, over signed requests."""

    dialect: Dialect

    def __init__(self, name: str, settings: ObjectSettings, outside: Outside, bucket: str, prefix: str) -> None:
        self.name = name
        self.prefix = prefix
        self._bucket_name = bucket
        self._settings = settings
        self._outside = outside
        self._given_up: frozenset[str] = frozenset()  # headers that this server turned out not to know

    @abstractmethod
    def _sign(self, method: str, key: str, headers: Mapping[str, str], body: Body | None) -> tuple[str, dict[str, str]]:
        """The URL and the headers to send. Raises `Permanent` without usable credentials."""

    @abstractmethod
    def _condition(self, body: Body) -> dict[str, str]:
        """The optional headers of a put: never overwrite, and the digest if the server may check it."""

    @abstractmethod
    def _confirmed(self, headers: Mapping[str, str], body: Body) -> Proof | None:
        """How the reply to a put proves our digest; None when it does not. Raises `Corrupt` when it proves another."""

    def put_new(self, key: str, body: Body, content_type: str, metadata: Mapping[str, str]) -> Receipt:
        """See `core.ports.Store.put_new`."""
        reply = self._put(key, body, content_type, metadata)
        if self._is_taken(reply):
            return self._compare(key, body)
        if not 200 <= reply.status < 300:
            raise self._fault("put", reply)
        proof = self._confirmed(reply.headers, body)
        if proof is None:
            self._read_back(key, body)
        return self._receipt(key, body, reply.headers, proof or "read-back")

    def head(self, key: str) -> ObjectHead | None:
        """See `core.ports.Store.head`."""
        reply = self._send("HEAD", key, self.dialect.head)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self._fault("head", reply)
        length = reply.headers.get("content-length", "")
        if not length.isdecimal():
            raise Transient(f"{self.name}: head was answered without a length")
        return ObjectHead(
            key=key,
            size=int(length),
            etag=_etag(reply.headers),
            sha256=self._stated_sha256(reply.headers),
            content_type=reply.headers.get("content-type"),
        )

    def open(self, key: str) -> Iterator[bytes]:
        """See `core.ports.Store.open`. The object is whole before the first piece is handed out."""
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._outside.state_dir))  # noqa: SIM115 - closed by _pieces

        def keep(piece: bytes) -> None:
            file.write(piece)

        try:
            self._outside.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            reply = self._send("GET", key, sink=keep)
            if reply.status == 404 and error_code(reply.body) != "NoSuchBucket":
                raise Gone(f"{self.name}: there is no such object")
            if reply.status != 200:
                raise self._fault("get", reply)
        except OSError as error:
            file.close()
            raise Transient(f"{self.name}: no room below {self._outside.state_dir}: {error.strerror}") from error
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return _pieces(file)

    def _stated_sha256(self, headers: Mapping[str, str]) -> str | None:
        """What a reply to HEAD says of the sha256: without a checksum of the store's own, what we wrote beside it."""
        return headers.get(f"{self.dialect.metadata}sha256")

    def _put(self, key: str, body: Body, content_type: str, metadata: Mapping[str, str]) -> HttpReply:
        """Put once; if the server does not know an optional header, once more without it, and remember that."""
        fixed = {"content-type": content_type, **self._settings.headers}
        fixed |= {f"{self.dialect.metadata}{name}": value for name, value in metadata.items()}
        dropped = self._given_up
        while True:
            optional = {name: value for name, value in self._condition(body).items() if name not in dropped}
            reply = self._send("PUT", key, {**fixed, **optional}, body)
            unknown = self._unknown_header(reply, optional)
            if unknown is None:
                break
            dropped |= {unknown}
        if reply.status < 300:  # only what helped is worth remembering
            self._given_up = dropped
        return reply

    def _unknown_header(self, reply: HttpReply, sent: Mapping[str, str]) -> str | None:
        """The optional header that this reply complains of: named in it, or the first suspect behind a bare 501."""
        suspects = [name for name in self.dialect.optional if name in sent]
        if not suspects or reply.status not in (400, 501) or error_code(reply.body) in _ABOUT_BYTES:
            return None
        text = reply.body.lower()
        for name in suspects:
            if name.encode() in text:
                return name
        if reply.status == 501 or b"condition" in text:
            return suspects[0]
        return suspects[-1] if b"checksum" in text else None

    def _is_taken(self, reply: HttpReply) -> bool:
        exists = self.dialect.exists
        return (reply.status, "") in exists or (reply.status, error_code(reply.body)) in exists

    def _compare(self, key: str, body: Body) -> Receipt:
        """The key exists: equal bytes are success, other bytes stay as they are."""
        sha256, headers = self._hash_stored(key)
        if sha256 != body.sha256:
            raise KeyTaken(f"{self.name}: {key} already holds other bytes")
        return self._receipt(key, body, headers, "read-back")

    def _read_back(self, key: str, body: Body) -> None:
        sha256, _ = self._hash_stored(key)
        if sha256 != body.sha256:
            raise Corrupt(f"{self.name}: {key} was read back with another digest than we stored")

    def _hash_stored(self, key: str) -> tuple[str, Mapping[str, str]]:
        digest = hashlib.sha256()
        reply = self._send("GET", key, sink=digest.update)
        if reply.status == 404 and error_code(reply.body) != "NoSuchBucket":
            raise Transient(f"{self.name}: {key} cannot be read back yet")
        if reply.status != 200:
            raise self._fault("read back", reply)
        return digest.hexdigest(), reply.headers

    def _send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> HttpReply:
        keys.check(self.name, key)
        url, signed = self._sign(method, key, headers or {}, body)
        return self._outside.engine.send(method, url, headers=signed, body=body, sink=sink, total_s=_TOTAL_SECONDS)

    def _receipt(self, key: str, body: Body, headers: Mapping[str, str], proof: Proof) -> Receipt:
        return Receipt(store=self.name, key=key, sha256=body.sha256, size=body.size, etag=_etag(headers), proof=proof)

    def _fault(self, action: str, reply: HttpReply) -> Exception:
        return fault(f"{self.name}: {action}", reply, self.dialect.hints, now=self._outside.now())


def _etag(headers: Mapping[str, str]) -> str | None:
    return headers.get("etag", "").removeprefix("W/").strip('"') or None


def etag_is_md5_of(headers: Mapping[str, str], body: Body) -> bool:
    """Whether the ETag is the MD5 of `body`. An ETag of another kind proves nothing, not even a difference."""
    etag = (_etag(headers) or "").lower()
    return re.fullmatch(r"[0-9a-f]{32}", etag) is not None and etag == body.md5()


def is_single_host(host: str) -> bool:
    """Whether `host` cannot carry a bucket in front: an IP address, localhost, a name without a dot."""
    return literal_address(host) is not None or "." not in host.rstrip(".") or ":" in host


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece

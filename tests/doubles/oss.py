"""Aliyun OSS on loopback: a strict double of the part of its API that archiver uses.

Objects can be put, got, headed, deleted and listed, by path or by virtual host, with V1 or V4 signatures. What real
OSS would refuse is refused with its error; what this double does not know (a header, a parameter, a method) is answered
501, never accepted. It keeps everything in memory and models one private bucket of one owner.
"""

import base64
import binascii
import dataclasses
import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import fastcrc

from tests.doubles import oss_listing, oss_xml
from tests.doubles.http1 import Reply, Request, http_date
from tests.doubles.oss_signing import Denied, Keys, verify
from tests.doubles.wire import Fault, FaultScript, Seen, Wire, flipped

_V4_URL = ("signature-version", "credential", "date", "expires", "signature", "additional-headers", "security-token")
_SIGNING = {"OSSAccessKeyId", "Expires", "Signature", "security-token", *(f"x-oss-{name}" for name in _V4_URL)}
_RESPONSE = {f"response-{name}" for name in ("content-type", "content-disposition", "cache-control")}
_OSS_HEADERS = {"x-oss-date", "x-oss-security-token", "x-oss-content-sha256"}
_KEPT = ("content-type", "content-disposition", "content-encoding", "cache-control", "expires")
_REFUSED = {"range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}
_META = "x-oss-meta-"
_META_BYTES = 8 * 1024
_KEY_BYTES = 1023


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object: `headers` holds its HTTP headers (lower case), `meta` the user metadata without `x-oss-meta-`."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    meta: Mapping[str, str]
    modified: datetime

    @property
    def etag(self) -> str:
        """Upper-case MD5 in double quotes, as OSS writes it after PutObject."""
        return f'"{hashlib.md5(self.body).hexdigest().upper()}"'

    @property
    def crc64(self) -> str:
        """CRC-64/XZ as an unsigned decimal."""
        return str(fastcrc.crc64.xz(self.body))

    def proof(self) -> dict[str, str]:
        """The reply headers by which a client confirms the bytes."""
        md5 = base64.b64encode(hashlib.md5(self.body).digest()).decode()
        return {"ETag": self.etag, "x-oss-hash-crc64ecma": self.crc64, "Content-MD5": md5}


class OssDouble:
    """`endpoint`, `bucket`, `region`, `access_key`, `secret_key` and `security_token` say how to reach it.

    The attributes may be changed while it runs: rotate a key, expire a token (`token_expires`), rename the bucket.
    `now` is the server's clock. `objects` maps keys to what is stored. `lifecycle` is the document of the bucket's
    rules as it was put, None without rules; it is kept, and nothing acts by it. With `elsewhere`, the bucket is at that
    endpoint and not at this one.
    """

    def __init__(
        self,
        region: str = "cn-test",
        fault: FaultScript = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        security_token: str | None = None,
        token_expires: datetime | None = None,
    ) -> None:
        self.bucket = "oss-archive"
        self.region = region
        self.access_key = "LTAIdoubleaccesskey001"
        self.secret_key = "doublesecretkey00000000000004"
        self.security_token = security_token
        self.token_expires = token_expires
        self.objects: dict[str, StoredObject] = {}
        self.lifecycle: bytes | None = None
        self.elsewhere: str | None = None
        self._now = now
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._wire = Wire(self._answer, self._key_for_log, now, fault)
        self.endpoint = f"http://{self._wire.authority}"

    def __enter__(self) -> Self:
        self._wire.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._wire.__exit__(kind, e, trace)

    @property
    def requests(self) -> list[Seen]:
        """Every request so far, in order of arrival."""
        return self._wire.seen

    def script(self, fault: FaultScript) -> None:
        """Replace the script of faults from the next request on."""
        self._wire.script(fault)

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._wire.listener.down()

    def up(self) -> None:
        """End an outage: same port, same objects."""
        self._wire.listener.up()

    def _answer(self, request: Request, fault: Fault) -> Reply:
        with self._lock:
            request_id = f"{next(self._ids):024X}"
        try:
            if fault.status is not None:
                raise Denied(fault.status, fault.code, "scripted")
            reply = self._act(request, fault)
        except Denied as denied:
            body = oss_xml.error(denied.code, str(denied), request_id, request.headers["host"], denied.details)
            reply = Reply(denied.status, {"Content-Type": "application/xml"}, body)
        headers = {"Server": "AliyunOSS", "x-oss-request-id": request_id, "x-oss-server-time": "1", **reply.headers}
        return dataclasses.replace(reply, headers=headers)

    def _act(self, request: Request, fault: Fault) -> Reply:
        bucket, key = self._address(request)
        keys = Keys(self.access_key, self.secret_key, self.region, self.security_token, self.token_expires)
        verify(request, bucket, key, keys, self._now())
        if not bucket:
            raise Denied(501, "NotImplemented", "the double has one bucket and lists none")
        if bucket != self.bucket:
            raise Denied(404, "NoSuchBucket", "The specified bucket does not exist.", {"BucketName": bucket})
        if self.elsewhere is not None:
            message = "The bucket you are attempting to access must be addressed using the specified endpoint."
            raise Denied(403, "AccessDenied", message, {"Bucket": bucket, "Endpoint": self.elsewhere})
        if not key:
            return self._bucket(request)
        _check_key(key)
        if request.method == "PUT":
            return self._put(request, key, fault)
        if request.method == "DELETE":
            _allow(request, set())
            with self._lock:
                self.objects.pop(key, None)
            return Reply(204)
        if request.method in ("GET", "HEAD"):
            return self._get(request, key, fault)
        raise Denied(501, "NotImplemented", f"{request.method} is not implemented")

    def _address(self, request: Request) -> tuple[str, str]:
        """Bucket and key, decoded. Only IP addresses and localhost may be addressed by path, as with real OSS."""
        try:
            path = unquote(request.path[1:], errors="strict")
        except UnicodeDecodeError:
            raise Denied(400, "InvalidObjectName", "The specified object is not valid UTF-8.") from None
        host, port = request.headers["host"], self._wire.authority.partition(":")[2]
        domains = (f"localhost:{port}", f"oss-{self.region}.aliyuncs.com", f"oss-{self.region}-internal.aliyuncs.com")
        if host in (self._wire.authority, domains[0]):
            bucket, _, key = path.partition("/")
            return bucket, key
        bucket, _, domain = host.partition(".")
        if domain in domains:
            return bucket, path
        if host in domains:
            raise Denied(403, "SecondLevelDomainForbidden", "The bucket must be addressed using a third level domain.")
        raise Denied(403, "AccessDenied", "The bucket must be addressed using the specified endpoint.")

    def _key_for_log(self, request: Request) -> str:
        try:
            return self._address(request)[1]
        except Denied:
            return request.path

    def _put(self, request: Request, key: str, fault: Fault) -> Reply:
        meta = {name[len(_META) :]: value for name, value in request.headers.items() if name.startswith(_META)}
        _allow(request, set(), {"x-oss-forbid-overwrite", *(_META + name for name in meta)})
        if request.headers.get("content-encoding") == "aws-chunked":
            raise Denied(400, "NotImplemented", "aws-chunked encoding is not supported with the specified header.")
        _check_meta(meta)
        _check_md5(request)
        forbid = request.headers.get("x-oss-forbid-overwrite", "false")
        if forbid not in ("true", "false"):
            raise Denied(400, "InvalidArgument", "x-oss-forbid-overwrite must be true or false.")
        kept = {name: request.headers[name] for name in _KEPT if name in request.headers}
        body = flipped(request.body) if fault.flip else request.body
        stored = StoredObject(body, {"content-type": "application/octet-stream", **kept}, meta, self._now())
        with self._lock:
            if forbid == "true" and key in self.objects:
                message = "The object you specified already exists and can not be overwritten."
                raise Denied(409, "FileAlreadyExists", message)
            self.objects[key] = stored
        return Reply(200, stored.proof())

    def _get(self, request: Request, key: str, fault: Fault) -> Reply:
        _allow(request, _RESPONSE if request.method == "GET" else {"objectMeta"})
        with self._lock:
            stored = self.objects.get(key)
        if stored is None:
            raise Denied(404, "NoSuchKey", "The specified key does not exist.", {"Key": key})
        headers = {"Last-Modified": http_date(stored.modified), **stored.proof()}
        if "objectMeta" not in dict(request.query):
            headers |= {"x-oss-object-type": "Normal", "x-oss-storage-class": "Standard", **stored.headers}
            headers |= {_META + name: value for name, value in stored.meta.items()}
        changed = {name.removeprefix("response-"): value for name, value in request.query if name in _RESPONSE}
        return Reply(200, headers | changed, flipped(stored.body) if fault.flip else stored.body)

    def _bucket(self, request: Request) -> Reply:
        query = dict(request.query)
        if "lifecycle" in query:
            return self._rules(request)
        if request.method != "GET":
            raise Denied(501, "NotImplemented", f"{request.method} of a bucket is not implemented")
        if "bucketInfo" in query:
            _allow(request, {"bucketInfo"})
            body = oss_xml.bucket_info(self.bucket, self.region, datetime(2026, 1, 1, tzinfo=UTC))
        elif "acl" in query:
            _allow(request, {"acl"})
            body = oss_xml.bucket_acl()
        else:
            _allow(request, oss_listing.parameters(query))
            with self._lock:
                held = [oss_listing.Listed(key, len(o.body), o.etag, o.modified) for key, o in self.objects.items()]
            body = oss_listing.listing(self.bucket, query, held)
        return Reply(200, {"Content-Type": "application/xml"}, body)

    def _rules(self, request: Request) -> Reply:
        """PutBucketLifecycle and GetBucketLifecycle."""
        _allow(request, {"lifecycle"})
        if request.method == "PUT":
            _check_md5(request)
            self.lifecycle = request.body
            return Reply(200)
        if request.method != "GET":
            raise Denied(501, "NotImplemented", f"{request.method} of a lifecycle is not implemented")
        if self.lifecycle is None:
            raise Denied(404, "NoSuchLifecycle", "No Row found in Lifecycle Table.", {"BucketName": self.bucket})
        return Reply(200, {"Content-Type": "application/xml"}, self.lifecycle)


def _allow(request: Request, parameters: Set[str], headers: Set[str] = frozenset()) -> None:
    """Refuse every parameter and header that the operation does not know."""
    unknown = {name for name, _ in request.query} - _SIGNING - parameters
    unknown |= {name for name in request.headers if name.startswith("x-oss-")} - _OSS_HEADERS - headers
    unknown |= {name for name in request.headers if name in _REFUSED or name.startswith("x-amz-")}
    if unknown:
        raise Denied(501, "NotImplemented", f"the double does not understand {', '.join(sorted(unknown))}")


def _check_key(key: str) -> None:
    if len(key.encode()) > _KEY_BYTES or key[0] in "/\\":
        raise Denied(400, "InvalidObjectName", "The specified object is not valid.", {"ObjectName": key})


def _check_meta(meta: Mapping[str, str]) -> None:
    if any(not re.fullmatch("[a-z0-9-]+", name) for name in meta):
        raise Denied(400, "InvalidArgument", "Metadata names may hold a-z, 0-9 and hyphens only.")
    if sum(len(_META) + len(name) + len(value) for name, value in meta.items()) > _META_BYTES:
        raise Denied(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.")


def _check_md5(request: Request) -> None:
    text = request.headers.get("content-md5")
    if text is None:
        return
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        digest = b""
    if digest != hashlib.md5(request.body).digest():
        raise Denied(400, "InvalidDigest", "The Content-MD5 you specified was invalid.", {"Content-MD5": text})

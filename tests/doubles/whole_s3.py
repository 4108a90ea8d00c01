"""An S3 double as strict with signatures as `bare_s3`, and with what S3 itself has beside: conditional puts, checksums,
ETags, metadata, listing (version 2), deletion and the rules of the bucket.

It knows what archiver and boto3 send, by path, and answers 501 to everything else. It keeps everything in memory; rules
are kept and nothing acts by them. A public bucket lets anybody get its objects.
"""

import base64
import dataclasses
import hashlib
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from tests.doubles.bare_s3 import _SIGNING, Bare, BareS3, _split
from tests.doubles.http1 import Reply, Request, http_date
from tests.doubles.sigv4 import Denied, Keys, verify
from tests.doubles.wire import Fault, flipped

_META = "x-amz-meta-"
_SUM = "x-amz-checksum-sha256"
_REFUSED = {"range", "if-match", "if-modified-since", "x-amz-copy-source"}
_LISTING = {"list-type", "prefix", "max-keys", "continuation-token", "encoding-type", "delimiter"}


class WholeS3(BareS3):
    """`lifecycle` is the document of the bucket's rules as it was put, None without rules; `meta` holds each object's
    metadata; with `public` everybody may get. With `elsewhere`, the bucket is in that region and not here."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.lifecycle: bytes | None = None
        self.meta: dict[str, dict[str, str]] = {}
        self.public = False
        self.elsewhere: str | None = None

    def _answer(self, request: Request, fault: Fault) -> Reply:
        """S3 tells the region that it expected, and the endpoint that it redirects to."""
        reply = super()._answer(request, fault)
        if b"<Code>AuthorizationHeaderMalformed</Code>" in reply.body:
            told = f"<Region>{self.region}</Region></Error>".encode()
            return dataclasses.replace(reply, body=reply.body.replace(b"</Error>", told))
        if b"<Code>PermanentRedirect</Code>" in reply.body:
            told = f"<Endpoint>{self.bucket}.s3.{self.elsewhere}.amazonaws.com</Endpoint></Error>".encode()
            headers = {**reply.headers, "x-amz-bucket-region": str(self.elsewhere)}
            return dataclasses.replace(reply, headers=headers, body=reply.body.replace(b"</Error>", told))
        return reply

    def _act(self, request: Request, fault: Fault) -> Reply:
        bucket, key = _split(request)
        unsigned = "authorization" not in request.headers and "X-Amz-Signature" not in dict(request.query)
        if not (self.public and unsigned and key and request.method == "GET"):
            verify(request, Keys(self.access_key, self.secret_key, self.region), self._now())
        if bucket != self.bucket:
            raise Denied(404, "NoSuchBucket", "The specified bucket does not exist")
        if self.elsewhere is not None:
            raise Denied(301, "PermanentRedirect", "The bucket must be addressed using the specified endpoint.")
        if unknown := _REFUSED & request.headers.keys():
            raise Denied(501, "NotImplemented", f"{', '.join(unknown)} is not implemented")
        query = {name for name, _ in request.query} - _SIGNING
        if not key:
            return self._bucket(request, query)
        if query:
            raise Denied(501, "NotImplemented", f"{', '.join(query)} is not implemented")
        if request.method == "DELETE":
            with self._lock:
                self.objects.pop(key, None)
            return Reply(204)
        if request.method not in ("PUT", "GET", "HEAD"):
            raise Denied(501, "NotImplemented", f"{request.method} is not implemented")
        return self._put(request, key, fault) if request.method == "PUT" else self._get(request, key, fault)

    def _put(self, request: Request, key: str, fault: Fault) -> Reply:
        stated = request.headers.get(_SUM)
        if stated is not None and stated != _sum(request.body):
            raise Denied(400, "BadDigest", "The SHA256 you specified did not match what we received.")
        with self._lock:
            if request.headers.get("if-none-match") == "*" and key in self.objects:
                raise Denied(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
            body = flipped(request.body) if fault.flip else request.body
            content_type = request.headers.get("content-type", "binary/octet-stream")
            self.objects[key] = Bare(body, content_type, self._now())
            self.meta[key] = {name: value for name, value in request.headers.items() if name.startswith(_META)}
        return Reply(200, {"ETag": _etag(body), **({_SUM: _sum(body)} if stated else {})})

    def _get(self, request: Request, key: str, fault: Fault) -> Reply:
        with self._lock:
            stored = self.objects.get(key)
        if stored is None:
            raise Denied(404, "NoSuchKey", "The specified key does not exist.")
        headers = {"Content-Type": stored.content_type, "Last-Modified": http_date(stored.modified)}
        headers |= {"ETag": _etag(stored.body), **self.meta[key]}
        if request.headers.get("x-amz-checksum-mode") == "ENABLED":
            headers[_SUM] = _sum(stored.body)
        return Reply(200, headers, flipped(stored.body) if fault.flip else stored.body)

    def _bucket(self, request: Request, query: set[str]) -> Reply:
        if query == {"lifecycle"} and request.method == "PUT":
            self.lifecycle = request.body
            return Reply(200)
        if query == {"lifecycle"} and request.method == "GET":
            if self.lifecycle is None:
                raise Denied(404, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")
            return Reply(200, {"Content-Type": "application/xml"}, self.lifecycle)
        if request.method != "GET" or "list-type" not in query or query - _LISTING:
            raise Denied(501, "NotImplemented", f"{request.method} ?{'&'.join(sorted(query))} is not implemented")
        return Reply(200, {"Content-Type": "application/xml"}, self._listing(dict(request.query)))

    def _listing(self, query: dict[str, str]) -> bytes:
        """One page of ListBucketResult, in the order of UTF-8 bytes. Raises Denied for what is not understood."""
        if query["list-type"] != "2" or query.get("delimiter") or query.get("encoding-type", "url") != "url":
            raise Denied(501, "NotImplemented", "only plain listings of version 2 are known")
        limit = int(query.get("max-keys", "1000"))
        with self._lock:
            held = {key: (len(o.body), _etag(o.body), o.modified) for key, o in self.objects.items()}
        after = query.get("continuation-token", "").encode()
        keys = sorted(key for key in held if key.startswith(query.get("prefix", "")) and key.encode() > after)
        shown = keys[:limit]
        is_cut = len(keys) > len(shown)
        lines = [_contents(key, *held[key]) for key in shown]
        if is_cut:
            lines.append(f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>")
        lines.append(f"<IsTruncated>{str(is_cut).lower()}</IsTruncated><KeyCount>{len(shown)}</KeyCount>")
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return (
            f'<ListBucketResult xmlns="{space}"><Name>{self.bucket}</Name>{"".join(lines)}</ListBucketResult>'.encode()
        )


def _contents(key: str, size: int, etag: str, modified: datetime) -> str:
    when = f"{modified:%Y-%m-%dT%H:%M:%S}.000Z"
    about = f"<Key>{escape(key)}</Key><LastModified>{when}</LastModified><ETag>{escape(etag)}</ETag>"
    return f"<Contents>{about}<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


def _sum(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()

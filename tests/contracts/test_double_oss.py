"""The OSS double against the genuine oss2 SDK: what the SDK signs is let in, and one changed byte is not."""

import base64
import hashlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import oss2
import pytest
from oss2.exceptions import (
    InconsistentError,
    NoSuchBucket,
    NoSuchKey,
    NotFound,
    OssError,
    RequestError,
    ServerError,
    SignatureDoesNotMatch,
)

from tests.doubles.oss import OssDouble
from tests.doubles.wire import Fault

AWKWARD = [
    "a/b.png",
    "a b.png",
    "图/片.png",
    "a+b",
    "100%",
    "%2F",
    "a//b",
    "quote'\"",
    "x&y=z",
    "q?#;,@:$!*()~",
    "a/../b",
]
SCHEMES = ["v1", "v4", "v1-token", "v4-token"]
TOKEN = "CAISdouble+token/with=odd&bytes"


@pytest.fixture
def oss(request: pytest.FixtureRequest) -> Iterator[OssDouble]:
    """A double, with a security token when the test is parametrised with a scheme that has one."""
    scheme = request.node.callspec.params.get("scheme", "v4") if hasattr(request.node, "callspec") else "v4"
    with OssDouble(security_token=TOKEN if scheme.endswith("token") else None) as double:
        yield double


def bucket_of(oss: OssDouble, scheme: str = "v4", secret: str | None = None) -> oss2.Bucket:
    """The SDK's bucket for `oss`, signing by `scheme`."""
    secret = secret or oss.secret_key
    version = oss2.AUTH_VERSION_4 if scheme.startswith("v4") else oss2.AUTH_VERSION_1
    if oss.security_token is not None:
        auth = oss2.StsAuth(oss.access_key, secret, oss.security_token, auth_version=version)
    else:
        auth = oss2.make_auth(oss.access_key, secret, version)
    return oss2.Bucket(auth, oss.endpoint, oss.bucket, region=oss.region)


def status_of(url: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    """The status of one plain request."""
    asked = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sdk_round_trip(oss: OssDouble, scheme: str) -> None:
    """Put, get, head, list, presign and delete work with awkward keys, by both signatures, with and without a token."""
    bucket = bucket_of(oss, scheme)
    for key in AWKWARD:
        body = key.encode() * 3
        headers = {"x-oss-meta-archiver-id": "i1", "Content-Type": "image/png", "x-oss-forbid-overwrite": "true"}
        headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
        put = bucket.put_object(key, body, headers=headers)
        assert put.etag == hashlib.md5(body).hexdigest().upper()
        assert put.crc is not None and put.request_id
        assert bucket.get_object(key).read() == body
        head = bucket.head_object(key)
        assert (head.content_length, head.content_type) == (len(body), "image/png")
        assert head.headers["x-oss-meta-archiver-id"] == "i1"
        assert bucket.object_exists(key)
        with urllib.request.urlopen(bucket.sign_url("GET", key, 60, slash_safe=True), timeout=10) as reply:
            assert reply.read() == body
    assert set(oss.objects) == set(AWKWARD)
    assert [entry.key for entry in oss2.ObjectIteratorV2(bucket, max_keys=3)] == sorted(AWKWARD, key=str.encode)
    assert [entry.key for entry in oss2.ObjectIterator(bucket, max_keys=3)] == sorted(AWKWARD, key=str.encode)
    assert [entry.key for entry in oss2.ObjectIteratorV2(bucket, prefix="a ")] == ["a b.png"]
    assert {entry.key for entry in bucket.list_objects(delimiter="/", prefix="").object_list} == {
        key for key in AWKWARD if "/" not in key
    }
    assert bucket.list_objects(delimiter="/").prefix_list == ["a/", "图/"]
    for key in AWKWARD:
        assert bucket.delete_object(key).status == 204
    assert oss.objects == {}
    assert bucket.get_bucket_info().name == oss.bucket
    assert bucket.get_bucket_acl().acl == "private"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_signed_put_url(oss: OssDouble, scheme: str) -> None:
    """A URL signed for PUT stores with the signed headers, and not with a header changed or another method."""
    headers = {"Content-Type": "image/png", "x-oss-meta-v": "1"}
    url = bucket_of(oss, scheme).sign_url("PUT", "a/ü b", 60, headers=headers, slash_safe=True)
    plain = {"Content-Type": "image/png", "x-oss-meta-v": "1"}
    assert status_of(url, "PUT", b"body", {**plain, "x-oss-meta-v": "2"}) == 403
    assert status_of(url, "PUT", b"body", {**plain, "Content-Type": "image/gif"}) == 403
    assert status_of(url, "DELETE", None, plain) == 403
    assert oss.objects == {}
    assert status_of(url, "PUT", b"body", plain) == 200
    assert oss.objects["a/ü b"].body == b"body"
    assert [(seen.method, seen.key, seen.status) for seen in oss.requests][-1] == ("PUT", "a/ü b", 200)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_wrong_byte_is_refused(oss: OssDouble, scheme: str) -> None:
    """A wrong secret, a changed signature, key, parameter or token is refused, by header and by URL."""
    with pytest.raises(SignatureDoesNotMatch) as caught:
        bucket_of(oss, scheme, "wrong" + oss.secret_key[5:]).put_object("k", b"x")
    assert "StringToSign" in caught.value.details and caught.value.status == 403
    bucket = bucket_of(oss, scheme)
    bucket.put_object("k", b"x")
    bucket.put_object("l", b"x")
    url = bucket.sign_url("GET", "k", 60, params={"response-content-type": "image/gif"})
    assert status_of(url) == 200
    assert status_of(url.replace("/k?", "/l?")) == 403
    assert status_of(url.replace("image%2Fgif", "image%2Fpng")) == 403
    name = "x-oss-signature=" if scheme.startswith("v4") else "Signature="
    at = url.index(name) + len(name)
    assert status_of(url[:at] + ("0" if url[at] != "0" else "1") + url[at + 1 :]) == 403
    if oss.security_token:
        assert status_of(url.replace("CAISdouble", "CAISdoubly")) == 403
        oss.security_token = "another"
        with pytest.raises(ServerError) as stale:
            bucket.get_object("k")
        assert stale.value.code == "InvalidSecurityToken"
    assert status_of(url.partition("?")[0]) == 403


@pytest.mark.parametrize("scheme", SCHEMES)
def test_time_limits(scheme: str) -> None:
    """A clock 16 minutes off is refused, 14 minutes is not; a signed URL dies at its time; a token can expire."""
    offset = timedelta(0)
    token = TOKEN if scheme.endswith("token") else None
    with OssDouble(now=lambda: datetime.now(UTC) + offset, security_token=token) as oss:
        bucket = bucket_of(oss, scheme)
        for minutes in (14, -14):
            offset = timedelta(minutes=minutes)
            bucket.put_object("k", b"x")
        for minutes in (16, -16):
            offset = timedelta(minutes=minutes)
            with pytest.raises(ServerError) as caught:
                bucket.put_object("k", b"x")
            assert (caught.value.status, caught.value.code) == (403, "RequestTimeTooSkewed")
        offset = timedelta(0)
        url = bucket.sign_url("GET", "k", 300)
        offset = timedelta(seconds=290)
        assert status_of(url) == 200
        offset = timedelta(seconds=301)
        assert status_of(url) == 403
        offset = timedelta(0)
        oss.token_expires = datetime.now(UTC)
        with pytest.raises(ServerError) as caught:
            bucket.put_object("k", b"x")
        assert caught.value.code == "SecurityTokenExpired"


def test_refusals(oss: OssDouble) -> None:
    """Wrong digests, metadata, keys, buckets, overwrites and unknown headers get OSS's own answers."""
    bucket = bucket_of(oss)
    oss.objects.clear()

    def refused(key: str = "k", **headers: str) -> tuple[int, str]:
        with pytest.raises(OssError) as caught:
            bucket.put_object(key, b"x", headers={name.replace("_", "-"): value for name, value in headers.items()})
        return caught.value.status, caught.value.code

    assert refused(Content_MD5=base64.b64encode(b"\0" * 16).decode()) == (400, "InvalidDigest")
    assert refused(Content_MD5="nonsense") == (400, "InvalidDigest")
    assert refused(x_oss_meta_big="b" * 8192) == (400, "MetadataTooLarge")
    assert refused(**{"x-oss-meta-a.b": "1"}) == (400, "InvalidArgument")
    assert refused(x_oss_storage_class="IA") == (501, "NotImplemented")
    assert refused(If_None_Match="*") == (501, "NotImplemented")
    assert refused("图" * 342) == (400, "InvalidObjectName")
    assert oss.objects == {}
    bucket.put_object("图" * 341, b"x")
    bucket.put_object("k", b"x")
    assert refused(x_oss_forbid_overwrite="true") == (409, "FileAlreadyExists")
    bucket.put_object("k", b"y")
    assert oss.objects["k"].body == b"y"
    with pytest.raises(NoSuchKey):
        bucket.get_object("absent")
    with pytest.raises(NotFound) as missing:
        bucket.head_object("absent")
    assert missing.value.code == ""
    with pytest.raises(NoSuchBucket):
        oss2.Bucket(bucket.auth, oss.endpoint, "another", region=oss.region).get_object("k")
    with pytest.raises(ServerError) as region:
        oss2.Bucket(bucket.auth, oss.endpoint, oss.bucket, region="cn-other").get_object("k")
    assert region.value.code == "InvalidArgument"
    with pytest.raises(ServerError) as stranger:
        oss2.Bucket(oss2.AuthV4("LTAIother", "x"), oss.endpoint, oss.bucket, region=oss.region).get_object("k")
    assert stranger.value.code == "InvalidAccessKeyId"


def test_many_threads(oss: OssDouble) -> None:
    """Of parallel puts that forbid overwriting one key, exactly one wins; nothing else is lost."""
    bucket = bucket_of(oss)

    def put(number: int) -> int:
        try:
            bucket.put_object(f"own/{number}", b"x")
            bucket.put_object("shared", str(number), headers={"x-oss-forbid-overwrite": "true"})
        except ServerError as error:
            return int(error.status)
        return 200

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(put, range(32)))
    assert sorted(statuses) == [200] + [409] * 31
    assert oss.objects["shared"].body == str(statuses.index(200)).encode()
    assert len(oss.objects) == 33 and len(oss.requests) == 64


def test_virtual_host(oss: OssDouble) -> None:
    """The bucket may stand in the Host header; real OSS names may not be addressed by path."""
    bucket = bucket_of(oss)
    bucket.put_object("k", b"x")
    url = bucket.sign_url("GET", "k", 60).replace(f"/{oss.bucket}/k?", "/k?")
    assert status_of(url, headers={"Host": f"{oss.bucket}.oss-{oss.region}.aliyuncs.com"}) == 200
    assert status_of(url, headers={"Host": f"other.oss-{oss.region}.aliyuncs.com"}) == 403
    by_path = bucket.sign_url("GET", "k", 60)
    real = urllib.request.Request(by_path, headers={"Host": f"oss-{oss.region}.aliyuncs.com"})
    with pytest.raises(urllib.error.HTTPError) as second_level:
        urllib.request.urlopen(real, timeout=10)
    assert b"<Code>SecondLevelDomainForbidden</Code>" in second_level.value.read()
    assert status_of(by_path) == 200


def test_faults(oss: OssDouble) -> None:
    """Each scripted fault does what it says, once, in order."""
    bucket = bucket_of(oss)
    crc = frozenset({"x-oss-hash-crc64ecma"})
    oss.script(
        [
            Fault(status=503, code="ServiceUnavailable", headers={"retry-after": "1"}),
            Fault(status=403, code="UserDisable"),
            Fault(reset=True),
            Fault(lost=True),
            Fault(without=crc | {"etag"}),
            Fault(headers={"x-oss-hash-crc64ecma": "1"}),
            Fault(flip=True),
            None,
            Fault(flip=True, without=crc),
        ]
    )
    with pytest.raises(ServerError) as busy:
        bucket.put_object("1", b"one")
    assert (busy.value.status, busy.value.headers["retry-after"]) == (503, "1")
    with pytest.raises(ServerError) as debt:
        bucket.put_object("2", b"two")
    assert (debt.value.status, debt.value.code) == (403, "UserDisable")
    with pytest.raises(RequestError):
        bucket.put_object("3", b"three")
    assert "3" not in oss.objects
    with pytest.raises(RequestError):
        bucket.put_object("4", b"four")
    assert oss.objects["4"].body == b"four"
    bare = bucket.put_object("5", b"five")
    assert bare.crc is None and "etag" not in bare.headers
    for key in ("6", "7"):
        with pytest.raises(InconsistentError):
            bucket.put_object(key, b"seven")
    assert (oss.objects["6"].body, oss.objects["7"].body) == (b"seven", b"sewen")
    assert bucket.put_object("8", b"eight").status == 200
    assert bucket.get_object("8").read() == b"eifht"
    assert bucket.get_object("8").read() == b"eight"
    assert [seen.status for seen in oss.requests] == [503, 403, 0, 0, 200, 200, 200, 200, 200, 200]


def test_outage_keeps_port_and_objects(oss: OssDouble) -> None:
    """While the double is down it refuses connections; afterwards the objects are still there."""
    bucket = bucket_of(oss)
    bucket.put_object("k", b"x")
    oss.down()
    with pytest.raises(RequestError, match="refused"):
        bucket.get_object("k")
    oss.up()
    assert bucket.get_object("k").read() == b"x"

"""The doubles' signature checks against vectors that AWS and Aliyun published: neither our code nor an SDK decides."""

import dataclasses
import hashlib
from datetime import UTC, datetime

import pytest

from tests.doubles import oss_signing, sigv4
from tests.doubles.http1 import Request

HEADERS = {"x-oss-head1": "value", "abc": "value", "zabc": "value", "xyz": "value", "content-type": "text/plain"}
QUERY = "param1=value1&%2Bparam1=value3&%7Cparam1=value4&%2Bparam2=&%7Cparam2=&param2="
SCOPE = "cn-hangzhou/oss/aliyun_v4_request"


def oss_keys(token: str | None = None) -> oss_signing.Keys:
    """The keys of Aliyun's vectors."""
    return oss_signing.Keys("ak", "sk", "cn-hangzhou", token)


@pytest.mark.parametrize(
    ("seconds", "date", "token", "additional", "signature"),
    [
        (1702743657, "20231216T162057Z", None, "", "e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe"),
        (
            1702784856,
            "20231217T034736Z",
            "token",
            "",
            "b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea",
        ),
        (
            1702747512,
            "20231216T172512Z",
            None,
            "abc;zabc",
            "4a4183c187c07c8947db7620deb0a6b38d9fbdd34187b6dbaccb316fa251212f",
        ),
    ],
)
def test_oss_v4_header_vectors(seconds: int, date: str, token: str | None, additional: str, signature: str) -> None:
    """The header vectors of Aliyun's SDKs (alibabacloud-oss-python-sdk-v2, tests/unit/signer/test_v4.py) are let in."""
    listed = f"AdditionalHeaders={additional}," if additional else ""
    authorization = f"OSS4-HMAC-SHA256 Credential=ak/{date[:8]}/{SCOPE},{listed}Signature={signature}"
    headers = {
        **HEADERS,
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": date,
        "authorization": authorization,
    }
    if token:
        headers["x-oss-security-token"] = token
    now = datetime.fromtimestamp(seconds, UTC)
    request = Request("PUT", f"/1234%2B-/123/1.txt?{QUERY}", headers)
    oss_signing.verify(request, "bucket", "1234+-/123/1.txt", oss_keys(token), now)
    with pytest.raises(oss_signing.Denied, match="does not match"):
        oss_signing.verify(request, "bucket", "1234+-/123/2.txt", oss_keys(token), now)


@pytest.mark.parametrize(
    ("seconds", "date", "extra", "token", "signature"),
    [
        (1702781677, "20231217T025437Z", "", None, "a39966c61718be0d5b14e668088b3fa07601033f6518ac7b523100014269c0fe"),
        (
            1702785388,
            "20231217T035628Z",
            "&x-oss-security-token=token",
            "token",
            "3817ac9d206cd6dfc90f1c09c00be45005602e55898f26f5ddb06d7892e1f8b5",
        ),
        (
            1702783809,
            "20231217T033009Z",
            "&x-oss-additional-headers=abc%3Bzabc",
            None,
            "6bd984bfe531afb6db1f7550983a741b103a8c58e5e14f83ea474c2322dfa2b7",
        ),
    ],
)
def test_oss_v4_url_vectors(seconds: int, date: str, extra: str, token: str | None, signature: str) -> None:
    """The URL vectors of the same file are let in until they expire, 599 seconds later."""
    query = f"{QUERY}&x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-date={date}&x-oss-expires=599{extra}"
    query += f"&x-oss-credential=ak%2F{date[:8]}%2F{SCOPE.replace('/', '%2F')}&x-oss-signature={signature}"
    headers = {**HEADERS, "content-type": "application/octet-stream"}
    request = Request("PUT", f"/1234%2B-/123/1.txt?{query}", headers)
    last = datetime.fromtimestamp(seconds + 598, UTC)
    oss_signing.verify(request, "bucket", "1234+-/123/1.txt", oss_keys(token), last)
    late = datetime.fromtimestamp(seconds + 599, UTC)
    with pytest.raises(oss_signing.Denied, match="has expired"):
        oss_signing.verify(request, "bucket", "1234+-/123/1.txt", oss_keys(token), late)


@pytest.mark.parametrize(
    ("target", "signature"),
    [
        ("/nelson", "kSHKmLxlyEAKtZPkJhG9bZb5k7M="),
        ("/nelson?acl", "/afkugFbmWDQ967j1vr6zygBLQk="),
    ],
)
def test_oss_v1_header_vectors(target: str, signature: str) -> None:
    """The V1 header vectors of Aliyun's SDK (test_v1.py) are let in, and not for another key."""
    headers = {
        "content-md5": "eB5eJF1ptWaXm4bijSPyxw==",
        "content-type": "text/html",
        "x-oss-meta-author": "alice",
        "x-oss-meta-magic": "abracadabra",
        "x-oss-date": "Wed, 28 Dec 2022 10:27:41 GMT",
        "authorization": f"OSS ak:{signature}",
    }
    now = datetime(2022, 12, 28, 10, 30, tzinfo=UTC)
    request = Request("PUT", target, headers)
    oss_signing.verify(request, "examplebucket", "nelson", oss_keys(), now)
    with pytest.raises(oss_signing.Denied, match="does not match"):
        oss_signing.verify(request, "examplebucket", "nelsen", oss_keys(), now)


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("resourceGroup&non-resousce=null", "vkQmfuUDyi1uDi3bKt67oemssIs="),
        ("resourceGroup&acl", "x3E5TgOvl/i7PN618s5mEvpJDYk="),
    ],
)
def test_oss_v1_subresources(query: str, signature: str) -> None:
    """Only sub-resources are signed by V1, in the order of their names."""
    headers = {"x-oss-date": "Wed, 28 Dec 2022 10:27:41 GMT", "authorization": f"OSS ak:{signature}"}
    request = Request("GET", f"/?{query}", headers)
    oss_signing.verify(request, "examplebucket", "", oss_keys(), datetime(2022, 12, 28, 10, 27, 41, tzinfo=UTC))


@pytest.mark.parametrize(
    ("key", "query", "token", "expires", "signature"),
    [
        ("key", "versionId=versionId", None, 1699807420, "dcLTea%2BYh9ApirQ8o8dOPqtvJXQ%3D"),
        ("key+123", "versionId=versionId", "token", 1699808204, "jzKYRrM5y6Br0dRFPaTGOsbrDhY%3D"),
    ],
)
def test_oss_v1_url_vectors(key: str, query: str, token: str | None, expires: int, signature: str) -> None:
    """The V1 URL vectors are let in before `Expires` and not at it."""
    query += f"&OSSAccessKeyId=ak&Expires={expires}&Signature={signature}" + ("&security-token=token" if token else "")
    request = Request("GET", f"/{key}?{query}", {})
    oss_signing.verify(request, "bucket", key, oss_keys(token), datetime.fromtimestamp(expires - 1, UTC))
    with pytest.raises(oss_signing.Denied, match="has expired"):
        oss_signing.verify(request, "bucket", key, oss_keys(token), datetime.fromtimestamp(expires, UTC))


AWS = sigv4.Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
AWS_NOON = datetime(2013, 5, 24, tzinfo=UTC)
AWS_SCOPE = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"


def aws_request(method: str, target: str, body: bytes, headers: dict[str, str], signature: str) -> Request:
    """One of the signed examples of AWS's page, "Signature Calculations for the Authorization Header"."""
    payload = hashlib.sha256(body).hexdigest()
    all_headers = {"host": "examplebucket.s3.amazonaws.com", "x-amz-content-sha256": payload, **headers}
    all_headers.setdefault("x-amz-date", "20130524T000000Z")
    names = ";".join(sorted(all_headers))
    authorization = f"AWS4-HMAC-SHA256 Credential={AWS_SCOPE},SignedHeaders={names},Signature={signature}"
    return Request(method, target, {**all_headers, "authorization": authorization}, body)


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "signature"),
    [
        (
            "GET",
            "/test.txt",
            b"",
            {"range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            b"Welcome to Amazon S3.",
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "/?lifecycle", b"", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            b"",
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_aws_header_vectors(method: str, target: str, body: bytes, headers: dict[str, str], signature: str) -> None:
    """AWS's four published examples are let in, and not with another body."""
    sigv4.verify(aws_request(method, target, body, headers, signature), AWS, AWS_NOON)
    with pytest.raises(sigv4.Denied):
        sigv4.verify(aws_request(method, target, body + b"!", headers, signature), AWS, AWS_NOON)


def test_aws_body_must_have_the_signed_digest() -> None:
    """With the signature right, another body than the one whose digest was signed is refused."""
    signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    request = aws_request("GET", "/test.txt", b"", {"range": "bytes=0-9"}, signature)
    with pytest.raises(sigv4.Denied) as refused:
        sigv4.verify(dataclasses.replace(request, body=b"!"), AWS, AWS_NOON)
    assert refused.value.code == "XAmzContentSHA256Mismatch"


def test_aws_url_vector() -> None:
    """AWS's published presigned URL is let in for a day."""
    query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={AWS_SCOPE.replace('/', '%2F')}"
    query += "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    query += "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    request = Request("GET", f"/test.txt?{query}", {"host": "examplebucket.s3.amazonaws.com"})
    sigv4.verify(request, AWS, datetime(2013, 5, 24, 23, 59, 59, tzinfo=UTC))
    with pytest.raises(sigv4.Denied, match="has expired"):
        sigv4.verify(request, AWS, datetime(2013, 5, 25, tzinfo=UTC))

"""The bare S3 double and the two foreign S3 servers against boto3."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from tests.doubles.bare_s3 import BareS3
from tests.doubles.servers import S3Server, moto_s3, rclone_s3
from tests.doubles.wire import Fault

AWKWARD = ["a/b.png", "a b.png", "图/片.png", "a+b", "100%", "%2F", "a//b", "quote'\"", "x&y=z", "q?#;,@:$!*()~"]


@contextlib.contextmanager
def client_of(server: S3Server | BareS3, secret: str | None = None) -> Iterator[Any]:
    """boto3's client for `server`, without retries."""
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret or server.secret_key,
        config=Config(
            signature_version="s3v4",
            retries={"mode": "standard", "total_max_attempts": 1},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
        ),
    )
    with contextlib.closing(client):
        yield client


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    """The S3 error code."""
    return str(error.value.response["Error"]["Code"])


def test_bare_round_trip() -> None:
    """Put, get, head and presigned get work with awkward keys; nothing proves the bytes and no metadata comes back."""
    with BareS3() as s3, client_of(s3) as client:
        for key in AWKWARD:
            put = client.put_object(Bucket=s3.bucket, Key=key, Body=key.encode(), Metadata={"sha256": "x"})
            assert "ETag" not in put and "ChecksumSHA256" not in put
            got = client.get_object(Bucket=s3.bucket, Key=key)
            assert got["Body"].read() == key.encode()
            head = client.head_object(Bucket=s3.bucket, Key=key)
            assert (head["ContentLength"], head["Metadata"], head.get("ETag")) == (len(key.encode()), {}, None)
            url = client.generate_presigned_url("get_object", {"Bucket": s3.bucket, "Key": key}, ExpiresIn=60)
            assert requests.get(url, timeout=10).content == key.encode()
        assert set(s3.objects) == set(AWKWARD)
        for call in (client.list_objects_v2, client.head_bucket):
            with pytest.raises(ClientError) as refused:
                call(Bucket=s3.bucket)
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        with pytest.raises(ClientError) as refused:
            client.delete_object(Bucket=s3.bucket, Key="a/b.png")
        assert code_of(refused) == "NotImplemented"
        with pytest.raises(ClientError) as absent:
            client.get_object(Bucket=s3.bucket, Key="absent")
        assert code_of(absent) == "NoSuchKey"


def test_bare_refuses_what_is_signed_wrongly() -> None:
    """A wrong secret, a stranger, a skewed clock and a changed presigned URL are refused."""
    offset = timedelta(0)
    with BareS3(now=lambda: datetime.now(UTC) + offset) as s3:
        with client_of(s3, "wrong" * 8) as client, pytest.raises(ClientError) as wrong:
            client.put_object(Bucket=s3.bucket, Key="k", Body=b"x")
        assert code_of(wrong) == "SignatureDoesNotMatch"
        assert s3.objects == {}
        with client_of(s3) as client:
            offset = timedelta(minutes=16)
            with pytest.raises(ClientError) as skewed:
                client.put_object(Bucket=s3.bucket, Key="k", Body=b"x")
            assert code_of(skewed) == "RequestTimeTooSkewed"
            offset = timedelta(0)
            for key in ("k", "l"):
                client.put_object(Bucket=s3.bucket, Key=key, Body=b"x")
            url = client.generate_presigned_url("get_object", {"Bucket": s3.bucket, "Key": "k"}, ExpiresIn=60)
            assert requests.get(url, timeout=10).status_code == 200
            assert requests.get(url.replace("/k?", "/l?"), timeout=10).status_code == 403
            assert requests.get(url.partition("?")[0], timeout=10).status_code == 403
            offset = timedelta(seconds=61)
            assert requests.get(url, timeout=10).status_code == 403


@pytest.mark.parametrize("mode", ["ignore", "refuse"])
def test_bare_conditional_put(mode: Any) -> None:
    """`If-None-Match` is ignored, so that it overwrites, or refused with 501."""
    with BareS3(mode=mode) as s3, client_of(s3) as client:
        client.put_object(Bucket=s3.bucket, Key="k", Body=b"first")
        if mode == "ignore":
            client.put_object(Bucket=s3.bucket, Key="k", Body=b"second", IfNoneMatch="*")
        else:
            with pytest.raises(ClientError) as refused:
                client.put_object(Bucket=s3.bucket, Key="k", Body=b"second", IfNoneMatch="*")
            assert code_of(refused) == "NotImplemented"
        assert s3.objects["k"].body == (b"second" if mode == "ignore" else b"first")


def test_bare_faults() -> None:
    """Faults are consumed in order of arrival, and an outage refuses connections."""
    with BareS3(fault=[Fault(status=503, code="SlowDown"), Fault(lost=True), Fault(flip=True)]) as s3:
        with client_of(s3) as client:
            with pytest.raises(ClientError) as slow:
                client.put_object(Bucket=s3.bucket, Key="k", Body=b"body")
            assert code_of(slow) == "SlowDown"
            with pytest.raises(ConnectionClosedError):
                client.put_object(Bucket=s3.bucket, Key="k", Body=b"body")
            assert s3.objects["k"].body == b"body"
            client.put_object(Bucket=s3.bucket, Key="k", Body=b"body")
            assert s3.objects["k"].body == b"boey"
            s3.down()
            with pytest.raises(EndpointConnectionError):
                client.get_object(Bucket=s3.bucket, Key="k")
        assert [(seen.method, seen.key, seen.status) for seen in s3.requests] == [
            ("PUT", "k", 503),
            ("PUT", "k", 0),
            ("PUT", "k", 200),
        ]


def test_foreign_servers_run(tmp_path: Path) -> None:
    """rclone and moto start, store, list, and are gone afterwards; rclone refuses a wrong secret and a wrong digest."""
    for server_of in (lambda: rclone_s3(tmp_path), moto_s3):
        with server_of() as server, client_of(server) as client:
            client.put_object(Bucket=server.bucket, Key="图/a b", Body=b"x", Metadata={"sha256": "y"})
            listed = client.list_objects_v2(Bucket=server.bucket)["Contents"]
            assert [entry["Key"] for entry in listed] == ["图/a b"]
        with client_of(server) as client, pytest.raises(EndpointConnectionError):
            client.head_object(Bucket=server.bucket, Key="图/a b")
    with rclone_s3(tmp_path) as server:
        with client_of(server, "wrong" * 8) as client, pytest.raises(ClientError) as wrong:
            client.put_object(Bucket=server.bucket, Key="k", Body=b"x")
        assert code_of(wrong) == "SignatureDoesNotMatch"
        with client_of(server) as client, pytest.raises(ClientError) as digest:
            client.put_object(Bucket=server.bucket, Key="k", Body=b"x", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
        assert code_of(digest) == "BadDigest"

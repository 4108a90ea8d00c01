"""S3 and OSS against their own SDKs: what one side writes, the other reads, at the addresses that the SDK would use."""

import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.core.errors import Permanent
from archiver.stores import oss, s3
from archiver.stores.s3_store import S3Store
from archiver.transport import Body
from tests.contracts.conftest import outside, subject_named
from tests.contracts.test_store_contract import AWKWARD

_OSS_AND_S3 = ("s3-rclone", "s3-moto", "oss-v1", "oss-v4", "oss-v4-token")


@pytest.fixture
def pair(request, engine, tmp_path, s3_servers):
    """A subject whose reference SDK can do everything."""
    with subject_named(request.param, engine, tmp_path, s3_servers) as made:
        yield made


def _sdk_put(subject, key, data):
    if hasattr(subject.client, "meta"):
        subject.client.put_object(Bucket=subject.server.bucket, Key=key, Body=data, Metadata={"archiver-id": "7"})
    else:
        subject.client.put_object(key, data, headers={"x-oss-meta-archiver-id": "7"})


def _sdk_get(subject, key):
    if hasattr(subject.client, "meta"):
        return subject.client.get_object(Bucket=subject.server.bucket, Key=key)["Body"].read()
    return subject.client.get_object(key).read()


@pytest.mark.parametrize("pair", _OSS_AND_S3, indirect=True)
def test_both_sides_read_what_the_other_wrote(pair):
    """Every awkward key means the same object to the SDK and to us."""
    for number, key in enumerate(AWKWARD):
        ours, theirs = f"ours/{key}", f"theirs/{key}"
        pair.store.put_new(ours, Body.of(b"ours%d" % number), "image/png", {"archiver-id": "7"})
        _sdk_put(pair, theirs, b"theirs%d" % number)
        assert _sdk_get(pair, ours) == b"ours%d" % number
        assert b"".join(pair.store.open(theirs)) == b"theirs%d" % number
        head = pair.store.head(theirs)
        assert head is not None and head.size == len(b"theirs%d" % number)


@pytest.mark.parametrize("pair", ["s3-moto"], indirect=True)
def test_s3_headers_of_the_configuration_reach_the_object(pair):
    """Storage class and the like are sent with each put."""
    store = pair.connect(headers={"X-Amz-Storage-Class": "STANDARD_IA", "Cache-Control": "max-age=60"})
    store.put_new("k", Body.of(b"x"), "image/webp", {})
    found = pair.client.head_object(Bucket=pair.server.bucket, Key="k")
    assert (found["StorageClass"], found["CacheControl"], found["ContentType"]) == (
        "STANDARD_IA",
        "max-age=60",
        "image/webp",
    )


@pytest.mark.parametrize("pair", ["s3-bare"], indirect=True)
def test_s3_signs_every_header_it_means(pair):
    """A proxy cannot add or change one unseen."""
    pair.connect(headers={"x-amz-storage-class": "GLACIER"}).put_new("k", Body.of(b"x"), "image/png", {"v": "1"})
    headers = pair.server.requests[0].headers
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"x-amz-storage-class", "x-amz-meta-v", "if-none-match", "x-amz-checksum-sha256", "content-type"} <= set(
        signed
    )


@pytest.mark.parametrize("pair", ["s3-bare"], indirect=True)
def test_s3_sends_a_session_token_as_it_is(pair):
    """Tokens hold `+`, `/` and `=`; the token is signed, never part of the URL."""
    pair.secrets["env:TOKEN"] = "to+ken/with=odd=="
    with pytest.raises(Permanent, match="InvalidToken"):  # the server expects none
        pair.connect(session_token="env:TOKEN").put_new("k", Body.of(b"x"), "image/png", {})
    assert pair.server.requests[0].headers["x-amz-security-token"] == "to+ken/with=odd=="
    assert pair.server.requests[0].query == ()


@pytest.mark.parametrize("pair", ["oss-v1", "oss-v4"], indirect=True)
def test_oss_headers_of_the_configuration_reach_the_object(pair):
    """Plain ones are kept; `x-oss-` ones are part of the signature, which the server checks before it declines them."""
    pair.connect(headers={"Cache-Control": "max-age=60"}).put_new("k", Body.of(b"x"), "image/webp", {})
    found = pair.client.head_object("k")
    assert (found.headers["cache-control"], found.headers["content-type"]) == ("max-age=60", "image/webp")
    with pytest.raises(Permanent, match="501 NotImplemented"):
        pair.connect(headers={"x-oss-storage-class": "IA"}).put_new("l", Body.of(b"x"), "image/webp", {})
    assert pair.server.requests[-1].headers["x-oss-storage-class"] == "IA"


@pytest.mark.parametrize("pair", ["s3-moto"], indirect=True)
def test_s3_by_virtual_host(pair):
    """`*.localhost` is loopback to libcurl, so the bucket can stand in the host's name."""
    store = pair.connect(endpoint=pair.server.endpoint.replace("127.0.0.1", "localhost"), addressing="virtual")
    store.put_new("a b/图+.png", Body.of(b"virtual"), "image/png", {})
    assert _sdk_get(pair, "a b/图+.png") == b"virtual"


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({}, "https://bucket.s3.eu-central-1.amazonaws.com/k?"),
        ({"region": "cn-north-1"}, "https://bucket.s3.cn-north-1.amazonaws.com.cn/k?"),
        ({"addressing": "path"}, "https://s3.eu-central-1.amazonaws.com/bucket/k?"),
        ({"url": "s3://dotted.bucket"}, "https://s3.eu-central-1.amazonaws.com/dotted.bucket/k?"),
        ({"endpoint": "https://minio.example.com"}, "https://bucket.minio.example.com/k?"),
        ({"endpoint": "http://10.0.0.5:9000"}, "http://10.0.0.5:9000/bucket/k?"),
        ({"endpoint": "http://minio:9000"}, "http://minio:9000/bucket/k?"),
        ({"endpoint": "http://localhost:9000"}, "http://localhost:9000/bucket/k?"),
    ],
)
def test_s3_addresses(engine, tmp_path, settings, start):
    """Presigned addresses and our own requests agree on where the bucket goes."""
    base = {"url": "s3://bucket/p", "region": "eu-central-1", "access_key_id": "env:A", "access_key_secret": "env:A"}
    made = s3.Settings.model_validate({**base, **settings})
    store = s3.connect("main", made, outside(tmp_path, {"env:A": "xxxxxxxxxxxxxxxx"}, engine))
    assert store.presign("k", timedelta(minutes=1)).startswith(start)
    assert isinstance(store, S3Store)
    assert store._sign("GET", "k", {}, None)[0] + "?" == start


@pytest.mark.parametrize(
    ("settings", "start", "v4"),
    [
        ({"region": "cn-hangzhou"}, "https://bucket.oss-cn-hangzhou.aliyuncs.com/p/k?", True),
        ({"region": "oss-cn-hangzhou"}, "https://bucket.oss-cn-hangzhou.aliyuncs.com/p/k?", True),
        (
            {"endpoint": "oss-cn-beijing-internal.aliyuncs.com"},
            "https://bucket.oss-cn-beijing-internal.aliyuncs.com/p/k?",
            True,
        ),
        ({"endpoint": "https://img.example.com", "cname": True}, "https://img.example.com/p/k?", False),
        ({"endpoint": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080/bucket/p/k?", False),
        ({"endpoint": "http://oss:8080"}, "http://oss:8080/bucket/p/k?", False),
    ],
)
def test_oss_addresses(engine, tmp_path, settings, start, v4):
    """A region, stated or told by the endpoint, means signature V4."""
    base = {"url": "oss://bucket/p", "access_key_id": "env:A", "access_key_secret": "env:A"}
    made = oss.Settings.model_validate({**base, **settings})
    url = oss.connect("main", made, outside(tmp_path, {"env:A": "x"}, engine)).presign("p/k", timedelta(minutes=1))
    assert url.startswith(start)
    assert ("x-oss-signature-version=OSS4" in url) == v4


@pytest.mark.parametrize("pair", ["s3-rclone", "oss-v1", "oss-v4"], indirect=True)
def test_a_presigned_address_outlives_no_week(pair):
    """No signature of today's schemes does."""
    with pytest.raises(Permanent, match="7 days"):
        pair.store.presign("k", timedelta(days=7, seconds=1))


@pytest.mark.parametrize("pair", ["oss-v1", "oss-v4"], indirect=True)
def test_oss_credentials_come_from_the_environment_in_order(pair, engine, tmp_path):
    """OSS_* first, then ALIBABA_CLOUD_*; without any a person is told what to set."""
    right = {"ID": pair.server.access_key, "SECRET": pair.server.secret_key}
    secrets: dict[str, str] = {}
    made = oss.Settings(url=f"oss://{pair.server.bucket}", endpoint=pair.server.endpoint)
    store = oss.connect("main", made, outside(tmp_path, secrets, engine))
    with pytest.raises(Permanent, match="OSS_ACCESS_KEY_ID"):
        store.head("k")
    secrets |= {f"env:ALIBABA_CLOUD_ACCESS_KEY_{name}": value for name, value in right.items()}
    assert store.head("k") is None
    secrets |= {f"env:OSS_ACCESS_KEY_{name}": "wrong" for name in right}
    with pytest.raises(Permanent):
        store.head("k")
    secrets |= {f"env:OSS_ACCESS_KEY_{name}": value for name, value in right.items()}
    assert store.head("k") is None


def test_s3_credentials_come_from_the_chain_of_the_sdk(s3_servers, engine, tmp_path, monkeypatch):
    """A profile of ~/.aws works as it does for every AWS tool."""
    server = s3_servers["s3-rclone"]
    lines = f"[archive]\naws_access_key_id={server.access_key}\naws_secret_access_key={server.secret_key}\n"
    Path(tmp_path / "credentials").write_text(lines)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def store(profile):
        made = s3.Settings(url=f"s3://{server.bucket}", endpoint=server.endpoint, region="us-east-1", profile=profile)
        return s3.connect("main", made, outside(tmp_path, {}, engine))

    assert store("archive").head("k") is None
    with pytest.raises(Permanent, match="no credentials"):
        store(None).head("k")
    with pytest.raises(Permanent, match="no credentials"):
        store("missing").head("k")


@pytest.mark.parametrize(
    ("module", "settings", "complaint"),
    [
        (s3, {"url": "s3://"}, "s3://bucket/prefix"),
        (s3, {"url": "oss://bucket"}, "s3://bucket/prefix"),
        (s3, {"url": "s3://bucket?x=1"}, "s3://bucket/prefix"),
        (s3, {"url": "s3://bucket", "access_key_id": "env:A"}, "belong together"),
        (s3, {"url": "s3://bucket", "access_key_id": "AKIA0000"}, "does not belong into the configuration"),
        (s3, {"url": "s3://bucket", "headers": {"a b": "c"}}, "printable ASCII"),
        (s3, {"url": "s3://bucket", "headers": {"x": "a\r\nb: c"}}, "printable ASCII"),
        (s3, {"url": "s3://bucket", "headers": {"If-None-Match": "*"}}, "set by archiver itself"),
        (s3, {"url": "s3://bucket", "typo": 1}, "Extra inputs"),
        (oss, {"url": "oss://bucket"}, "set region"),
        (oss, {"url": "oss://bucket", "region": "cn-x", "cname": True}, "cname needs endpoint"),
    ],
)
def test_wrong_settings_say_what_is_wrong(module, settings, complaint):
    """And never repeat a secret that stands in the wrong place."""
    with pytest.raises(ValueError, match=complaint) as caught:
        module.Settings.model_validate(settings)
    assert "AKIA0000" not in str(caught.value)


@pytest.mark.parametrize(("text", "prefix"), [("", ""), ("/", ""), ("/a", "a/"), ("/a/b/", "a/b/"), ("//a", "a/")])
def test_the_prefix_of_a_store(engine, tmp_path, text, prefix):
    """Empty, or without a leading and with a trailing slash."""
    made = s3.Settings(url=f"s3://bucket{text}")
    assert s3.connect("main", made, outside(tmp_path, {}, engine)).prefix == prefix


def test_a_presigned_address_opens_one_object_only(engine, tmp_path, s3_servers):
    """The signature covers the key: it is no open door."""
    with subject_named("oss-v4", engine, tmp_path, s3_servers) as pair:
        pair.store.put_new("k", Body.of(b"x"), "image/png", {})
        url = pair.store.presign("k", timedelta(minutes=5))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError, match="403"):
            opener.open(url.replace("/k?", "/other?"), timeout=10)

"""What a store's refusals, lies and silences become: an error word, a hint for a person, and never a secret."""

import base64
import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from archiver.core.errors import Corrupt, Gone, KeyTaken, Permanent, Throttled, Transient
from archiver.transport import Body
from tests.contracts.conftest import Subject, subject_named
from tests.doubles.oss import OssDouble
from tests.doubles.wire import Fault

_KEY = "pre/fix/a.png"
_DATA = b"image bytes" * 1000
_DOUBLES = ("s3-bare", "oss-v1", "oss-v4")


def _put(subject: Subject, data: bytes = _DATA, key: str = _KEY):
    return subject.store.put_new(key, Body.of(data), "image/png", {"archiver-id": "1"})


@pytest.fixture
def double(request, engine, tmp_path):
    """A subject whose server can be scripted."""
    with subject_named(request.param, engine, tmp_path, {}) as made:
        yield made


def test_a_wrong_secret_is_permanent_and_stays_secret(remote):
    """The message says what to do, and holds neither key nor signature."""
    remote.secrets["env:SECRET"] = "wrong-but-still-secret-000000000000"
    if "signatures" in remote.lacks:
        assert _put(remote).size == len(_DATA)
        return
    with pytest.raises(
        Permanent, match=r"SignatureDoesNotMatch \(the (access key secret|secret access key) is wrong"
    ) as caught:
        _put(remote)
    for secret in ("wrong-but", remote.server.access_key[:8], "ignature="):
        assert secret not in str(caught.value)


def test_a_missing_bucket_is_permanent(remote):
    """No retry makes a bucket."""
    scheme = "oss" if isinstance(remote.server, OssDouble) else "s3"
    elsewhere = dataclasses.replace(remote, store=remote.connect(url=f"{scheme}://no-such-bucket-here"))
    with pytest.raises(Permanent, match=r"NoSuchBucket \(create the bucket"):
        _put(elsewhere)
    with pytest.raises(Permanent):
        list(elsewhere.store.open(_KEY))


def test_an_unreachable_server_is_transient(remote):
    """Nothing listens on port 9 of loopback; the host is named, the URL is not."""
    away = dataclasses.replace(remote, store=remote.connect(endpoint="http://127.0.0.1:9"))
    for act in (lambda: _put(away), lambda: away.store.head(_KEY), lambda: list(away.store.list("pre/fix/"))):
        with pytest.raises(Transient) as caught:
            act()
        assert "?" not in str(caught.value)


def test_missing_credentials_are_permanent(remote):
    """A reference that leads nowhere is for a person."""
    del remote.secrets["env:SECRET"]
    with pytest.raises(Permanent, match="env:SECRET is not set"):
        _put(remote)


def test_rotated_credentials_are_used_at_once(remote):
    """Secrets are looked up for every signature, not once per process."""
    right, remote.secrets["env:SECRET"] = remote.secrets["env:SECRET"], "stale" * 8
    if "signatures" not in remote.lacks:
        with pytest.raises(Permanent):
            _put(remote)
    remote.secrets["env:SECRET"] = right
    assert _put(remote).key == _KEY


@pytest.mark.parametrize("double", _DOUBLES, indirect=True)
def test_a_lost_reply_is_transient_and_the_retry_succeeds(double):
    """The object may be there or not: asking again is safe either way."""
    double.server.script([Fault(lost=True), Fault(reset=True)])
    for _ in range(2):
        with pytest.raises(Transient):
            _put(double)
    assert _put(double).sha256 == hashlib.sha256(_DATA).hexdigest()
    assert double.server.objects[_KEY].body == _DATA


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (503, "SlowDown", Throttled),
        (429, "TooManyRequests", Throttled),
        (503, "ServiceUnavailable", Transient),
        (500, "InternalError", Transient),
        (502, "BadGateway", Transient),
        (409, "OperationAborted", Transient),
        (409, "ConditionalRequestConflict", Transient),
        (400, "RequestTimeout", Transient),
        (400, "BadDigest", Transient),
        (403, "RequestTimeTooSkewed", Transient),
        (403, "AccessDenied", Permanent),
        (403, "InvalidAccessKeyId", Permanent),
        (404, "NoSuchBucket", Permanent),
        (400, "InvalidArgument", Permanent),
        (405, "MethodNotAllowed", Permanent),
    ],
)
@pytest.mark.parametrize("double", _DOUBLES, indirect=True)
def test_refusals_become_error_words(double, status, code, word):
    """The class says what may be done; the text names status and code."""
    double.server.script([Fault(status=status, code=code)])
    with pytest.raises(word) as caught:
        _put(double)
    assert type(caught.value) is word
    assert f"main: put was answered {status} {code}" in str(caught.value)


@pytest.mark.parametrize(
    ("double", "code", "word"),
    [
        ("oss-v4", "PublicEndpointForbidden", Permanent),
        ("oss-v4", "InDebt", Permanent),
        ("oss-v4", "SecurityTokenExpired", Transient),
        ("s3-bare", "ExpiredToken", Transient),
        ("s3-bare", "AuthorizationHeaderMalformed", Permanent),
    ],
    indirect=["double"],
)
def test_refusals_of_one_vendor_come_with_a_hint(double, code, word):
    """Behind the code stands what to do."""
    double.server.script([Fault(status=403, code=code)])
    with pytest.raises(word, match=rf"{code} \(\w+"):
        _put(double)


@pytest.mark.parametrize("double", _DOUBLES, indirect=True)
def test_a_pause_is_handed_on(double):
    """Retry-After reaches policy in seconds, within one hour."""
    double.server.script([Fault(status=503, code="SlowDown", headers={"retry-after": "7"}),
                          Fault(status=503, code="SlowDown", headers={"retry-after": "99999"})])  # fmt: skip
    for expected in (7.0, 3600.0):
        with pytest.raises(Throttled) as caught:
            _put(double)
        assert caught.value.retry_after == expected


@pytest.mark.parametrize("double", _DOUBLES, indirect=True)
def test_head_denied_is_permanent_not_absent(double):
    """A HEAD has no body to say why; a denial is still no absence."""
    double.server.script([Fault(status=403, code="AccessDenied")])
    with pytest.raises(Permanent, match="403"):
        double.store.head(_KEY)


def _sha256_header(data: bytes) -> dict[str, str]:
    return {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(data).digest()).decode()}


@pytest.mark.parametrize(
    ("double", "fault", "proof"),
    [
        ("s3-bare", Fault(headers=_sha256_header(_DATA)), "checksum-sha256"),
        ("s3-bare", Fault(headers={"etag": f'"{hashlib.md5(_DATA).hexdigest().upper()}"'}), "etag-md5"),
        ("s3-bare", Fault(headers={"etag": '"0123456789abcdef0123456789abcdef"'}), "read-back"),
        ("s3-bare", Fault(headers={"etag": '"d41d8cd98f00b204e9800998ecf8427e-2"'}), "read-back"),
        ("oss-v4", Fault(), "crc64"),
        ("oss-v4", Fault(without=frozenset({"x-oss-hash-crc64ecma"})), "etag-md5"),
        ("oss-v4", Fault(without=frozenset({"x-oss-hash-crc64ecma", "etag"})), "read-back"),
    ],
    indirect=["double"],
)
def test_the_best_proof_is_taken(double, fault, proof):
    """A digest in the reply spares the read-back; an ETag that is no MD5 proves nothing, not even a difference."""
    double.server.script([fault])
    assert _put(double).proof == proof
    assert [seen.method for seen in double.server.requests] == (["PUT", "GET"] if proof == "read-back" else ["PUT"])


@pytest.mark.parametrize(
    ("double", "faults"),
    [
        ("s3-bare", [Fault(headers=_sha256_header(b"other"))]),
        ("s3-bare", [Fault(flip=True)]),
        ("s3-bare", [None, Fault(flip=True)]),
        ("oss-v4", [Fault(flip=True)]),
        ("oss-v1", [Fault(headers={"x-oss-hash-crc64ecma": "1"})]),
    ],
    indirect=["double"],
)
def test_another_digest_is_corrupt_never_stored(double, faults):
    """A store that kept, confirmed or returned other bytes gets no receipt."""
    double.server.script(faults)
    with pytest.raises(Corrupt):
        _put(double)


@pytest.mark.parametrize("double", ["s3-bare-refusing"], indirect=True)
def test_a_header_the_server_does_not_know_is_left_out_and_remembered(double):
    """The first put learns it, the second does not ask again; a passing 501 teaches nothing."""
    _put(double, key="pre/fix/1")
    _put(double, key="pre/fix/2")
    puts = [seen for seen in double.server.requests if seen.method == "PUT"]
    assert [(seen.status, "if-none-match" in seen.headers) for seen in puts] == [
        (501, True),
        (200, False),
        (200, False),
    ]
    assert all("x-amz-checksum-sha256" in seen.headers for seen in puts)


@pytest.mark.parametrize("double", ["s3-bare"], indirect=True)
def test_a_server_that_always_says_501_is_no_teacher(double):
    """What did not help is not remembered."""
    double.server.script([Fault(status=501, code="NotImplemented")] * 3)
    with pytest.raises(Permanent):
        _put(double)
    _put(double)
    assert "if-none-match" in double.server.requests[-2].headers


@pytest.mark.parametrize("double", ["oss-v1", "oss-v4"], indirect=True)
def test_a_wrong_clock_is_blamed_for_a_denial(double, engine, tmp_path):
    """A signed URL refused as expired looks like AccessDenied; the server's Date tells the truth."""
    with OssDouble(now=lambda: datetime.now(UTC) + timedelta(hours=3)) as late:
        late.access_key, late.secret_key = double.server.access_key, double.server.secret_key
        store = double.connect(endpoint=late.endpoint)
        with pytest.raises(Transient, match="clock of this machine"):
            store.put_new(_KEY, Body.of(_DATA), "image/png", {})


def test_eight_writers_of_one_key(subject):
    """Equal bytes: everybody succeeds, at the latest alone. Other bytes: a server with conditional writes keeps those
    of one; where it has none, the race may end in anything, and a lone writer afterwards is stored."""

    def attempt(body: bytes, key: str) -> bool:
        try:
            _put(subject, body, key)
        except (KeyTaken, Corrupt, Transient, Gone):  # rclone stumbles over eight writers at once
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: attempt(_DATA, "pre/fix/shared"), range(8)))
    late = [_put(subject, _DATA, "pre/fix/shared") for is_done in done if not is_done]
    assert {receipt.sha256 for receipt in late} <= {hashlib.sha256(_DATA).hexdigest()}
    assert b"".join(subject.store.open("pre/fix/shared")) == _DATA

    bodies = [bytes([number]) * 5000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        wins = sum(threads.map(lambda body: attempt(body, "pre/fix/contested"), bodies))
    if "conditional" in subject.lacks:
        _put(subject, bodies[0], "pre/fix/contested")
        assert b"".join(subject.store.open("pre/fix/contested")) == bodies[0]
    else:
        assert wins == 1
        assert b"".join(subject.store.open("pre/fix/contested")) in bodies

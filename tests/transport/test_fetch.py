"""Fetching from sources that nobody vouches for: whole bytes or an error word, and secrets nowhere."""

import base64
import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from archiver.core.errors import AdapterError, Corrupt, Gone, Refused, Throttled, Transient
from archiver.core.model import Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import AddressGuard, ByteBudget, CurlEngine, FetchLimits
from tests.doubles.listener import reset
from tests.transport.conftest import reply

_DATA = random.Random(3).randbytes(200_003)


def test_bytes_arrive_whole_with_the_headers_that_are_evidence(raw, fetch, budget):
    """Body, digest and the named headers come back; cookies and the like do not."""
    raw.scripts = [reply(200, _DATA, ETag='"x"', Content_Type="image/png", Set_Cookie="a=b", X_Oss_Expiration="soon")]
    found = fetch()
    with found.body as body:
        assert bytes(body.view()) == _DATA
        assert body.sha256 == hashlib.sha256(_DATA).hexdigest()
        assert budget.taken == len(_DATA)
    assert found.headers == {"etag": '"x"', "content-type": "image/png", "x-oss-expiration": "soon"}
    assert budget.taken == 0


@pytest.mark.parametrize(
    "script",
    [
        *(reply(status, X_Amz_Expiration="soon", Set_Cookie="a=b") for status in (403, 404, 429, 500, 503, 206)),
        reply(200, _DATA, X_Amz_Expiration="soon", Content_MD5="AAAAAAAAAAAAAAAAAAAAAA=="),
        b"!HTTP/1.1 200 OK\r\nX-Amz-Expiration: soon\r\nContent-Length: 100\r\n\r\nshort",
    ],
)
def test_f042_an_error_carries_the_headers_that_are_evidence(raw, fetch, script):
    """Of the reply that brought the error; what a redirect said on the way to it is not the object's."""
    moved = b"HTTP/1.1 302 X\r\nLocation: /b\r\nContent-Length: 0\r\nX-Oss-Expiration: never\r\n\r\n"
    raw.scripts = [moved, script]
    with pytest.raises(AdapterError) as caught:
        fetch()
    assert caught.value.headers["x-amz-expiration"] == "soon"
    assert not caught.value.headers.keys() & {"set-cookie", "x-oss-expiration", "location"}


def test_an_error_without_a_reply_carries_no_headers(raw, fetch):
    raw.scripts = [b"!"]
    with pytest.raises(Transient) as caught:
        fetch()
    assert caught.value.headers == {}


def test_the_request_is_a_bare_get_of_the_exact_url(raw, fetch):
    """Path and query go out byte for byte; no credentials, no cookie, no referer, nothing compressed."""
    raw.scripts = [reply(200, _DATA)]
    fetch(raw.url("/a/../b//%2e/c%2Fd?sig=a+b%2B/=&x-oss-process=a,b")).body.close()
    lines = raw.heads[0].decode().split("\r\n")
    assert lines[0] == "GET /a/../b//%2e/c%2Fd?sig=a+b%2B/=&x-oss-process=a,b HTTP/1.1"
    names = sorted(line.partition(":")[0].lower() for line in lines[1:] if line)
    assert names == ["accept", "accept-encoding", "host", "user-agent"]
    assert "Accept-Encoding: identity" in lines


def test_a_url_with_chinese_is_encoded_for_the_wire(raw, fetch):
    """What cannot stand in a request line is percent-encoded, and nothing else is touched."""
    raw.scripts = [reply(200, _DATA)]
    fetch(raw.url("/图片.png?a=%E5%9B%BE")).body.close()
    assert raw.heads[0].startswith(b"GET /%E5%9B%BE%E7%89%87.png?a=%E5%9B%BE HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("script", "word"),
    [
        (reply(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"), Gone),
        (reply(404), Gone),
        (reply(401), Gone),
        (reply(410), Gone),
        (reply(451), Gone),
        (reply(408), Transient),
        (reply(425), Transient),
        (reply(500), Transient),
        (reply(502), Transient),
        (reply(503), Transient),
        (reply(503, Retry_After="3"), Throttled),
        (reply(503, b"<Error><Code>SlowDown</Code></Error>"), Throttled),
        (reply(429), Throttled),
        (reply(304), Transient),
        (reply(302), Transient),
        (b"!HTTP/1.1 204 No Content\r\n\r\n", Corrupt),
        (reply(206, b"part"), Corrupt),
        (reply(404, b"x" * 200_000), Gone),
        (b"!HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Corrupt),
        (b"!HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", Corrupt),
        (reply(200, _DATA, Content_Encoding="gzip"), Corrupt),
        (reply(200, _DATA, Content_MD5="AAAAAAAAAAAAAAAAAAAAAA=="), Corrupt),
        (reply(200, _DATA, X_Oss_Hash_Crc64ecma="1"), Corrupt),
        (b"!", Transient),
        (b"!SSH-2.0-OpenSSH\r\n", Transient),
        (b"!HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n", Refused),
        (b"!HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", Refused),
    ],
)
def test_what_is_no_whole_body_becomes_an_error_word(raw, fetch, budget, script, word):
    """Each answer has its word; the text names the host, never the path, the query or the page."""
    raw.scripts = [script]
    with pytest.raises(word) as caught:
        fetch()
    assert type(caught.value) is word
    assert "127.0.0.1" in str(caught.value)
    for secret in ("TOPSECRET", "sig", "a.png", "yyyy"):
        assert secret not in str(caught.value)
    assert budget.taken == 0


def test_status_and_code_are_told(raw, fetch):
    """A person sees why the source said no."""
    raw.scripts = [reply(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired.</Message></Error>")]
    with pytest.raises(Gone, match=r"answered 403 AccessDenied \(the reply speaks of expiry\)"):
        fetch()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "17"}, 17.0),
        ({"Retry_After": "0"}, 1.0),
        ({"Retry_After": "86400"}, 3600.0),
        ({"Retry_After": "Fri, 20 Nov 2026 12:01:30 GMT", "Date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 90.0),
        ({"Retry_After": "Fri, 20 Nov 2026 11:00:00 GMT", "Date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 1.0),
        ({"Retry_After": "Fri, 20 Nov 2026 12:01:30 GMT"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-5"}, None),
        ({}, None),
    ],
)
def test_the_pause_asked_for_is_kept_within_an_hour(raw, fetch, headers, seconds):
    """Seconds or a date, measured by the server's own clock."""
    raw.scripts = [reply(429, **headers)]
    with pytest.raises(Throttled) as caught:
        fetch()
    assert caught.value.retry_after == seconds


def test_right_checksums_of_the_source_are_accepted(raw, fetch):
    """Content-MD5 and the CRC of OSS are compared, not feared."""
    md5 = base64.b64encode(hashlib.md5(b"123456789").digest()).decode()
    raw.scripts = [reply(200, b"123456789", Content_MD5=md5, X_Oss_Hash_Crc64ecma=str(0x995DC9BBDF1939FA))]
    fetch().body.close()
    raw.scripts = [reply(200, b"123456789", X_Goog_Hash=f"crc32c=4waSgw==,md5={md5}")]
    fetch().body.close()


def test_a_wrong_checksum_of_google_is_refused(raw, fetch):
    """Its `x-goog-hash` holds several sums in one header; the CRC alone says nothing to us."""
    raw.scripts = [reply(200, b"123456789", X_Goog_Hash="crc32c=AAAAAA==")]
    fetch().body.close()
    wrong = base64.b64encode(hashlib.md5(b"123456780").digest()).decode()
    raw.scripts = [reply(200, b"123456789", X_Goog_Hash=f"crc32c=4waSgw==,md5={wrong}")]
    with pytest.raises(Corrupt, match="x-goog-hash"):
        fetch()


@pytest.mark.parametrize(
    "script",
    [
        reply(200, b"x" * 5000),
        b"!HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n",
    ],
    ids=["length", "close", "chunked"],
)
def test_the_size_cap_holds_however_the_end_is_marked(raw, fetch, budget, script):
    """One byte more than the cap is refused, exactly the cap is not."""
    raw.scripts = [script]
    fetch(max_bytes=5000).body.close()
    with pytest.raises(Refused, match="4999 bytes"):
        fetch(max_bytes=4999)
    assert budget.taken == 0


def test_a_length_beyond_the_cap_is_refused_before_the_body(raw, fetch):
    """Nothing of a terabyte is waited for."""

    def boast(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        raw.listener.stopping.wait(30)

    raw.scripts = [boast]
    with pytest.raises(Refused, match="may bring"):
        fetch(total_s=20)


def test_a_drip_is_cut_off_by_the_total_deadline(raw, fetch):
    """A source that sends a byte now and then cannot hold a slot."""

    def drip(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not raw.listener.stopping.wait(0.02):
            connection.sendall(b"x")

    raw.scripts = [drip]
    with pytest.raises(Transient, match="too slow"):
        fetch(total_s=0.3)


def test_a_connection_reset_is_transient(raw, fetch):
    """Half a body and a reset: ask again."""

    def cut(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        reset(connection)

    raw.scripts = [cut]
    with pytest.raises((Transient, Corrupt)):
        fetch()


def test_connections_are_reused(raw, fetch):
    """Ten fetches in a row open one connection."""
    raw.scripts = [reply(200, _DATA)]
    for _ in range(10):
        fetch().body.close()
    assert raw.listener.connections == 1


def test_many_threads_share_the_engine(raw, fetch, budget):
    """Nothing is mixed up, nothing leaks: neither room nor descriptors."""
    raw.scripts = [reply(200, _DATA)]

    def one(_):
        with fetch().body as body:
            return body.sha256

    with ThreadPoolExecutor(8) as threads:
        digests = set(threads.map(one, range(100)))
    assert digests == {hashlib.sha256(_DATA).hexdigest()}
    assert budget.taken == 0
    assert raw.listener.connections <= 8


def test_a_body_beyond_the_budget_goes_to_a_file_and_nobody_waits(raw, tmp_path):
    """The budget is held by another body: the fetch succeeds all the same."""
    raw.scripts = [reply(200, _DATA)]
    budget = ByteBudget(len(_DATA))
    engine = CurlEngine(Network(), AddressGuard(["127.0.0.1"]), budget=budget, temp_dir=tmp_path / "temp")
    with engine.fetch(TemporaryURL(raw.url())).body as first, engine.fetch(TemporaryURL(raw.url())).body as second:
        assert (first.data is None, second.data is None) == (False, True)
        assert second.sha256 == first.sha256
    engine.close()
    assert list((tmp_path / "temp").iterdir()) == []


def test_an_unresolvable_host_is_transient(engine):
    """DNS failures pass; `.invalid` never resolves."""
    with pytest.raises(Transient, match=r"no-such-host\.invalid"):
        engine.fetch(TemporaryURL("http://no-such-host.invalid/a.png?sig=TOPSECRET"), FetchLimits(total_s=20))


def test_no_thread_is_left(raw, fetch):
    """The engine works in the caller's thread alone."""
    raw.scripts = [reply(200, _DATA)]
    before = threading.active_count()
    fetch().body.close()
    assert threading.active_count() <= before + 1  # the server's thread of the open connection

"""The kind `images`: which error word each status gives, after exactly one request, and what it says."""

import socket
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.core.errors import AdapterError, Ambiguous, Permanent, Throttled
from archiver.core.model import Network
from archiver.providers import images, post
from tests.providers.images_support import failure, provider, settings
from tests.providers.paid import KEY, SIGNED, START, Kept, ask, outside, paid, sends

STATUSES = {
    **dict.fromkeys([400, 403, 404, 405, 413, 422, 451, 301, 302, 304, 307, 308], Permanent),
    **dict.fromkeys([408, 409, 425, 499, 500, 502, 503, 504, 520, 524, 599], Ambiguous),
    **dict.fromkeys([401, 402, 429], Throttled),
}


@pytest.mark.parametrize(("status", "word"), STATUSES.items())
def test_each_status_gives_its_word_after_one_request(status: int, word: type[AdapterError], tmp_path: Path) -> None:
    sink = Kept()
    behaviour = sends(status, {"error": {"message": "so it is"}}, Location="/v1/elsewhere", Retry_After="0")
    with paid(behaviour) as endpoint, pytest.raises(AdapterError) as caught:
        provider(endpoint.base_url, tmp_path).submit(ask(), sink)
    assert type(caught.value) is word
    assert str(caught.value).startswith(f"apiyi answered {status}: ")
    assert len(endpoint.ledger) == 1
    assert sink.begun == []


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "so it is (check api_key)"),
        (402, "so it is (check the balance)"),
        (404, "so it is (check base_url and model)"),
        (302, "redirects are not followed; correct base_url"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, hint: str, tmp_path: Path) -> None:
    with paid(sends(status, {"message": "so it is"})) as endpoint:
        assert str(failure(endpoint, tmp_path)) == f"apiyi answered {status}: {hint}"


def test_statuses_listed_as_free_are_asked_again(tmp_path: Path) -> None:
    with paid(sends(503, b"busy", Retry_After="7")) as endpoint:
        error = failure(endpoint, tmp_path, free_statuses=[503])
    assert isinstance(error, Throttled)
    assert error.retry_after == 7.0


@pytest.mark.parametrize(
    ("host", "free"),
    [("api.apiyi.com", True), ("apiyi.com", True), ("notapiyi.com", False), ("apiyi.com.evil.org", False)],
)
def test_503_is_free_where_the_platform_documents_it(host: str, free: bool, tmp_path: Path) -> None:
    """Asked through a proxy that answers in its place, because no test may reach the real host."""
    with paid(sends(503, b"busy")) as proxy:
        network = Network(proxy=proxy.base_url)

        def plain(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        proxy.listener._serve = plain
        with pytest.raises(Throttled if free else Ambiguous):
            provider(f"http://{host}", tmp_path, network, allow_http=True).submit(ask(), Kept())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        (" 2.5 ", 2.5),
        ("0", 1.0),
        ("86400", 3600.0),
        ("9" * 15, 3600.0),
        ("9" * 400, None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("", None),
        ("soon", None),
        ("\u0663", None),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60.0),
        ("Sun, 01 Mar 2026 12:01:00 -0000", 60.0),
        ("Sunday, 01-Mar-26 12:01:00 GMT", 60.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 1.0),
        ("Fri, 01 Mar 2030 00:00:00 GMT", 3600.0),
        ("Fri, 99 Mar 2030 00:00:00 GMT", None),
        ("Fri, 01 Mar 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_clamped(value: str | None, seconds: float | None) -> None:
    assert post.retry_after(value, START) == seconds


@pytest.mark.parametrize("secret", [None, "", "two words", "schlüssel", "line\nbreak"])
def test_a_key_that_cannot_be_had_stops_the_request(secret: str | None, tmp_path: Path) -> None:
    with paid() as endpoint:
        asked = images.connect("apiyi", settings(base_url=endpoint.base_url), outside(tmp_path, secret=secret))
        with pytest.raises(Permanent, match="env:KEY") as caught:
            asked.submit(ask(), Kept())
    assert endpoint.ledger == []
    assert not secret or secret not in str(caught.value)


def test_a_rotated_key_is_seen_by_the_next_request(tmp_path: Path) -> None:
    keys = iter(["first", "second\n"])
    rotating = replace(outside(tmp_path), secret=lambda _: next(keys))
    with paid() as endpoint:
        asked = images.connect("apiyi", settings(base_url=endpoint.base_url), rotating)
        asked.submit(ask(), Kept())
        asked.submit(ask(), Kept())
    assert [request.headers["authorization"] for request in endpoint.ledger] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("status", [400, 401, 429, 500])
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("key", [KEY, "hunter2.swordfish"], ids=["usual", "of no known shape"])
def test_no_secret_is_told_even_when_the_provider_repeats_it(
    status: int, as_json: bool, key: str, tmp_path: Path
) -> None:
    words = f"{key} for {SIGNED} " + "x" * 120 + key
    body: bytes | dict[str, object] = {"error": {"message": words}} if as_json else words.encode()
    with paid(sends(status, body)) as endpoint:
        asked = images.connect("apiyi", settings(base_url=endpoint.base_url), outside(tmp_path, secret=key))
        with pytest.raises(AdapterError) as caught:
            asked.submit(ask(), Kept())
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert key not in told
    assert key[:9] not in told
    assert "Signature" not in told

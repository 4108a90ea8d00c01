"""Which refusals were free: the table, what settings add to it, and that nothing else is taken for free."""

from pathlib import Path

import pytest

from archiver.core.errors import Ambiguous, Permanent, Throttled
from archiver.providers.charging import TERMS, Terms, error_names, terms_of
from tests.providers.images_support import failure
from tests.providers.paid import paid, sends

QUOTA = b'{"error": {"message": "no money", "type": "new_api_error", "code": "pre_consume_token_quota_failed"}}'


@pytest.mark.parametrize(
    ("host", "status", "body", "is_free"),
    [
        ("api.example.com", 429, b"", True),
        ("api.example.com", 503, b"", False),
        ("api.apiyi.com", 503, b"", True),
        ("apiyi.com", 503, b"", True),
        ("notapiyi.com", 503, b"", False),
        ("apiyi.com.evil.example", 503, b"", False),
        ("api.apiyi.com", 500, b"", False),
        ("api.apiyi.com", 504, b"", False),
        ("relay.example.com", 403, QUOTA, True),
        ("relay.example.com", 403, b'{"error": {"code": "insufficient_user_quota"}}', True),
        ("relay.example.com", 403, b'{"code": "insufficient_user_quota"}', False),
        ("relay.example.com", 502, b'{"error": {"type": "origin_gateway_timeout", "retryable": true}}', False),
        ("relay.example.com", 502, b"<html>Bad Gateway</html>", False),
    ],
)
def test_only_what_somebody_documents_is_free(host: str, status: int, body: bytes, is_free: bool) -> None:
    assert (terms_of(host, status, body) is not None) == is_free


def test_every_row_says_who_says_so() -> None:
    assert all(terms.source and (terms.statuses or terms.codes) for terms in TERMS)


@pytest.mark.parametrize("body", [b"", b"[]", b"[" * 100_000, b'{"error": 5}', b'{"error": {"code": 5}}', b"\xff"])
def test_an_odd_error_has_no_name(body: bytes) -> None:
    assert error_names(body) == frozenset()


def test_settings_add_to_the_table() -> None:
    added = Terms(host="*", source="settings", statuses=frozenset({507}), codes=frozenset({"busy"}))
    assert terms_of("a.example", 507, b"", added=added) is added
    assert terms_of("a.example", 500, b'{"error": {"type": "busy"}}', added=added) is added
    assert terms_of("a.example", 500, b'{"error": {"type": "other"}}', added=added) is None


def test_an_account_without_quota_rests_instead_of_failing_its_queue(tmp_path: Path) -> None:
    with paid(sends(403, QUOTA)) as endpoint:
        error = failure(endpoint, tmp_path)
    assert isinstance(error, Throttled) and error.retry_after == 600.0


def test_any_other_403_is_final(tmp_path: Path) -> None:
    with paid(sends(403, {"error": {"code": "access_denied"}})) as endpoint:
        assert isinstance(failure(endpoint, tmp_path), Permanent)


def test_a_code_in_the_settings_makes_a_500_free(tmp_path: Path) -> None:
    with paid(sends(500, {"error": {"code": "busy", "message": "x"}})) as endpoint:
        assert isinstance(failure(endpoint, tmp_path), Ambiguous)
        assert isinstance(failure(endpoint, tmp_path, free_codes=["busy"]), Throttled)

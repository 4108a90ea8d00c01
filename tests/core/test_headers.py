"""What a source's headers say of the object's end: lifecycle dates, and nothing that was misread."""

from datetime import UTC, datetime, timedelta

import pytest

from archiver.core.expiry import ABSURD
from archiver.core.headers import LATEST, header_expiry, joined
from archiver.core.model import Evidence

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
END = datetime(2026, 11, 22, tzinfo=UTC)
STATED = 'expiry-date="Sun, 22 Nov 2026 00:00:00 GMT", rule-id="days-1%20and%20more"'


def said(at: datetime, name: str = "x-amz-expiration") -> Evidence:
    """A piece of evidence from a header."""
    return Evidence(source="header", at=at, detail=name)


@pytest.mark.parametrize("name", ["x-amz-expiration", "x-oss-expiration"])
def test_f042_a_lifecycle_date_is_evidence(name: str) -> None:
    assert header_expiry({name: STATED, "date": "Fri, 20 Nov 2026 09:00:00 GMT"}, NOW) == (said(END, name),)


def test_f042_both_headers_are_kept_each_with_its_name() -> None:
    both = {"x-oss-expiration": STATED.replace("22 Nov", "23 Nov"), "x-amz-expiration": STATED}
    assert header_expiry(both, NOW) == (said(END), said(END + timedelta(days=1), "x-oss-expiration"))


def test_f042_of_two_dates_in_one_header_the_earlier_counts() -> None:
    """Two headers of one name arrive as one."""
    twice = f"{STATED.replace('22 Nov', '25 Nov')}, {STATED}"
    assert header_expiry({"x-amz-expiration": twice}, NOW) == (said(END),)


@pytest.mark.parametrize(
    "text",
    ['expiry-date="Sun, 22 Nov 2026 08:00:00 +0800"', 'Expiry-Date = "22 Nov 2026 00:00:00 -0000"'],
)
def test_f042_a_date_is_read_in_its_own_zone_and_without_one_as_utc(text: str) -> None:
    assert header_expiry({"x-oss-expiration": text}, NOW) == (said(END, "x-oss-expiration"),)


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "Sun, 22 Nov 2026 00:00:00 GMT", 'rule-id="expiry-date"', 'expiry-date=""', 'expiry-date="x"'),
        *('expiry-date="NoExpiry"', 'expiry-date="Sun, 31 Nov 2026 00:00:00 GMT"', 'expiry-date="0"'),
        *('expiry-date="Thu, 01 Jan 1970 00:00:00 GMT"', 'expiry-date="Fri, 01 Jan 2100 00:00:00 GMT"'),
        *('expiry-date="Fri, 01 Jan 99999999999999999999 00:00:00 GMT"', 'expiry-date="1 Jan 1 0:0:0 +9999"'),
        *('expiry-date="' + "9" * 70_000 + '"', 'expiry-date="Sun, 22 Nov 2026 00:00:00 GMT'),
    ],
)
def test_f042_what_cannot_be_read_or_makes_no_sense_is_no_evidence(text: str) -> None:
    assert header_expiry({"x-amz-expiration": text}, NOW) == ()


def test_f042_ten_years_ahead_and_three_days_back_are_the_borders() -> None:
    """A rule that is late is believed; a date of last year is not: the object is still asked for."""
    second = timedelta(seconds=1)
    for at, count in ((NOW + ABSURD, 1), (NOW - LATEST, 1), (NOW + ABSURD + second, 0), (NOW - LATEST - second, 0)):
        assert len(header_expiry({"x-amz-expiration": f'expiry-date="{at:%a, %d %b %Y %H:%M:%S} GMT"'}, NOW)) == count


def test_f042_freshness_of_a_cache_is_no_evidence() -> None:
    fresh = {"cache-control": "max-age=60", "expires": "Fri, 20 Nov 2026 09:01:00 GMT", "date": "x", "etag": STATED}
    assert header_expiry(fresh, NOW) == ()


def test_f042_evidence_is_added_to_what_is_held_and_the_same_date_once() -> None:
    held = (Evidence(source="default", at=NOW + timedelta(days=7)), Evidence(source="host", at=END, detail="h.example"))
    once = joined(held, [said(END)])
    assert once == (*held, said(END))
    assert joined(once, [said(END)]) == once
    assert joined(once, ()) == once


def test_f042_a_header_that_names_another_date_each_time_leaves_two() -> None:
    """The earliest decides the deadline, the latest the giving up."""
    held: tuple[Evidence, ...] = (Evidence(source="default", at=NOW),)
    for days in (5, 3, 9, 4, 7):
        held = joined(held, [said(END + timedelta(days=days)), said(END, "x-oss-expiration")])
    ends = (said(END + timedelta(days=3)), said(END + timedelta(days=9)), said(END, "x-oss-expiration"))
    assert sorted(held[1:], key=str) == sorted(ends, key=str)
